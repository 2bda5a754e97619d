"""Every record holds its own values, and all errors of a configuration are told at once."""

import itertools
import json
import re
from pathlib import Path

import pytest

from mtp.config import OPTIONS, ConfigError, check, configured, flat, get_config, idle, read_file
from mtp.config.check import errors
from mtp.config.kinds import (
    Boolean,
    Choice,
    Integer,
    Named,
    OneOrSeveral,
    OrNone,
    Pattern,
    Real,
    Several,
    Text,
    Tuple,
)
from mtp.config.rules import CONFLICTS, IDLE
from mtp.data.schema import MIN_SIDE
from mtp.options import known

FILES = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))
KNOWN = known()


# networks that look at squares, as far as the options must say so
RAPID = {"model__name": "dcnn", "input__sizes": ((40, 40),), "eval__size": "warp=40"}
BAGS = {**RAPID, "model__name": "dma_net", "input__fit": "crop", "eval__size": "crop=40"}


def values(**changes):
    """The defaults, which lack nothing but a folder, with changes: loss__emd_r=1."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return {**flat(get_config()), "data.dir": "photos", **named}


def just_outside(kind):
    """Values that are as near to those allowed as can be, and one of another type."""
    match kind:
        case Boolean():
            return [1, "True"]
        case Integer():
            limits = [kind.low - 1] if kind.low is not None else []
            return [*limits, *([kind.high + 1] if kind.high is not None else []), 1.5, "1", True]
        case Real():
            step = 1e-9
            beyond = [
                None if kind.low is None else kind.low - step,
                None if kind.high is None else kind.high + step,
            ]
            return [
                *(b for b in (*beyond, kind.above, kind.below) if b is not None),
                float("nan"),
                float("inf"),
                "1",
            ]
        case OrNone():
            return just_outside(kind.of)
        case Choice():
            return ["no such choice", None]
        case Several():
            first = kind.of.values[0]
            once = [] if isinstance(kind, OneOrSeveral) else [first, (first, first)]
            return [(), ("no such choice",), "no such choice", *once]
        case Tuple():
            inside = [(entry,) * (kind.length or 1) for entry in just_outside(kind.of)]
            return [(), 1, *inside]
        case Pattern():
            return ["no such rule", "long=31", "long=", "trained ", "warp=31", "crop", "area=999", None]
        case Text():
            return [None, 1, *([""] if not kind.empty else [])]
    raise TypeError(kind)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_default_can_be_and_what_lies_just_outside_cannot(name):
    option = OPTIONS[name]
    assert option.error(option.default, KNOWN) is None
    outside = just_outside(option.kind_among(KNOWN))
    assert outside
    for value in outside:
        error = option.error(value, KNOWN)
        assert error and error.startswith(f"{name} must be ") and error.count("\n") == 0
        assert repr(value) in error


@pytest.mark.parametrize("name", OPTIONS)
def test_limits_themselves_can_be(name):
    kind = OPTIONS[name].kind_among(KNOWN)
    kind = kind.of if isinstance(kind, OrNone) else kind
    if isinstance(kind, Integer | Real):
        for limit in (kind.low, kind.high):
            assert limit is None or kind.accepts(limit)


def test_every_record_is_complete():
    assert len(OPTIONS) == 104
    assert set(flat(get_config())) == set(OPTIONS)
    assert {name for name, o in OPTIONS.items() if isinstance(o.kind, Named)} == set(KNOWN)
    for option in OPTIONS.values():
        assert option.meaning and option.source and not option.meaning.endswith("."), option.name
    sides = OPTIONS["input.sizes"].kind.of.of
    assert sides.low == MIN_SIDE and OPTIONS["eval.max_pixels"].kind.low == MIN_SIDE**2


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_files_in_configs_pass(path):
    check({**flat(read_file(path)), "data.dir": "photos"}, KNOWN)


def test_all_faults_are_told_at_once_a_line_each():
    wrong = values(
        optim__max_bad_steps=0, log__every_steps=0, train__save_every_steps=0, train__eval_every_epochs=0.0,
        loss__emd_r=3, optim__ema_decay=2.0, optim__clip_norm=-1.0, model__dtype="float16", eval__canvases=0,
        optim__trunk_rat=1.0, model__trunks=5, eval__too_large="shrnk",
    )  # fmt: skip
    with pytest.raises(ConfigError) as error:
        check(wrong, KNOWN, ["something else"])
    first, *lines = str(error.value).splitlines()
    assert first == "13 errors in the options:" and len(lines) == 13
    told = "\n".join(lines)
    for name in (
        "max_bad_steps",
        "every_steps",
        "save_every_steps",
        "eval_every_epochs",
        "emd_r",
        "ema_decay",
    ):
        assert re.search(rf"^  \w+\.{name} must be .*, not ", told, re.M), name
    assert "  optim.clip_norm must be a number of at least 0, not -1.0\n" in told
    assert "  model.dtype must be one of float32, bfloat16, not 'float16'; the nearest is bfloat16\n" in told
    assert "  eval.too_large must be one of error, shrink, not 'shrnk'; the nearest is shrink\n" in told
    assert "  there is no option optim.trunk_rat; the nearest is optim.trunk_rate\n" in told
    assert "model.trunks must be 1, or as many as the columns ('fcn', 'spp'); it is 5" in told


def test_a_single_fault_is_one_line():
    with pytest.raises(ConfigError, match=r"^model\.dtype must be one of float32, bfloat16, not 'fp32'"):
        check(values(model__dtype="fp32"), KNOWN)


def test_a_missing_option_is_told():
    lacking = values()
    del lacking["loss.delta"]
    assert errors(lacking, KNOWN) == ["loss.delta is missing; begin with get_config() of mtp.config"]


def test_names_come_from_the_packages_that_define_them():
    wider = {**KNOWN, "model.backbone": (*KNOWN["model.backbone"], "mine")}
    assert not errors(values(model__backbone="mine"), wider)
    (error,) = errors(values(model__backbone="mobil"), KNOWN)
    assert error == (
        "model.backbone must be one of mobile, large, tiny, lite0, lite1, lite2, or a tuple of several, not 'mobil'; "
        "the nearest is mobile"
    )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_any_subset_of_the_tasks_can_be_trained(size):
    for tasks in itertools.permutations(KNOWN["model.tasks"], size):
        assert not errors(values(model__tasks=tasks), KNOWN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__dir": ""}, "data.dir must name a folder of pictures"),
        ({"data__dir": "", "data__name": "ava"}, "data.dir must name the --data_dir"),
        ({"data__split": "official"}, "data.split and data.split_dir are for data.name=ava"),
        ({"data__name": "ava", "data__folds": 5}, "data.folds is for folders with a CSV"),
        ({"data__folds": 2}, "data.folds must be 0 (none) or at least 3"),
        ({"data__folds": 3, "data__fold": 3}, "data.fold must be less than data.folds = 3; it is 3"),
        ({"input__order": "native", "input__quarter_turns": True}, "cannot go with input.order=native"),
        (
            {"input__quarter_turns": True, "input__sizes": ((100, 200), (200, 101))},
            "each size's transpose among input.sizes; they are ((100, 200), (200, 101))",
        ),
        ({"optim__accumulate": 3}, "input.batch_size must divide by optim.accumulate = 3"),
        ({"run__devices": 3}, "input.batch_size must divide by"),
        ({"model__trunks": 3}, "model.trunks must be 1, or as many as the columns"),
        ({**RAPID, "input__order": "native"}, "input.order must be buckets or cycle, not native"),
        ({**RAPID, "input__sizes": ((40, 40), (40, 48))}, "must be squares, for instance ((224, 224),); they are ((40"),
        ({**RAPID, "model__name": "dma_net", "eval__size": "crop=40"}, "input.fit must be crop, not warp"),
        ({**RAPID, "eval__size": "native"}, "of dcnn also warp=S or pad=S; they are 'native' and ''"),
        ({**RAPID, "eval__also_size": "long=40"}, "they are 'warp=40' and 'long=40'"),
        ({**BAGS, "eval__also_size": "warp=40"}, "model.name=dma_net looks at squares of side S"),
        (
            {**RAPID, "model__style_column": "joint", "model__tasks": ("distribution",)},
            "model.style_column=joint needs style and another task in model.tasks; they are ('distribution',)",
        ),
        ({"model__grids": (2, 1, 2)}, "model.grids must have each number once; it is (2, 1, 2)"),
        ({"loss__log_sigma": (0.5,) * 4}, "loss.log_sigma must have no more values than there are tasks"),
        ({"loss__log_sigma_range": (1.0, 1.0)}, "loss.log_sigma_range must ascend"),
        ({"loss__learn_sigma": True, "loss__log_sigma": (0.0, 0.0, 3.0)}, "loss.log_sigma must begin within"),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_exclude_one_another(changes, message):
    (error,) = errors(values(**changes), KNOWN)
    assert message in error and "{" not in error


@pytest.mark.parametrize(
    "changes",
    [
        {"data__folds": 3, "data__fold": 2},
        {"input__quarter_turns": True, "input__sizes": ((100, 201), (202, 99), (50, 50))},
        {"optim__accumulate": 4, "run__devices": 2},
        {"model__trunks": 2},
        {"model__trunks": 1, "model__columns": ("gap",)},
        {"loss__delta": 0.0, "loss__threshold": 3, "loss__tau": 0.1},
        {"loss__log_sigma": (0.0, 0.0, 3.0)},
        {"loss__log_sigma": (0.5,)},
        {"eval__size": "long=32", "eval__also_size": "long=1000"},
        {"eval__size": "warp=96", "eval__also_size": "area=1024", "input__fit": "crop"},
        {"input__order": "native", "input__size": "area=50000"},
        {"model__backbone": ("tiny", "tiny")},
        RAPID,
        {**RAPID, "eval__also_size": "pad=64", "model__style_column": "frozen", "input__order": "cycle"},
        BAGS,
        {"model__name": "nima", "eval__size": "native"},
    ],
    ids=str,
)
def test_options_that_go_together(changes):
    assert not errors(values(**changes), KNOWN)


def test_a_wrong_value_is_told_once_and_not_again_by_the_rules():
    wrong = values(
        input__sizes="big", input__quarter_turns=True, optim__accumulate=0, loss__log_sigma_range=()
    )
    assert len(errors(wrong, KNOWN)) == 3


@pytest.mark.parametrize(
    ("changes", "idling"),
    [
        ({"loss__emd_squared": True, "loss__emd_r": 1}, ["loss.emd_squared"]),
        ({"loss__learn_sigma": True, "loss__task_weight": "sum"}, ["loss.learn_sigma"]),
        ({"loss__style_factor": 0.1, "model__tasks": ("distribution",)}, ["loss.style_factor"]),
        ({"loss__style_factor": 0.1, "model__tasks": ("distribution", "style")}, []),
        ({"model__spp_pool": "average", "model__columns": ("gap",)}, ["model.spp_pool"]),
        ({"data__demo_seed": 1}, ["data.demo_seed"]),
        ({"model__name": "nima", "model__columns": ("gap",), "model__dropout": 0.5}, ["model.columns"]),
        (
            {"model__dropout": 0.5, "model__bags": 3, "model__share_columns": True},
            ["model.dropout", "model.bags", "model.share_columns"],
        ),
        ({"model__dense_hidden": 0}, ["model.dense_hidden"]),
        ({**BAGS, "model__dense_hidden": 0, "model__grids": (2,)}, ["model.grids"]),
        ({"model__name": "mna_cnn", "model__grids": (2,), "model__scenes": 3}, ["model.scenes"]),
        ({"model__name": "mna_cnn", "model__combine": "scene", "model__scenes": 3}, []),
        ({"input__canvases": 3}, ["input.canvases"]),
        ({"input__fit": "crop"}, []),
        ({"input__fit": "pad", "input__order": "native"}, ["input.fit"]),
        ({"input__size": "trained"}, ["input.size"]),
        ({"input__size": "trained", "input__order": "native", "input__sizes": ((48, 48),)}, []),
        ({"eval__also_size": "native"}, ["eval.also_size"]),
        ({"eval__also_size": "trained", "optim__trunk_rate": 1.0, "loss__emd_squared": True}, []),
    ],
    ids=str,
)
def test_given_options_without_effect_are_noted(changes, idling):
    given = [name.replace("__", ".") for name in changes]
    notes = idle(values(**changes), KNOWN, given)
    assert [note.split(" has no effect: ")[0] for note in notes] == idling
    assert not idle(values(**changes), KNOWN, [])


def test_rules_name_options_that_exist():
    for rule in (*CONFLICTS, *IDLE):
        assert rule.options and set(rule.options) <= set(OPTIONS)


def test_a_rule_names_all_options_that_it_reads():
    # else it would be asked about a value that is wrong by itself
    source = (Path(__file__).parents[2] / "mtp" / "config" / "rules.py").read_text()
    helpers = {
        name: set(re.findall(r"\bc\.(\w+\.\w+)", body))
        for name, body in re.findall(r"def (_\w+)\(c: Any\) -> bool:\n((?:    .*\n)+)", source)
    }
    blocks = source.split("CONFLICTS = (")[1].split("IDLE = (")[0].split("    Conflict(")[1:]
    assert len(blocks) == len(CONFLICTS) and len(helpers) == 3
    for rule, block in zip(CONFLICTS, blocks, strict=True):
        read = set(re.findall(r"\bc\.(\w+\.\w+)", block)) & set(OPTIONS)
        for name, inside in helpers.items():
            read |= inside if name in block else set()
        assert read == set(rule.options), rule.must


def test_a_configuration_survives_json():
    config = configured(values(loss__delta=0.0, input__sizes=((48, 64),), optim__trunk_rate=1))
    assert config.loss.delta == 0 and config.loss.tau is None and type(config.optim.trunk_rate) is float
    again = flat(json.loads(config.to_json()))
    assert again == flat(config) and configured(again).to_json() == config.to_json()


def test_a_derived_value_can_be_given_and_taken_back():
    config = get_config()
    for value in (0, 0.5, None):
        config.loss.delta = value
        assert config.loss.delta == value and json.loads(config.to_json())["loss"]["delta"] == value
    with pytest.raises(TypeError):
        config.loss.delta = "auto"


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no .*nothing\.py"):
        read_file(tmp_path / "nothing.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ConfigError, match="has none"):
        read_file(tmp_path / "empty.py")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(ConfigError, match=r"must be a Python file"):
        read_file(tmp_path / "x.txt")
    with pytest.raises(ConfigError, match=r"configs/demo.py has no presets; leave out :paper"):
        read_file("configs/demo.py:paper")


def test_what_stands_behind_a_file_is_its_preset(tmp_path):
    file = tmp_path / "row.py"
    file.write_text("def get_config(preset='ours'):\n    return preset\n")
    assert read_file(file) == "ours"
    assert read_file(f"{file}:paper") == "paper"
