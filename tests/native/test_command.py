"""run.native on the command line: by default the kernels where they can be built, and a run goes on as it began."""

import json

import pytest

from tests import runs

pytestmark = pytest.mark.slow


def trained(workdir, photos, *options):
    return runs.train(workdir, photos, "--config.run.native=auto", "--config.train.epochs=1.0", *options)


def taken(folder):
    return json.loads((folder / "results.json").read_text())["config"]["run"]["native"]


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    """As on a machine without one, where nothing was built."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_a_run_takes_the_kernels_says_so_in_its_results_and_is_evaluated_elsewhere(
    kernels, tmp_path, monkeypatch
):
    photos, run = runs.make_folder(tmp_path / "photos", 40, 0), tmp_path / "run"
    assert "on the native kernels" in runs.run(trained(run, photos))
    assert taken(run) == "on"
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    printed = runs.run(runs.evaluate(run, "--config.eval.bootstrap=20"))
    assert (
        "note: the plain path (run.native=auto): building the native kernels needs a C++17 compiler"
        in printed
    )
    (folder,) = (run / "evaluations").iterdir()
    assert taken(folder) == "off"


def test_without_a_compiler_a_run_takes_the_plain_path_and_says_why(no_compiler, tmp_path):
    photos, run = runs.make_folder(tmp_path / "photos", 40, 0), tmp_path / "run"
    printed = runs.run(trained(run, photos))
    assert (
        "note: the plain path (run.native=auto): building the native kernels needs a C++17 compiler"
        in printed
    )
    assert "on the plain path" in printed
    assert taken(run) == "off"


def test_a_run_that_began_on_kernels_goes_on_without_them_only_where_that_is_asked_for(
    kernels, tmp_path, monkeypatch
):
    photos, run = runs.make_folder(tmp_path / "photos", 40, 0), tmp_path / "run"
    runs.run(trained(run, photos))
    # as if it had been stopped: the table is not there, and the last checkpoint is not the last step
    (run / "results.json").unlink()
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    line = runs.error_line(trained(run, photos))
    assert (
        "run.native=on, as given or as this run began, cannot be" in line
        and "--config.run.native=off" in line
    )
    printed = runs.run(runs.train(run, photos, "--config.train.epochs=1.0", "--config.run.native=off"))
    assert "note: this run began with run.native=on; from here on its last digits are those of off" in printed
    assert taken(run) == "off"
