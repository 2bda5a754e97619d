"""Kept programs: found by all that they are made from and by nothing less, and the same to the last bit."""

import functools
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp.config import get_config
from mtp.ops.kernels import Kernels
from mtp.runtime.mesh import data_mesh, replicated
from mtp.training import executables, optim
from mtp.training.executables import Undescribed, described

pytestmark = pytest.mark.usefixtures("kept_programs")


def test_what_cannot_be_described_to_the_end_is_an_error():
    class Local:
        pass

    own = Kernels(depthwise=lambda *_: None)
    schedule = optim.rates(get_config().optim, 100, 10)["heads"]
    described(schedule)
    for value in (object(), Local, Local(), lambda: 0, own, {1, 2}, functools.partial(lambda: 0), iter(())):
        with pytest.raises(Undescribed):
            described(value)
        with pytest.raises(Undescribed):
            described({"deep": [(value,)]})
        assert executables.address("update", value, (), data_mesh()) is None


def test_an_address_holds_the_arguments_the_machine_and_the_source(monkeypatch):
    mesh = data_mesh(1)
    everywhere = replicated(mesh)

    def address(shape=(2, 3), dtype=np.float32, sharding=everywhere, name="update", key="state"):
        arguments = {key: jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)}
        return executables.address(name, 1, arguments, mesh)

    one_device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    found = [
        address(), address(shape=(3, 2)), address(dtype=np.int32), address(sharding=one_device),
        address(name="gradients"), address(key="states"),
    ]  # fmt: skip
    assert address() == found[0]
    for variable in ("XLA_FLAGS", "NPROC", "JAX_ENABLE_X64"):
        monkeypatch.setenv(variable, "7")
        found.append(address())
    with monkeypatch.context() as changed:
        changed.setattr(executables, "SOURCE", "another source")
        found.append(address())
        changed.setattr(executables, "_processor", lambda: "another CPU")
        found.append(address())
        changed.setattr(executables, "_installed", lambda: "another jax")
        found.append(address())
    before = jax.config.jax_default_matmul_precision
    jax.config.update("jax_default_matmul_precision", "float32")
    found.append(address())
    jax.config.update("jax_default_matmul_precision", before)
    assert len(set(found)) == len(found)


def test_nothing_is_kept_where_jax_keeps_nothing_or_the_source_has_just_changed(monkeypatch, tmp_path):
    def address():
        return executables.address("update", 1, (), data_mesh())

    assert address()
    for what, value in (("SOURCE", None), ("_installed", lambda: None)):
        with monkeypatch.context() as changed:
            changed.setattr(executables, what, value)
            assert address() is None
    for name, value in (
        ("jax_compilation_cache_dir", None),
        ("jax_compilation_cache_dir", "gs://bucket/cache"),
        ("jax_enable_compilation_cache", False),
    ):
        before = jax.config.values[name]
        jax.config.update(name, value)
        assert address() is None
        jax.config.update(name, before)


def test_the_source_is_told_only_once_it_has_settled(monkeypatch, tmp_path):
    package = tmp_path / "mtp"
    package.mkdir()
    monkeypatch.setattr(executables, "__file__", str(package / "executables.py"))
    assert executables._source() is None
    (package / "step.py").write_text("a = 1\n")
    assert executables._source() is None
    monkeypatch.setattr(executables, "SETTLED", -1.0)
    first = executables._source()
    assert first and executables._source() == first
    (package / "step.py").write_text("a = 2\n")
    assert executables._source() not in (None, first)
    (package / "step.py").rename(package / "other.py")
    (package / "other.py").write_text("a = 1\n")
    assert executables._source() not in (None, first)


