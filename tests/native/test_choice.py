"""run.native: which path a process takes."""

import pytest

from mtp.config import ConfigError, configured
from mtp.native import choice, library


def config(native):
    return configured({"run.native": native})


@pytest.fixture
def usable(monkeypatch):
    monkeypatch.setattr(library, "load", lambda: None)


@pytest.fixture(params=[ConfigError("no compiler"), PermissionError(1, "not yours", "/cache")])
def unusable(request, monkeypatch):
    def fail():
        raise request.param

    monkeypatch.setattr(library, "load", fail)


@pytest.mark.parametrize("native", ["auto", "on"])
def test_the_kernels_are_taken_where_they_can_be_used(usable, native, capsys):
    assert choice.resolved(config(native)).run.native == "on"
    assert capsys.readouterr().out == ""


def test_auto_is_the_plain_path_where_they_cannot_with_one_line_why(unusable, capsys):
    assert choice.resolved(config("auto")).run.native == "off"
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("note: the plain path (run.native=auto): ")
    assert "no compiler" in line or "/cache: not yours" in line


def test_on_is_an_error_where_they_cannot(unusable):
    with pytest.raises(ConfigError, match=r"run\.native=on.*cannot be.*--config\.run\.native=off"):
        choice.resolved(config("on"))


def test_off_looks_for_nothing(unusable):
    assert choice.resolved(config("off")).run.native == "off"


@pytest.mark.parametrize("native", ["auto", "on", "off"])
def test_accelerators_have_one_path(unusable, monkeypatch, native):
    monkeypatch.setattr(choice.jax, "default_backend", lambda: "gpu")
    assert choice.resolved(config(native)).run.native == native


@pytest.mark.parametrize(("trained", "taken"), [("on", "auto"), ("off", "off"), ("auto", "auto")])
def test_predictions_need_not_take_the_trainings_path(trained, taken):
    assert choice.for_inference({"seed": 1, "run.native": trained}) == {"seed": 1, "run.native": taken}
