"""Sweeps: bad input, jobs and their states, tables from collected results alone; the trainings are fakes."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from experiments.sweep import Row, Sweep, folder, job, pages, plan, read, states, table, tied
from experiments.sweep import __main__ as command_line
from experiments.sweep.plan import SweepError
from experiments.sweep.progress import Progress
from mtp.config import OPTIONS, overrides
from mtp.evaluation.intervals import seeded_difference
from mtp.evaluation.metrics import per_picture
from mtp.evaluation.samples import Criteria
from mtp.processes import lock

ROOT = Path(__file__).parents[2]
HEADS = ("two_category_accuracy", "two_category_accuracy_delta")
TRAINING = (sys.executable, "-m", "tests.experiments.fake_training")
# as python -m experiments.sweep, with the fake
DRIVE = """
import sys
from experiments.sweep import __main__ as command_line
from mtp.processes import ending
train = (sys.executable, "-m", "tests.experiments.fake_training")
programs = command_line.Programs(train, (sys.executable, "-c", sys.argv[1], sys.argv[1]))
ending.run(lambda: command_line.main(sys.argv[2:], programs))
"""
TWO = """
from experiments.sweep import Row, Sweep
def get_sweep():
    return Sweep({{"native": Row("configs/votes.py", {{"eval.size": "native"}}), "warped": "configs/votes.py"}},
        options={{"eval.size": "warp=224", "eval.bootstrap": 200}}, {rest})
