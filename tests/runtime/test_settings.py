import os
import platform
import subprocess
import sys

import jax
import numpy as np
import pytest

from mtp.config import get_config
from mtp.data.batches.views import Spec, empty_batch, place, slot_of
from mtp.runtime import settings
from mtp.runtime.mesh import data_mesh, put_batch

FAULTS = """
import resource
import jax, jax.numpy as jnp, numpy as np
from mtp.runtime.settings import keep_freed_memory

def faults(call):
    # the least of several calls: small arrays may settle where a large one was
    counts = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        call()
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(counts)

def array():
    np.ones(2**24, np.float32)

# the sort's copy is a temporary of the program, of more than the 32 MB from which on glibc always maps new pages
program = jax.jit(lambda x: jnp.sort(jnp.outer(x, x), axis=0).sum())
x = np.arange(3072, dtype=np.float32)

def compute():
    program(x).block_until_ready()

KEEP
print(faults(array), faults(compute))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_arrays_and_temporaries_of_programs_get_pages_that_were_there_before():
    fresh, kept = (
        subprocess.run(
            [sys.executable, "-c", FAULTS.replace("KEEP", keep)], capture_output=True, text=True, check=True
        ).stdout.split()
        for keep in ("", "keep_freed_memory()")
    )
    assert min(map(int, fresh)) > 200 > 50 > max(map(int, kept))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices have memory of their own")
@pytest.mark.parametrize("side", [33, 401, 402, 403])
def test_a_batch_of_pictures_is_not_copied(side):
    picture = np.ones((side, side, 3), np.uint8)
    spec = {"images": Spec((side, side, 3), np.dtype(np.uint8)), "sizes": Spec((2,), np.dtype(np.int32))}
    batch = empty_batch(spec, 2)
    place(slot_of(batch, 0), picture, lambda sizes: sizes)
    placed = put_batch(batch, data_mesh(1))
    for name, array in batch.items():
        assert placed[name].unsafe_buffer_pointer() == array.ctypes.data


def test_deterministic_sums_are_asked_of_xla_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    config = get_config()
    config.run.compile_cache = jax.config.jax_compilation_cache_dir or str(tmp_path)
    settings.configure(config)
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=x"
    config.run.deterministic = True
    for _ in range(2):
        settings.configure(config)
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=x --xla_gpu_deterministic_ops=true"
