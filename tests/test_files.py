import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from mtp import files
from mtp.native import library


def test_json_is_read_back_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"name": "Göteborg", "value": 0.1})
    assert files.read_json(path) == {"name": "Göteborg", "value": 0.1}
    assert files.read_json(tmp_path / "none.json") is None
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"value": 1})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"value": float("nan")})
    with pytest.raises(RuntimeError, match="stop"), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert files.read_json(path) == {"value": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands for the disk")
def test_a_full_disk_is_told_with_the_files_name(tmp_path):
    (tmp_path / "x.json.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as told:
        files.write_json(tmp_path / "x.json", {"value": 1})
    assert told.value.filename == str(tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


def test_arrays_are_read_back(tmp_path):
    files.write_arrays(tmp_path / "x.npz", {"a": np.arange(3), "b": np.array("text")})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert found["a"].tolist() == [0, 1, 2]
        assert str(found["b"]) == "text"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", bytes(99), b"[]", b"null"])
def test_what_is_no_json_object_is_named_with_what_to_do(content, tmp_path):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(
        files.DamagedFileError, match=rf"{tmp_path}/x.json is damaged \(.*\); delete it"
    ) as told:
        files.read_json(tmp_path / "x.json", "delete it")
    assert "\n" not in str(told.value)


def test_an_array_is_read_back_and_what_is_none_is_named(tmp_path):
    path = tmp_path / "x.npy"
    files.write_array(path, np.arange(3, dtype=np.uint64))
    found = files.read_array(path, "delete it")
    assert found is not None and found.dtype == np.uint64 and found.tolist() == [0, 1, 2]
    assert files.read_array(tmp_path / "none.npy", "") is None
    whole = path.read_bytes()
    for content in (b"", whole[:40], whole[:-3], b"PK" + whole, b"\x80\x04N.", bytes(99)):
        path.write_bytes(content)
        with pytest.raises(files.DamagedFileError, match=r"x.npy is damaged \(.*\); delete it") as told:
            files.read_array(path, "delete it")
        assert "\n" not in str(told.value)


def test_pickles_are_not_read(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(files.DamagedFileError, match="allow_pickle=False"):
        files.read_array(tmp_path / "x.npy", "delete it")


def test_the_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_a_private_folder_is_the_users_alone(tmp_path):
    files.private(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o777)
    files.private(tmp_path / "open")
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("whose", ["folder", "file"])
def test_what_is_somebody_elses_is_not_executed(tmp_path, monkeypatch, whose):
    """Kernels are refused, compiled programs of others are not looked at."""
    (tmp_path / "kernels.so").touch()
    if whose == "folder":
        monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    elif os.getuid():
        pytest.skip("only root can give a file away")
    else:
        os.chown(tmp_path / "kernels.so", 12345, -1)
    with pytest.raises(PermissionError, match="what is executed from there must be the user's own"):
        files.private(tmp_path)
    monkeypatch.setattr(library, "library", lambda folder: folder / "kernels.so")
    with pytest.raises(PermissionError, match="what is executed from there"):
        library.load.__wrapped__(tmp_path)
