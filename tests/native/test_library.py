"""Building and loading the kernels, and the errors of doing so."""

import pytest

from mtp.config import ConfigError
from mtp.native import library as native


def test_a_kernel_that_is_not_built_is_an_error_with_the_command(tmp_path):
    with pytest.raises(ConfigError, match=r"python -m mtp\.native"):
        native.load(tmp_path)


@pytest.mark.parametrize(
    ("compiler", "message"), [("no-such-compiler", "was not found"), ("false", r"failed \(1\)")]
)
def test_building_without_a_working_compiler_says_so_and_leaves_nothing(
    tmp_path, monkeypatch, compiler, message
):
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(ConfigError, match=message):
        native.build(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_library_belongs_to_one_source_jaxlib_and_cpu(tmp_path, monkeypatch):
    here = native.library(tmp_path)
    assert native.library(tmp_path) == here
    monkeypatch.setattr(native.importlib.metadata, "version", lambda _: "0.0.1")
    assert native.library(tmp_path) != here
