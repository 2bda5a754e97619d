"""A built AVA as a data set: splits, styles under both protocols, exclusions, metadata."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mtp.data import exclusions, images
from mtp.data.ava import build as ava
from mtp.data.ava import load as ava_load
from mtp.data.ava import source as ava_source
from mtp.data.schema import DataError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def data_dir(make_ava, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ava")
    download = make_ava(folder / "download")
    (download / "images" / "110.jpg").write_bytes(b"")
    ava.build(ava_source.read(download, max_skipped=0.1), folder / "data", 1)
    return folder / "data"


def test_a_data_set(data_dir):
    data = ava_load.load(data_dir)
    assert len(data) == 59 and "110" not in data.images and list(data.images) == sorted(data.images)
    assert data.ratings == 10 and (data.sizes == [48, 64]).all()
    assert set(data.splits) == {"train", "validation", "test"}
    assert {data.images[i] for i in data.indices("test")} == {str(101 + n) for n in range(0, 60, 5)}
    i = data.images.index("103")
    assert images.decode(data.read(i), "103", 10_000).shape == (48, 64, 3)
    digest = hashlib.sha256(data.read(i)).digest()[:8]
    assert data.hashes is not None and data.hashes[i] == np.frombuffer(digest, np.uint64)[0]


def test_reading_imports_nothing(data_dir):
    """TFDS replaces Python's import while it is imported: in a reading thread that breaks those that compile."""
    script = (
        "import sys; from pathlib import Path; from mtp.data.ava import load as ava_load\n"
        f"data = ava_load.load(Path({str(data_dir)!r}))\n"
        "before = set(sys.modules); data.read(0); print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_what_is_missing_is_told(data_dir):
    said = "\n".join(ava_load.load(data_dir).skipped)
    assert "2 of the 14 ids of generic_test.jpgl have no row of votes (90001, 90002, ..)" in said
    assert "1 rows of votes have no usable picture" in said


def test_metadata(data_dir):
    data = ava_load.load(data_dir)
    i = data.images.index("105")
    assert data.metadata["challenge"][i] == "Name_5"
    assert data.metadata["tags"][i] == "Tag 1;Tag 4"
    assert data.metadata["category"][data.images.index("101")] == "animal"
    # a challenge without a name keeps its number
    assert data.metadata["challenge"][data.images.index("125")] == "25"


def labelled(styles):
    return ~np.isnan(styles).any(axis=1)


def test_nothing_of_validation_or_test_trains_a_style(data_dir):
    data = ava_load.load(data_dir)
    held = np.array(data.splits) != "train"
    assert labelled(data.styles).any() and not labelled(data.styles)[held].any()
    assert (data.styles[labelled(data.styles)].sum(axis=1) == 1).all()
    # the list for training does name pictures of the test split
    everyone = ava_load.load(data_dir, split="animal")
    assert set(np.array(data.images)[labelled(data.styles)]) != set(
        np.array(everyone.images)[labelled(everyone.styles)]
    )


def test_style_tests_never_train(data_dir):
    data = ava_load.load(data_dir)
    tested = labelled(data.tested_styles)
    assert [data.images[i] for i in np.flatnonzero(tested)] == ["101", "102", "103"]
    assert not (tested & labelled(data.styles)).any()
    assert data.tested_styles[tested].sum(axis=1).tolist() == [2, 1, 0]


def test_an_excluded_picture_is_left_out_and_changes_the_splits_hash(data_dir, monkeypatch):
    before = ava_load.load(data_dir)
    gone = before.images[int(before.indices("train")[0])]
    exclusions.write(data_dir, {gone: "blurred", "nobody": "x"})
    try:
        after = ava_load.load(data_dir)
    finally:
        (data_dir / exclusions.NAME).unlink()
    assert set(before.images) - set(after.images) == {gone}
    assert after.split_sha256("train") != before.split_sha256("train")
    assert after.split_sha256("test") == before.split_sha256("test")
    assert "1 picture left out by excluded.csv" in after.skipped
    assert [after.read(i) for i in range(5)] == [
        before.read(before.images.index(after.images[i])) for i in range(5)
    ]


def test_a_folder_without_a_built_set(tmp_path):
    with pytest.raises(DataError, match=r"data\.dir must be the --data_dir of a built AVA"):
        ava_load.load(tmp_path)


def test_a_table_that_is_cut_short(data_dir, tmp_path):
    folder = tmp_path / "ava" / "1.0.0"
    folder.mkdir(parents=True)
    data = (data_dir / "ava" / "1.0.0" / "labels.npz").read_bytes()
    (folder / "labels.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"labels\.npz is damaged"):
        ava_load.load(tmp_path)


def test_each_part_has_its_count_and_hash(data_dir):
    data = ava_load.load(data_dir)
    assert f"{len(data.indices('train')):>8}  sha256 {data.split_sha256('train')}" in ava_load.describe(data)


def test_a_damaged_record_is_an_error_that_says_so(data_dir, tmp_path):
    copy = shutil.copytree(data_dir, tmp_path / "copy")
    for path in copy.glob("ava/*/*.array_record-*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 3 : len(data) // 2] = b"x" * (len(data) // 2 - len(data) // 3)
        path.write_bytes(data)
    data = ava_load.load(copy)
    with pytest.raises(DataError, match=r"a record in .* is damaged"):
        [data.read(i) for i in range(len(data))]
