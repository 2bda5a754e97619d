"""Kept programs that were cut short make room for whole ones."""

import os
import random
import zlib

import jax
import jax.numpy as jnp
import pytest

from mtp.runtime import kept_programs
from mtp.runtime.kept_programs import is_whole, remove_damaged

DATA = random.Random(0).randbytes(3000) + bytes(3000)


def zstd_frame(blocks: list[tuple[int, bytes]], checksum: bool) -> bytes:
    """RFC 8878: a header with a window and no content size, blocks of (type, content), four bytes of a checksum."""
    frame = kept_programs.ZSTD + bytes([4 * checksum, 0x40])
    for number, (kind, content) in enumerate(blocks):
        last = number == len(blocks) - 1
        size = 1000 if kind == 1 else len(content)
        frame += (size << 3 | kind << 1 | last).to_bytes(3, "little") + content
    return frame + bytes(4 * checksum)


WHOLE = {
    "zlib": zlib.compress(DATA),
    "zstd": zstd_frame([(0, DATA[:500]), (2, DATA[:77]), (1, b"x")], checksum=False),
    "zstd with a checksum": zstd_frame([(1, b"x"), (2, DATA[:77])], checksum=True),
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_entry_is_whole_with_its_last_byte(name):
    assert is_whole(WHOLE[name])
    assert not any(is_whole(WHOLE[name][:length]) for length in range(0, len(WHOLE[name]), 7))
    assert not is_whole(WHOLE[name][:-1])


def test_only_what_is_new_since_the_last_look_is_looked_at(tmp_path):
    (tmp_path / "a-cache").write_bytes(WHOLE["zlib"])
    (tmp_path / "b-cache").write_bytes(WHOLE["zlib"][:-9])
    (tmp_path / "other").write_bytes(b"")
    assert remove_damaged(tmp_path) == 1
    os.truncate(tmp_path / "a-cache", 100)
    mark = (tmp_path / kept_programs.CHECKED).stat().st_mtime_ns
    os.utime(tmp_path / "a-cache", ns=(mark - 1, mark - 1))
    assert remove_damaged(tmp_path) == 0
    (tmp_path / "a-cache").touch()
    assert remove_damaged(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"other", kept_programs.CHECKED}


def test_jax_writes_what_this_reads_and_writes_a_removed_one_again(tmp_path):
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    keep = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")

    def compile_once() -> None:
        jax.clear_caches()
        jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3)))

    from jax.experimental.compilation_cache import compilation_cache

    try:
        for name, value in zip(keep, (str(tmp_path), 0.0), strict=True):
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        compile_once()
        entries = sorted(tmp_path.glob(kept_programs.ENTRIES))
        assert entries and all(is_whole(entry.read_bytes()) for entry in entries)
        for entry in entries:
            os.truncate(entry, entry.stat().st_size // 2)
        assert remove_damaged(tmp_path) == len(entries)
        compile_once()
        assert sorted(tmp_path.glob(kept_programs.ENTRIES)) == entries
        assert all(is_whole(entry.read_bytes()) for entry in entries)
    finally:
        for name, value in zip(keep, before, strict=True):
            jax.config.update(name, value)
        compilation_cache.reset_cache()