"""


class Case:
    """A sweep's file, its folder, and the folder of marks that the fake heeds."""

    def __init__(self, path: Path, rest: str):
        self.file, self.out, self.marks = path / "sweep.py", path / "out", path / "marks"
        self.file.write_text(TWO.format(rest=rest))
        self.marks.mkdir()

    def arguments(self, command: str, *more: str) -> list[str]:
        options = (f"--config.data.dir={self.marks}", "--config.data.group=theme")
        return [command, str(self.file), f"--out={self.out}", *options, *more]

    def main(self, command: str, *more: str) -> None:
        command_line.main(self.arguments(command, *more), command_line.Programs(TRAINING))

    def start(self, command: str, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", DRIVE, DRIVE, *self.arguments(command, *more)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, command: str, *more: str) -> tuple[int, str, str]:
        process = self.start(command, *more)
        said = process.communicate(timeout=60)
        return process.returncode, *said

    def mark(self, *names: str) -> None:
        for name in names:
            (self.marks / name).touch()

    def result(self, name: str) -> Path:
        return self.out / "results" / name

    def tables(self) -> tuple[bytes, bytes]:
        self.main("table")
        return (self.out / "table.md").read_bytes(), (self.out / "table.csv").read_bytes()

    def rows(self) -> dict[str, dict[str, str]]:
        self.tables()
        with (self.out / "table.csv").open(newline="") as file:
            return {line["row"]: line for line in csv.DictReader(file)}

    def starts(self, name: str) -> int:
        """How often a job's training was started."""
        path = self.out / "jobs" / name / "starts"
        return len(path.read_text()) if path.exists() else 0


@pytest.fixture
def case(tmp_path, monkeypatch) -> Case:
    monkeypatch.chdir(ROOT)
    return Case(tmp_path, "seeds=(0, 1), compared_with='warped'")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Case:
    """A finished sweep of three seeds, to be copied."""
    found = Case(tmp_path_factory.mktemp("whole"), "seeds=(0, 1, 2), compared_with='warped'")
    assert found.run("local")[0] == 0
    return found


@pytest.fixture
def finished(whole, tmp_path, monkeypatch) -> Case:
    monkeypatch.chdir(ROOT)
    found = Case(tmp_path, "seeds=(0, 1, 2), compared_with='warped'")
    shutil.copytree(whole.out / "results", found.out / "results")
    return found


@pytest.fixture
def folded(tmp_path, monkeypatch) -> Case:
    monkeypatch.chdir(ROOT)
    return Case(tmp_path, "seeds=(4,), folds=3")


def until(what, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def has_line(text: str, *parts: str) -> bool:
    return any(all(part in line for part in parts) for line in text.splitlines())


@contextmanager
def ended(process: subprocess.Popen[str]):
    with process:
        try:
            yield process
        finally:
            process.kill()


SWEEP = Sweep({"a": "configs/votes.py", "b": "configs/votes.py"})


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        (SWEEP._replace(rows={}), "rows must be a dictionary of at least one row, not {}"),
        (SWEEP._replace(rows={"a/b": "configs/votes.py"}), "the name of a row must be letters.*it is 'a/b'"),
        (SWEEP._replace(rows={"uniform": "configs/votes.py"}), "be none of uniform.*it is 'uniform'"),
        (SWEEP._replace(rows={"a": 3}), "row 'a' must be a text such as 'configs/votes.py', or a Row; it is 3"),
        (SWEEP._replace(rows={"a": "configs/votes.py", "A": "configs/votes.py"}), "more than upper and lower case"),
        (SWEEP._replace(rows={"a": Row("configs/votes.py", {"seed": 1})}), "row 'a': seed must be left out"),
        (SWEEP._replace(seeds=()), r"seeds must be at least one integer, such as \(0, 1, 2\); they are \(\)"),
        (SWEEP._replace(seeds=(0, -1)), "seeds: seed must be an integer from 0 to 2147483647, not -1"),
        (SWEEP._replace(seeds=(0, 0)), r"seeds must be different integers from 0; they are \(0, 0\)"),
        (SWEEP._replace(seeds=3), "seeds must be at least one integer, such as .*; they are 3"),
        (SWEEP._replace(folds=2), "folds must be 0 .none. or at least 3.*it is 2"),
        (SWEEP._replace(compared_with="c"), "compared_with must be one of the rows a, b, uniform.*it is 'c'"),
        (SWEEP._replace(comparisons=(("a", "c"),)), r"comparisons must be pairs of two rows of a, b; one is .'a', 'c'"),
        (SWEEP._replace(claim="srcc"), "claim must be one of the metrics emd_r2, emd_r1.*it is 'srcc'"),
        (SWEEP._replace(options={"data.fold": 1}), "options: data.fold must be left out"),
    ],
)  # fmt: skip
def test_a_sweep_that_cannot_be(sweep, says):
    with pytest.raises(SweepError, match=f"(?s)^FILE: .*{says}"):
        read.checked(sweep, Path("FILE"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "FILE must be a Python file with get_sweep.*there is no"),
        ("x = 1\n", "FILE must be a Python file with get_sweep.*has none"),
        ("def get_sweep():\n    return 3\n", "must return a Sweep of experiments.sweep, not 3"),
    ],
)
def test_a_file_without_a_sweep(text, says, tmp_path):
    if text:
        (tmp_path / "sweep.py").write_text(text)
    with pytest.raises(SweepError, match=says):
        read.read(str(tmp_path / "sweep.py"))


def test_every_row_that_cannot_be_is_named_before_anything_runs(case, capsys):
    case.file.write_text("""
from experiments.sweep import Row, Sweep
def get_sweep():
    return Sweep({"good": "configs/votes.py", "bad": Row("configs/votes.py", {"eval.size": "huge"}),
        "gone": "configs/none.py", "preset": "configs/votes.py:paper",
        "other": Row("configs/votes.py", {"model.tasks": ("style",)})}, seeds=(0, 1))
""")
    with pytest.raises(SystemExit) as end:
        case.main("local")
    said = str(end.value.code).splitlines()
    assert said[0] == "error: 4 errors:" and len(said) == 5
    assert has_line(said[1], "row 'bad' (configs/votes.py): eval.size must be native", "not 'huge'")
    assert has_line(said[2], "row 'gone' (configs/none.py)", "there is no configs/none.py")
    assert has_line(said[3], "row 'preset'", "has no presets")
    assert has_line(said[4], "row 'other'", "model.tasks must hold distribution or two_category")
    assert not case.out.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--index=4"), "--index must lie in 0..3, as `list` says; it is 4"),
        (("run",), "run needs --index=I, or $SLURM_ARRAY_TASK_ID, which is ''"),
        (("check", "--config.seed=1"), "--config: seed must be left out"),
        (
            ("check", "--config.eval.size=trained"),
            "--config.eval.size=trained cannot be, since the row 'native' sets",
        ),
        (("check", "--config.eval.sizes=trained"), "there is no option eval.sizes; the nearest is eval.size"),
    ],
)
def test_a_command_line_that_cannot_be(case, arguments, says, monkeypatch):
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    with pytest.raises(SystemExit) as end:
        case.main(*arguments)
    assert says in str(end.value.code) and "\n" not in str(end.value.code).split("errors:")[0]


