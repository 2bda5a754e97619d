"""The built kernels."""

import os
import shlex
import shutil

import pytest

from mtp.native import library


@pytest.fixture(scope="session")
def kernels() -> None:
    """They are built and loaded; tests that need them are skipped where there is no compiler."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))[0]
    if not shutil.which(compiler):
        pytest.skip(f"no C++ compiler ({compiler}) to build the native kernels with")
    library.load()
