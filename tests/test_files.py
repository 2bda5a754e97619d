import hashlib

import numpy as np
import pytest

from mtp import files


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


def test_arrays_are_read_back(tmp_path):
    files.write_arrays(tmp_path / "x.npz", {"a": np.arange(3), "b": np.array("text")})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert found["a"].tolist() == [0, 1, 2]
        assert str(found["b"]) == "text"


def test_the_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
