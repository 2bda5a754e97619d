"""What the command line says of checkpoints that it cannot use."""

import json
import shutil

import pytest

from tests import runs

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(trained_small, tmp_path):
    """A finished workdir to be damaged."""
    return shutil.copytree(trained_small[0], tmp_path / "run")


def commands(workdir, photos):
    """Each command that reads a checkpoint."""
    return runs.train(workdir, photos), runs.evaluate(workdir), runs.predict(workdir, photos)


def test_a_changed_threshold_is_refused(copy, trained_small):
    (copy / "results.json").unlink()
    for path in (copy / "checkpoints").glob("*/meta.json"):
        path.write_text(path.read_text().replace('"threshold": 3.0', '"threshold": 4.0'))
    for command in commands(copy, trained_small[1]):
        said = runs.error_line(command)
        assert "is damaged: its meta does not have the checksum it was saved with" in said


def test_a_checkpoint_of_the_earlier_form_is_refused_in_a_line(copy, trained_small):
    """It had the items state and meta."""
    (copy / "results.json").unlink()
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints" / "8" / "state").mkdir(parents=True)
    for command in commands(copy, trained_small[1]):
        said = runs.error_line(command)
        assert "was saved by an earlier version, in another form; train again in a new workdir" in said


def test_another_network_in_the_configuration_is_refused(copy):
    content = json.loads((copy / "config.json").read_text())
    content["model"]["fcn_hidden"] = 24
    (copy / "config.json").write_text(json.dumps(content))
    said = runs.run(runs.evaluate(copy), fails=True)
    assert said.startswith("error: ") and "Traceback" not in said
    assert (
        "params/heads/fcn/hidden/kernel: stored float32(1, 1, 12, 16), wanted float32(1, 1, 12, 24)" in said
    )
