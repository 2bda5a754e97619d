"""Each file of configs/rows changes just what its name says, under every preset, and can be run."""

from pathlib import Path

import pytest

from configs.rows import presets
from experiments.sweep import plan, read
from mtp.config import ConfigError, check, flat, read_file
from mtp.options import known

FOLDER = Path(__file__).parents[1] / "configs" / "rows"
SQUARE = {"input.order", "input.sizes", "input.fit", "eval.size", "eval.also_size"}
OWN_SIZE = {"input.order", "eval.also_size", "input.quarter_turns"}
# row -> the row that it changes, and the options by which it differs
CHANGES = {
    "nasnet_wrap": ("gap_native", SQUARE - {"input.fit"}),
    "nasnet_crop": ("gap_native", SQUARE),
    "nasnet_pad": ("gap_native", SQUARE),
    "mt_nasnet": ("nasnet_wrap", {"model.tasks"}),
    "sf_nasnet": ("gap_native", {"model.columns"}),
    "vd_nasnet": ("nasnet_wrap", {"loss.reliability"}),
    "vd_two_tasks": ("vd_nasnet", {"model.tasks"}),
    "mtp_nasnet": ("sf_nasnet", {"model.tasks", "loss.reliability"}),
    "sf_warp": ("nasnet_wrap", {"model.columns"}),
    "sf_fcn": ("gap_native", {"model.columns"}),
    "sf_spp": ("gap_native", {"model.columns"}),
    "mt_sf": ("mtp_nasnet", {"loss.reliability"}),
    "sigma_learned": ("mtp_nasnet", {"loss.learn_sigma"}),
    "losses_added": ("mtp_nasnet", {"loss.task_weight"}),
    "dist_two": ("nasnet_wrap", {"model.tasks"}),
    "dist_style": ("nasnet_wrap", {"model.tasks"}),
    "two_only": ("nasnet_wrap", {"model.tasks"}),
    "cascade": ("mtp_nasnet", {"model.heads"}),
    "one_rate": ("mtp_nasnet", {"optim.heads_rate", "optim.heads_rate_by"}),
    "no_augmentation": (
        "mtp_nasnet",
        {"input.horizontal_flip", "input.vertical_flip", "input.quarter_turns"},
    ),
    "scratch": ("mtp_nasnet", {"model.weights"}),
    "frozen_trunk": ("mtp_nasnet", {"optim.freeze_steps"}),
    "native_training": ("mtp_nasnet", OWN_SIZE),
    "two_trunks": ("mtp_nasnet", {"model.trunks"}),
    "weights_permuted": ("mtp_nasnet", {"loss.reliability"}),
    "kept": ("gap_native", OWN_SIZE),
    "kept_sf": ("kept", {"model.columns"}),
    "keep_aspect": ("kept", {"input.size", "eval.size"}),
    "keep_aspect_sf": ("keep_aspect", {"model.columns"}),
    "nima": ("nasnet_wrap", {"model.name"}),
    "dcnn": ("nasnet_wrap", {"model.name"}),
    "dcnn_style": ("dcnn", {"model.tasks", "model.style_column"}),
    "dma_net": ("nasnet_crop", {"model.name"}),
    "dma_net_sort": ("dma_net", {"model.patch_pool"}),
    "mna_cnn": ("gap_native", {"model.name", "model.dense_hidden"}),
    "mna_cnn_scene": ("mna_cnn", {"model.combine"}),
    "fcn_dist": ("gap_native", {"model.columns", "model.fcn_hidden"}),
    "sane": ("fcn_dist", {"model.backbone", "model.fcn_hidden"}),
    "warp_aspect": ("nasnet_wrap", {"model.aspect"}),
    "warp_aspect_sf": ("warp_aspect", {"model.columns"}),
    "warp_native_area": ("kept", {"input.size", "eval.size"}),
    "warp_native_area_sf": ("warp_native_area", {"model.columns"}),
}
ROWS = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "presets"}


def options(row, preset):
    return flat(read_file(f"{FOLDER / row}.py:{preset}"))


def differing(row, other, preset):
    here, there = options(row, preset), options(other, preset)
    return {name for name in here if here[name] != there[name]}


def test_every_row_is_here():
    assert {*CHANGES, "gap_native"} == ROWS


@pytest.mark.parametrize("row", CHANGES)
def test_a_row_changes_what_its_name_says(row):
    parent, expected = CHANGES[row]
    by_preset = {preset: differing(row, parent, preset) for preset in presets.PRESETS}
    assert set().union(*by_preset.values()) == expected


@pytest.mark.parametrize("preset", presets.PRESETS)
@pytest.mark.parametrize("row", sorted(ROWS))
def test_a_row_can_be_run(row, preset):
    values = options(row, preset)
    check({**values, "data.dir": "photos"}, known())
    assert f"--config=configs/rows/{row}.py" in (FOLDER / f"{row}.py").read_text()


def test_the_network_of_all_three_ideas_is_the_default():
    """MTP-NasNet of preset `paper` is the paper's set-up itself."""
    assert options("mtp_nasnet", "paper") == flat(read_file(FOLDER.parent / "paper.py"))


def test_the_side_of_squares_is_part_of_the_preset():
    assert options("nasnet_pad", "ours")["eval.size"] == "pad=224"
    assert options("nasnet_crop", "demo,side=64")["input.sizes"] == ((64, 64),)
    assert options("keep_aspect", "frozen,side=100")["eval.size"] == "area=10000"
    for wrong in ("other", "ours,side=31", "ours,side=", "ours,64", ""):
        with pytest.raises(ConfigError, match=r"a row's preset must be paper, ours, .* it is"):
            read_file(f"{FOLDER / 'nasnet_wrap'}.py:{wrong}")


@pytest.mark.parametrize("path", sorted((FOLDER.parent / "sweeps").glob("*.py")), ids=lambda p: p.stem)
def test_every_job_of_a_sweep_can_be(path):
    sweep = read.read(str(path))
    jobs = plan.jobs(sweep, {"data.dir": "photos"})
    assert len(read.configurations(jobs)) == len(jobs) > 0
    assert f"configs/sweeps/{path.name}" in path.read_text()