def test_the_example_is_two_rows_of_two_seeds(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    file = "configs/sweeps/two_rows.py"
    with pytest.raises(SystemExit, match=r"data\.dir must name a folder of pictures"):
        command_line.main(["check", file, f"--out={tmp_path}"])
    command_line.main(["check", file, f"--out={tmp_path}", "--config.data.dir=FOLDER"])
    said = capsys.readouterr().out
    assert "3: warped, seed 1\n2 rows x 2 seeds = 4 jobs" in said and "note" not in said
    assert f"python -m experiments.sweep local {file}" in (ROOT / file).read_text()
    command_line.main(["list", file, f"--out={tmp_path}", "--config.data.dir=FOLDER"])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[:4] for line in lines] == [
        ["0", "native", "0", "-"], ["1", "warped", "0", "-"], ["2", "native", "1", "-"], ["3", "warped", "1", "-"],
    ]  # fmt: skip
    assert all("--config.model.columns=gap" in line[4] for line in lines) and "'" not in lines[0][4]


@pytest.mark.parametrize(
    ("option", "value"),
    [("model.columns", ("gap",)), ("model.columns", ("fcn", "spp")), ("model.backbone", ("lite0", "lite1")),
     ("input.sizes", ((48, 64),)), ("optim.ema_decay", 0.0001), ("log.tensorboard", False), ("eval.by", "x y")],
)  # fmt: skip
def test_a_command_line_says_the_value_again(option, value):
    assert overrides.split([plan.argument(option, value)]) == ([], {option: value})
    assert option in OPTIONS


def test_all_jobs_run_once_and_their_tables_need_the_small_files_alone(case, capsys):
    case.mark("wait-native-0")
    with ended(case.start("local")) as process:
        until(lambda: case.starts("native/seed0"))
        case.main("status")
        said = capsys.readouterr().out
        assert has_line(said, "native, seed 0", "running", "process ", "fake_training")
        assert has_line(said, "1 running, 3 waiting")
        (case.marks / "wait-native-0").unlink()
        printed = process.communicate(timeout=60)[0].splitlines()
    assert (
        printed[0]
        == "2 rows x 2 seeds = 4 jobs, 0 of them done; 4 jobs are left; how long one takes is known after the first"
    )
    assert has_line(printed[1], "native, seed 0: done in", "3 jobs are left x ", "measured on 1")
    assert has_line(printed[-1], "all 4 jobs are done; python -m experiments.sweep table")
    before = case.tables()
    shutil.rmtree(case.out / "jobs")
    assert case.tables() == before
    case.main("local")
    assert "4 of them done; no job is left" in capsys.readouterr().out
    assert not (case.out / "jobs").exists()
    case.main("status")
    assert capsys.readouterr().out.endswith("4 done\n")


