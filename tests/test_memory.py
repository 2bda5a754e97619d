import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import jax, jax.numpy as jnp, numpy as np
from mtp.memory import keep_freed

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

# the sort's copy is a temporary of the program
program = jax.jit(lambda x: jnp.sort(jnp.outer(x, x), axis=0).sum())
x = np.arange(4096, dtype=np.float32)

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
        for keep in ("", "keep_freed()")
    )
    assert min(map(int, fresh)) > 200 > 50 > max(map(int, kept))
