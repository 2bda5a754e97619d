"""Building, checking and loading the kernels, and the errors of doing so."""

import json
import shutil
import signal
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.config import ConfigError
from mtp.native import check
from mtp.native import library as native


@pytest.fixture
def built(kernels, tmp_path, monkeypatch):
    """The built library and a folder in which building is copying it."""
    there = native.library(native.FOLDER)
    monkeypatch.setattr(native, "build", lambda path: shutil.copy(there, path))
    return there, tmp_path / "native"


@pytest.mark.parametrize(
    ("compiler", "message"), [("no-such-compiler", "was not found"), ("false", r"failed \(1\)")]
)
def test_building_without_a_working_compiler_says_so_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, compiler, message
):
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(ConfigError, match=message) as raised:
        native.ensure(tmp_path)
    assert "\n" not in str(raised.value)
    assert ("building" in capsys.readouterr().out) == (compiler == "false")
    assert not list(tmp_path.iterdir())


def test_another_kind_of_processor_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(native.platform, "machine", lambda: "aarch64")
    with pytest.raises(ConfigError, match="for x86-64 processors, and this one is aarch64"):
        native.ensure(tmp_path)


def test_a_library_belongs_to_one_source_jaxlib_and_cpu(tmp_path, monkeypatch):
    here = native.library(tmp_path)
    assert native.library(tmp_path) == here
    monkeypatch.setattr(native.importlib.metadata, "version", lambda _: "0.0.1")
    assert native.library(tmp_path) != here


def test_a_library_is_built_and_checked_once(built, monkeypatch, capsys):
    _, folder = built
    checked = []
    monkeypatch.setattr(native, "failure", lambda path: checked.append(path) or "")
    path = native.ensure(folder)
    assert capsys.readouterr().out.startswith("built and checked in")
    assert native.ensure(folder) == path
    assert checked == [path] and capsys.readouterr().out == ""


@pytest.mark.parametrize("damage", ["library", "verdict"])
def test_what_was_cut_short_is_made_again(built, monkeypatch, damage):
    there, folder = built
    monkeypatch.setattr(native, "failure", lambda path: "")
    path = native.ensure(folder)
    cut = path if damage == "library" else path.with_suffix(".json")
    cut.write_bytes(cut.read_bytes()[:20])
    assert native.ensure(folder).read_bytes() == there.read_bytes()
    assert json.loads(path.with_suffix(".json").read_text())["failure"] == ""


def test_a_library_that_failed_its_check_is_not_used_and_not_checked_again(built, monkeypatch):
    _, folder = built
    monkeypatch.setattr(native, "failure", lambda path: "the kernels differ")
    message = r"the kernels differ; to have the kernels built and checked again, delete .*\.json"
    with pytest.raises(ConfigError, match=message):
        native.ensure(folder)
    monkeypatch.setattr(native, "failure", lambda path: pytest.fail("checked twice"))
    with pytest.raises(ConfigError, match=message):
        native.ensure(folder)


def test_the_built_kernels_pass_their_check(built):
    there, _ = built
    assert native.failure(there) == ""


def test_what_is_no_library_fails_its_check(tmp_path):
    (tmp_path / "kernels.so").write_text("no library")
    assert "self-check failed: OSError" in native.failure(tmp_path / "kernels.so")


@pytest.mark.parametrize(
    ("status", "printed", "message"),
    [
        (-signal.SIGILL, "", "end their self-check by SIGILL"),
        (0, '{"stem": 1e-7, "batch norm": 0.001}', "differ from the plain path in batch norm by 1.0e-03"),
        (0, '{"stem": NaN}', "differ from the plain path in stem by nan"),
    ],
)
def test_what_a_check_can_find(monkeypatch, tmp_path, status, printed, message):
    done = subprocess.CompletedProcess([], status, printed, "")
    monkeypatch.setattr(native, "_run", lambda command: done)
    assert message in native.failure(tmp_path)


def test_a_check_that_is_ended_from_outside_says_nothing_of_the_kernels(monkeypatch, tmp_path):
    monkeypatch.setattr(
        native, "_run", lambda command: subprocess.CompletedProcess([], -signal.SIGKILL, "", "")
    )
    with pytest.raises(ConfigError, match=r"ended from outside \(-9\)"):
        native.failure(tmp_path)


def test_the_check_calls_every_kernel():
    x, sizes = np.zeros((3, 21, 18, 44), np.float32), np.array(check.SIZES)
    lowered = jax.jit(check.results, static_argnums=0).lower(check.NATIVE, x, sizes).as_text()
    missing = [symbol for symbol in native.SYMBOLS if f"@{symbol}(" not in lowered]
    assert not missing


def test_the_check_sees_a_number_that_is_none_in_any_result(monkeypatch):
    """Also behind results that are right."""
    right = {"stem": [jnp.ones(3), jnp.ones(3), jnp.ones(3)]}
    for place in range(3):
        wrong = {"stem": [x.at[1].set(jnp.nan) if i == place else x for i, x in enumerate(right["stem"])]}
        monkeypatch.setattr(
            check, "results", lambda of, x, sizes, w=wrong: w if of is check.NATIVE else right
        )
        assert np.isnan(check.deviations()["stem"])


def test_the_check_sees_one_wrong_number_of_every_operation(monkeypatch):
    def wrong(right):
        def of(*arguments):
            first, *others = jax.tree.leaves(value := right(*arguments))
            return jax.tree.unflatten(jax.tree.structure(value), [first.at[0, -1, -1, 0].add(1e-3), *others])

        return of

    monkeypatch.setattr(check, "NATIVE", check.Operations(*map(wrong, check.PLAIN)))
    found = check.deviations()
    assert len(found) == 18 and all(by > native.TOLERANCE for by in found.values())