def test_one_job_by_its_index(case, capsys, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    case.main("run")
    assert case.result("warped/seed0.npz").exists() and not case.result("native").exists()
    case.main("run", "--index=2")
    assert case.result("native/seed1.json").exists()
    case.main("run", "--index=2")
    assert case.starts("native/seed1") == 1 and case.starts("warped/seed0") == 1


def test_a_failed_job_says_why_and_is_tried_again_by_the_next_call(case, capsys):
    case.mark("fail-warped-0", "nan-native-1", "fail-warp=224-1")
    with pytest.raises(SystemExit) as end:
        case.main("local")
    said = str(end.value.code)
    assert (
        said.startswith("error: 2 of 4 jobs failed or are refused")
        and "warped, seed 1: the disk is too small" in said
    )
    assert has_line(said, "native, seed 1", "predictions must be finite; those of 1 pictures", "9-03.jpg")
    capsys.readouterr()
    case.main("status")
    said = capsys.readouterr().out
    assert has_line(said, "warped, seed 1", "failed", "the disk is too small") and "2 done, 2 failed" in said
    page, _ = case.tables()
    assert "| warped, seed 1 | failed | the disk is too small |" in page.decode()
    rows = case.rows()
    assert rows["native"]["seeds"] == "1" and rows["native"]["emd_r2_sd"] == ""
    assert rows["native"]["verdict"] == "none: 1 of 3 seeds"
    for mark in case.marks.iterdir():
        mark.unlink()
    capsys.readouterr()
    case.main("local")
    assert "2 of them done; 2 jobs are left x " in capsys.readouterr().out
    assert case.starts("warped/seed1") == 2 and case.starts("warped/seed0") == 1
    assert not list((case.out / "jobs").glob("*/*.json"))
    assert "Not in the table" not in case.tables()[0].decode()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_job_too_in_one_line(case, number, status):
    case.mark("wait-native-0")
    with ended(case.start("local")) as process:
        until(lambda: case.starts("native/seed0"))
        log = case.out / "jobs/native/seed0.log"
        until(lambda: "step 3/9" in log.read_text())
        process.send_signal(number)
        said = process.communicate(timeout=20)[1]
    name = signal.Signals(number).name
    assert (process.returncode, said) == (
        status,
        f"stopped by {name}; native, seed 0 has been stopped, too. Run the same command to go on\n",
    )
    assert log.read_text().endswith("stopped by SIGTERM; the state of step 3 is saved\n")
    # it is no failure
    assert not (case.out / "jobs/native/seed0.json").exists()
    assert lock.holder(case.out / "jobs/native/seed0/LOCK") is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_a_job_ends_with_its_parent_whatever_ended_that(case):
    case.mark("wait-native-0")
    with ended(case.start("local")) as process:
        log = case.out / "jobs/native/seed0.log"
        until(lambda: log.exists() and "step 3/9" in log.read_text())
        process.kill()
        process.wait()
        until(lambda: "the state of step 3 is saved" in log.read_text())
    until(lambda: lock.holder(case.out / "jobs/native/seed0/LOCK") is None)


def test_a_job_that_is_killed_has_failed_and_the_others_go_on(case, capsys):
    case.mark("wait-native-0")
    with ended(case.start("local")) as process:
        log = case.out / "jobs/native/seed0.log"
        until(lambda: log.exists() and "step 3/9" in log.read_text())
        os.kill(json.loads((case.out / "jobs/native/seed0/LOCK").read_bytes())["pid"], signal.SIGKILL)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 1 and said.startswith("error: 1 of 4 jobs failed or are refused; mend them")
    assert has_line(printed, "native, seed 0: failed (ended by SIGKILL; step 3/9, loss 0.5")
    case.main("status")
    said = capsys.readouterr().out
    assert has_line(said, "native, seed 0", "failed", "ended by SIGKILL") and "3 done, 1 failed" in said


def test_who_is_started_after_its_parents_end_does_not_run():
    code = "from experiments.sweep import tied; tied.main(1 << 30, ['/bin/true'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == (143 if sys.platform == "linux" else 0)
    assert tied.__doc__


def test_two_at_once_share_the_jobs(case):
    case.mark("wait-native-0", "wait-warp=224-0")
    with ended(case.start("local")) as one, ended(case.start("local")) as two:
        until(lambda: case.starts("native/seed0") and case.starts("warped/seed0"))
        (case.marks / "wait-native-0").unlink()
        until(lambda: case.result("native/seed1.json").exists())
        (case.marks / "wait-warp=224-0").unlink()
        printed = [process.communicate(timeout=60) for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], printed
    assert all("runs elsewhere (process " in out for out, _ in printed)
    names = [f"{row}/seed{seed}" for row in ("native", "warped") for seed in (0, 1)]
    assert [case.starts(name) for name in names] == [1] * 4


def test_a_workdir_that_is_at_work_is_left_alone_and_one_of_the_dead_is_taken_over(case, capsys):
    workdir = case.out / "jobs/native/seed0"
    workdir.mkdir(parents=True)
    with lock.alone(workdir / lock.NAME):
        with pytest.raises(SystemExit, match="native, seed 0 is run by process"):
            case.main("run", "--index=0")
        assert case.starts("native/seed0") == 0
        (workdir / lock.NAME).rename(workdir / "kept")
    (workdir / "kept").rename(workdir / lock.NAME)  # as one that was killed leaves it
    case.main("run", "--index=0")
    assert case.starts("native/seed0") == 1


def test_submit_outlives_its_caller_and_is_refused_while_it_runs(case):
    case.mark("wait-native-0")
    status, said, _ = case.run("submit")
    assert status == 0 and f"its log is {case.out / 'local.log'}" in said
    pid = int(said.split()[1])
    try:
        assert os.getsid(pid) == pid
        status, _, said = case.run("submit")
        assert status == 1 and said.startswith(f"error: {case.out} is being worked on by process {pid} on")
        assert said.count("\n") == 1
        (case.marks / "wait-native-0").unlink()
        until(lambda: lock.holder(case.out / "submitted.lock") is None)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    assert "all 4 jobs are done" in (case.out / "local.log").read_text()


def test_a_folder_of_another_sweep_is_refused(case):
    case.main("run", "--index=0")
    case.file.write_text(TWO.format(rest="seeds=(1, 2), compared_with='native'").replace("200", "300"))
    with pytest.raises(SystemExit) as end:
        case.main("local")
    said = str(end.value.code).splitlines()
    assert said[0].startswith(
        f"error: {case.out} holds the sweep of {case.file} with other rows or options; choose"
    )
    assert [line.strip() for line in said[1:]] == [
        "seeds, which can only be added to: there [0, 1], now [1, 2]",
        "compared_with: there 'warped', now 'native'",
        "eval.bootstrap: there 200, now 300",
    ]


def test_rows_and_seeds_can_be_added_and_options_need_not_be_given_again(case, capsys):
    case.main("run", "--index=0")
    case.file.write_text(TWO.format(rest="seeds=(0, 1, 2), compared_with='warped'"))
    command_line.main(["local", str(case.file), f"--out={case.out}"], command_line.Programs(TRAINING))
    assert "all 6 jobs are done" in capsys.readouterr().out
    elsewhere = case.marks.rename(case.marks.with_name("moved"))
    command_line.main(["status", str(case.file), f"--out={case.out}", f"--config.data.dir={elsewhere}"])
    assert "6 done" in capsys.readouterr().out


def test_the_table_has_means_deviations_references_and_verdicts(finished):
    rows = finished.rows()
    assert list(rows) == ["uniform", "mean histogram", "vote noise", "native", "warped"]
    found = states.states(*_jobs(finished), finished.out)
    assert [each.state for each in found] == ["done"] * 6
    of_row = [[s.result for s in found if s.job.row == row] for row in ("native", "warped")]
    first = of_row[0][0]
    assert first is not None and (first.votes.sum(axis=1) == 50).all() and first.votes.dtype == np.int64
    truth, criteria = first.votes / 50, Criteria(3.0, 0.5, 1e-7)
    ours, theirs = (
        np.array([per_picture(truth, r.predicted, criteria)["emd_r2"] for r in results if r])
        for results in of_row
    )
    assert float(rows["native"]["emd_r2"]) == pytest.approx(ours.mean())
    assert float(rows["native"]["emd_r2_sd"]) == pytest.approx(ours.mean(axis=1).std(ddof=1))
    groups = [f"theme{i // 2}" if i != 7 else "9-07.jpg" for i in range(40)]
    assert first.groups is not None and first.groups.tolist() == groups
    expected = seeded_difference(ours, theirs, groups, 200, 0)
    row = rows["native"]
    assert float(row["difference"]) == pytest.approx(expected.value)
    assert float(row["p_holm"]) == pytest.approx(expected.p) and row["verdict"] == "better"
    assert rows["warped"]["verdict"] == "" and rows["uniform"]["emd_r2_sd"] == ""
    assert first.p_high is not None
    right = (first.p_high > 0.5) == (truth @ range(1, 6) > 3)
    assert float(row["two_category_accuracy"]) == pytest.approx(right.mean())


def test_rows_are_compared_as_the_file_says_and_one_may_predict_no_distribution(tmp_path):
    case = Case(tmp_path, "seeds=(0, 1, 2), comparisons=(('native', 'warped'), ('native', 'class alone'))")
    row = '"class alone": Row("configs/votes.py", {"model.tasks": ("two_category",)}), "warped"'
    case.file.write_text(case.file.read_text().replace('"warped"', row, 1))
    case.main("local")
    sweep, found = read.read(str(case.file)), states.states(*_jobs(case), case.out)
    content = table.build(str(case.file), sweep, found)
    # "class alone" has no distribution that could be compared
    pairs = [(claim["row"], claim["compared_with"]) for claim in content["claims"]]
    assert pairs == [("native", "mean histogram"), ("warped", "mean histogram"), ("native", "warped")]
    of_row = {row["row"]: row["metrics"] for row in content["rows"]}
    assert set(of_row["class alone"]) == {*HEADS, "majority", "majority_delta"}
    difference = of_row["native"]["emd_r2"]["value"] - of_row["warped"]["emd_r2"]["value"]
    assert content["claims"][2]["value"] == pytest.approx(difference)
    page = pages.markdown(content)
    assert "to mean histogram and between other rows" in page and "| native - warped | 3 |" in page
    rows = case.rows()
    assert rows["native"]["difference"] == str(content["claims"][0]["value"])
    assert rows["class alone"]["emd_r2"] == "" != rows["class alone"]["two_category_accuracy"]


def _jobs(case: Case):
    sweep = read.read(str(case.file))
    found = plan.jobs(sweep, {"data.dir": str(case.marks), "data.group": "theme"})
    return found, read.configurations(found)


def test_what_cannot_stand_beside_the_others_is_refused_with_the_reason(finished):
    def change(name: str, what) -> None:
        path = finished.result(name)
        about = json.loads(path.read_text())
        what(about)
        path.write_text(json.dumps(about))

    change("native/seed1.json", lambda a: a["versions"].update(jax="2"))
    change("native/seed2.json", lambda a: a["split"].update(sha256="d" * 64))
    change("warped/seed0.json", lambda a: a["config"]["eval"].update(size="native"))
    change("warped/seed1.json", lambda a: a.update(demo_code="e" * 64))
    finished.result("warped/seed2.npz").write_bytes(b"x")
    found = states.states(*_jobs(finished), finished.out)
    texts = {each.job.name: each.text for each in found if each.state == "refused"}
    assert len(texts) == 5
    assert texts["native, seed 1"].startswith(
        "versions: here jax 2, in native, seed 0 jax 1; remove the results"
    )
    assert texts["native, seed 2"].startswith("split: here sha256 dddddddddddd, in native, seed 0 sha256 ")
    assert "is of another configuration: eval.size there 'native', now 'warp=224'" in texts["warped, seed 0"]
    assert texts["warped, seed 1"].startswith("demo_code: here eeeeeeeeeeee, in native, seed 0 null")
    assert "seed2.npz is damaged; copy it again" in texts["warped, seed 2"]
    rows = finished.rows()
    assert "warped" not in rows and rows["native"]["seeds"] == "1"


def test_pictures_with_other_votes_are_refused(finished):
    path = finished.result("warped/seed1.npz")
    with np.load(path) as file:
        arrays = dict(file)
    arrays["votes"][0, 0] += 1
    np.savez_compressed(path, **arrays)
    about = json.loads(finished.result("warped/seed1.json").read_text())
    about["npz_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    finished.result("warped/seed1.json").write_text(json.dumps(about))
    (each,) = [s for s in states.states(*_jobs(finished), finished.out) if s.state == "refused"]
    assert each.job.name == "warped, seed 1"
    assert each.text.startswith("its votes are not those of native, seed 0: it was evaluated on other data")


def test_folds_are_pooled_each_with_its_own_mean_histogram(folded):
    folded.main("local")
    found, configs = _jobs(folded)
    assert [each.folder for each in found[:3]] == [f"native/seed4-fold{fold}" for fold in range(3)]
    content = table.build("FILE", read.read(str(folded.file)), states.states(found, configs, folded.out))
    assert content["about"]["pictures"] == 120 and len(content["about"]["sha256"]) == 3
    rows = folded.rows()
    results = [s.result for s in states.states(found, configs, folded.out)[:3]]
    expected = []
    for result in results:
        assert result is not None
        mean = np.array(result.about["mean_histogram"])
        truth = result.votes / 50
        expected += per_picture(truth, np.tile(mean, (40, 1)), Criteria(3.0, 0.5, 1e-7))["emd_r2"].tolist()
    assert float(rows["mean histogram"]["emd_r2"]) == pytest.approx(np.mean(expected))
    assert rows["native"]["verdict"] == "none: 1 of 3 seeds"
    # a seed without one of its folds does not count
    folded.result("native/seed4-fold1.json").unlink()
    rows = folded.rows()
    assert "native" not in rows and rows["warped"]["seeds"] == "1"
    assert "| native, seed 4, fold 1 | waiting | begun |" in folded.tables()[0].decode()


def test_nothing_is_finished_yet(case, capsys):
    case.main("table")
    said = capsys.readouterr().out
    assert "0 of 4 jobs are done" in said and pages.NOTHING in said and "waiting native, seed 0" in said


class Terminal:
    """A file that is a terminal."""

    def __init__(self):
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None: ...


def test_a_terminal_shows_state_rate_and_time_left(finished, monkeypatch):
    shutil.rmtree(finished.result("native"))
    found = states.states(*_jobs(finished), finished.out)
    screen = Terminal()
    monkeypatch.setenv("COLUMNS", "90")
    progress = Progress(found, finished.out, screen)  # type: ignore[arg-type]
    running = found[0].job
    log = job.log(running, finished.out)
    log.parent.mkdir(parents=True)
    log.write_text("step 3/9, loss 0.5, 12.5 pictures/s, waited for data 0.0 s, 00:07 left\nnote\n")
    progress.tell(running, "running")
    drawn = screen.text.split("\x1b[K\n")
    assert drawn[0].split() == [
        "row",
        "done",
        "running",
        "elsewhere",
        "failed",
        "refused",
        "waiting",
        "a",
        "job",
    ]
    assert drawn[1].split()[:3] == ["native", "1", "2"] and drawn[2].split()[:2] == ["warped", "3"]
    assert "native, seed 0, for 0.0 s: step 3/9, loss 0.5, 12.5 pictures/s" in drawn[3]
    assert len(drawn[3]) == 89
    assert drawn[4].startswith("3 jobs are left x ") and "measured on 3" in drawn[4]
    progress.tell(running, "done")
    assert "\x1b[5F" in screen.text and "2 jobs are left" in screen.text


def test_files_lie_beside_the_workdir(tmp_path):
    each = plan.Job(0, "a 1.5", 3, 1, "configs/votes.py", {})
    assert folder.workdir(tmp_path, each) == tmp_path / "jobs/a 1.5/seed3-fold1"
    assert job.log(each, tmp_path).name == "seed3-fold1.log"
    assert folder.result(tmp_path, each, ".npz") == tmp_path / "results/a 1.5/seed3-fold1.npz"