def test_a_package_in_development_is_not_told_by_its_version(monkeypatch, tmp_path):
    for name in ("jax", "mtp"):
        package = tmp_path / name / f"{name}-1.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text(f"Name: {name}\nVersion: 1\n")
        (package / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///"}')

    def installed(name):
        found = importlib.metadata.distributions(path=[str(tmp_path / name)])
        with monkeypatch.context() as changed:
            changed.setattr(importlib.metadata, "distributions", lambda: found)
            return executables._installed.__wrapped__()

    assert installed("jax") is None
    before = installed("mtp")
    (tmp_path / "mtp" / "mtp-1.dist-info" / "RECORD").write_text("mtp.py,sha256=1,1\n")
    assert installed("mtp") not in (None, before)


def small_program():
    return jax.jit(lambda x: (x * 2, {"sum": x.sum()})).lower(jnp.arange(3.0)).compile()


def test_a_program_is_read_as_it_was_kept(kept_programs):
    path = kept_programs / "small"
    assert executables.read(path, data_mesh()) is None
    executables.keep(small_program(), path)
    program = executables.read(path, data_mesh())
    doubled, sums = program(jnp.arange(3.0))
    np.testing.assert_array_equal(doubled, [0, 2, 4])
    assert sums["sum"] == 3
    with pytest.raises(TypeError, match="Argument types differ"):
        program(jnp.arange(4.0))
    assert [p.name for p in kept_programs.iterdir()] == ["small"]


def test_only_what_is_compiled_here_is_kept(kept_programs):
    """XLA writes a program that it has read without its machine code: it would be read again, and fail when run."""
    before = jax.config.values["jax_persistent_cache_min_compile_time_secs"]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

    def compiled(path):
        lowered = jax.jit(lambda x: jnp.sort(x * 2) + jnp.arange(3)).lower(jnp.arange(3.0))
        return executables.compiled(lowered, {}, path)

    compiled(kept_programs / "made")
    compiled(kept_programs / "read")
    compiled(None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)
    assert {path.name for path in kept_programs.iterdir()} == {"made"}
    np.testing.assert_array_equal(
        executables.read(kept_programs / "made", data_mesh())(jnp.arange(3.0)), [0, 3, 6]
    )


@pytest.mark.parametrize("damage", [b"", b"x", "half", "flip"])
def test_a_damaged_file_is_no_program_and_is_replaced(damage, kept_programs, capsys):
    path = kept_programs / "small"
    executables.keep(small_program(), path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes({"half": whole[: len(whole) // 2], "flip": bytes(flipped)}.get(damage, damage))
    assert executables.read(path, data_mesh()) is None
    assert f"{path} is damaged; it is made anew" in capsys.readouterr().out
    executables.keep(small_program(), path)
    assert executables.read(path, data_mesh()) is not None


def test_a_program_that_xla_refuses_is_made_anew(kept_programs, capsys, monkeypatch):
    def refuse(*_, **__):
        raise jax.errors.JaxRuntimeError("another machine")

    path = kept_programs / "small"
    executables.keep(small_program(), path)
    monkeypatch.setattr(executables.serialize_executable, "deserialize_and_load", refuse)
    assert executables.read(path, data_mesh()) is None
    assert "it is made anew (another machine)" in capsys.readouterr().out


def test_a_program_that_cannot_be_written_is_a_note(kept_programs, capsys):
    kept_programs.write_text("a file where the folder should be")
    executables.keep(small_program(), kept_programs / "small")
    assert "could not be kept" in capsys.readouterr().out


def test_the_newest_programs_stay_and_reading_makes_one_new(kept_programs, monkeypatch):
    monkeypatch.setattr(executables, "NEWEST", 2)
    for age, name in ((30, "a"), (20, "b")):
        executables.keep(small_program(), kept_programs / name)
        executables.os.utime(kept_programs / name, (1e9 - age, 1e9 - age))
    executables.read(kept_programs / "a", data_mesh())
    executables.keep(small_program(), kept_programs / "c")
    assert {path.name for path in kept_programs.iterdir()} == {"a", "c"}


@pytest.mark.parametrize("kind", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_what_the_run_time_type_checks_would_disturb(kind):
    checks = Path(__file__).with_name("check_executables.py")
    options = ("-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider", "-q", "-m", kind)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(checks)],
        capture_output=True, text=True, cwd=checks.parents[2], check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
