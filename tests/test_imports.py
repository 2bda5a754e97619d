"""Imports go one way; a new package takes its place in this table first."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mtp

ROOT = Path(__file__).parents[1]
# lower layers know nothing of higher ones; packages of one layer do not see one another
LAYERS = (
    {"config", "files", "names", "processes"},
    {"ratings"},
    {"tasks", "ops", "ldl"},
    {"data"},
    {"models"},
    {"native", "baselines"},
    {"runtime"},
    {"inference"},
    {"evaluation"},
    {"report"},
    {"training", "options"},
    {"workdirs"},
    {"commands"},
    {"main"},
)
LAYER = {package: number for number, packages in enumerate(LAYERS) for package in packages}
FILES = sorted((ROOT / "mtp").rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Dotted names of everything a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def package(path: Path) -> str:
    """The first name below mtp: a package, or one of the few modules beside them."""
    return path.relative_to(ROOT / "mtp").with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    here = package(path)
    if here == "__init__":
        return  # its imports are for type checkers alone
    for name in imported(path):
        if name.startswith("mtp."):
            there = name.split(".")[1]
            assert there == here or LAYER[there] < LAYER[here], f"{path} imports {name}"
        assert name.split(".")[0] not in ("configs", "experiments", "tests"), f"{path} imports {name}"


def test_data_knows_no_jax_and_grain_is_read_in_one_place():
    for path in FILES:
        packages = {name.split(".")[0] for name in imported(path)}
        if package(path) == "data":
            assert not packages & {"jax", "flax", "optax", "orbax"}, path
        if "grain" in packages:
            assert path.relative_to(ROOT / "mtp") == Path("data/batches/pipeline.py")


def test_importing_the_package_itself_imports_nothing_heavy():
    names = "jax", "flax", "numpy", "orbax", "PIL"
    code = f"import sys, mtp; print([name for name in {names} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout
        == "[]\n"
    )


def test_the_public_names_are_there():
    for name in mtp.__all__:
        assert getattr(mtp, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mtp.nothing  # noqa: B018


def test_every_package_has_its_layer():
    assert {package(path) for path in FILES} - {"__init__"} <= set(LAYER)


def test_the_walk_finds_imports_in_functions(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from mtp import main\n    import grain.python\n")
    assert set(imported(file)) == {"mtp.main", "grain.python"}
