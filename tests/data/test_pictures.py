"""Pictures without votes: of a folder, of files, of arrays."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtp.data import pictures
from mtp.data.identity import picture_hashes
from mtp.data.pictures import SUFFIXES
from mtp.data.schema import DataError, Dataset

LIMIT = 10_000


def save(path: Path, height: int = 6, width: int = 8, value: int = 200, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path, **options)
    return path


def test_a_folder_is_every_picture_in_and_below_it_sorted_by_path(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.webp", "sub/deep/d.png", "sub/deep/e.Tiff"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "votes.csv").write_text("image\n")
    found = pictures.of_folder(tmp_path, LIMIT)
    assert found.images == ("a.JPG", "b.png", "sub/c.webp", "sub/deep/d.png", "sub/deep/e.Tiff")
    assert found.name == tmp_path.name and len(found) == 5 and found.skipped == ()
    assert not isinstance(found, Dataset)
    assert found.sizes.tolist() == [[6, 8]] * 5 and found.sizes.dtype == np.int32


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_a_format_that_can_be_read(suffix, tmp_path):
    save(tmp_path / f"a{suffix}", 32, 40, quality=90)
    found = pictures.of_folder(tmp_path, LIMIT)
    assert found.images == (f"a{suffix}",)
    np.testing.assert_allclose(found.pixels(0, LIMIT), np.full((32, 40, 3), 200), atol=3)


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    save(tmp_path / "seen.png")
    for name in (".hidden.png", ".folder/a.png", "sub/.thumbnails/b.png", "sub/._c.png"):
        save(tmp_path / name)
    assert pictures.of_folder(tmp_path, LIMIT).images == ("seen.png",)


def test_a_folder_given_with_dots_has_its_own_name(tmp_path, monkeypatch):
    save(tmp_path / "photos/a.png")
    monkeypatch.chdir(tmp_path / "photos")
    assert pictures.of_folder(Path(), LIMIT).name == "photos"


def test_files_that_cannot_be_read_are_named_with_the_reason_and_left_out(tmp_path):
    save(tmp_path / "good.png", value=9)
    save(tmp_path / "huge.png", 101, 100)
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html><html></html>")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/text.png").write_text("no picture")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = pictures.of_folder(tmp_path, LIMIT)
    assert found.images == ("good.png",) and len(found.sizes) == 1
    assert found.pixels(0, LIMIT).max() == 9
    reasons = (
        "empty.jpg: the file is empty",
        "gone.png: the file cannot be read",
        "huge.png: 100x101 pixels",
    )
    others = ("page.jpg: this is a web page", "sub/text.png: this is not a picture")
    assert len(found.skipped) == 5
    for told, expected in zip(found.skipped, reasons + others, strict=True):
        assert told.startswith(expected)


def test_a_damaged_picture_is_left_out_though_its_header_is_whole(tmp_path):
    """An album is not given up for one of its pictures."""
    whole = save(tmp_path / "a.jpg", 90, 100).read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[:-40])
    found = pictures.of_folder(tmp_path, LIMIT)
    assert found.images == ("a.jpg",)
    assert found.skipped[0].startswith("b.jpg: the file is damaged or cut short")


def test_a_picture_that_is_damaged_meanwhile_is_an_error_that_names_it(tmp_path):
    whole = save(tmp_path / "a.jpg", 90, 100).read_bytes()
    found = pictures.of_folder(tmp_path, LIMIT)
    (tmp_path / "a.jpg").write_bytes(whole[:-40])
    with pytest.raises(DataError, match=r"a\.jpg: the file is damaged"):
        found.pixels(0, LIMIT)


def test_damaged_exif_is_told_once(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        save(tmp_path / name, exif=b"Exif\0\0 nothing of the kind")
    save(tmp_path / "c.jpg")
    found = pictures.of_folder(tmp_path, LIMIT)
    assert len(found) == 3
    assert found.skipped == (
        "2 pictures with a damaged EXIF block, taken as they are stored (the first is a.jpg)",
    )


def test_no_folder_and_no_picture_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        pictures.of_folder(tmp_path / "nowhere", LIMIT)
    with pytest.raises(DataError, match=r"at least one picture.*none.*\.jpg, \.jpeg, \.png"):
        pictures.of_folder(tmp_path, LIMIT)
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"at least one picture.*the first: b\.jpg: the file is empty"):
        pictures.of_folder(tmp_path, LIMIT)


def test_orientation_decides_the_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.jpg", 20, 30, exif=exif)
    found = pictures.of_folder(tmp_path, LIMIT)
    assert found.sizes.tolist() == [[30, 20]]
    assert found.pixels(0, LIMIT).shape == (30, 20, 3)


def test_files_are_named_as_they_are_given(tmp_path):
    paths = [save(tmp_path / "z/b.png", 7, 9, 1), save(tmp_path / "a.png", 5, 6, 2)]
    (tmp_path / "c.png").write_bytes(b"")
    found = pictures.of_files([*paths, tmp_path / "c.png", tmp_path / "no.png"], LIMIT)
    assert found.images == tuple(sorted(map(str, paths)))
    assert found.sizes.tolist() == [[5, 6], [7, 9]]
    assert [int(found.pixels(i, LIMIT).max()) for i in range(2)] == [2, 1]
    assert len(found.skipped) == 2 and all(str(tmp_path) in told for told in found.skipped)
    with pytest.raises(DataError, match=r"at least one picture.*the first: .*no\.png"):
        pictures.of_files([tmp_path / "no.png"], LIMIT)


def test_arrays_are_the_pictures_themselves():
    arrays = [np.random.default_rng(i).integers(0, 256, (4 + i, 9, 3), np.uint8) for i in range(12)]
    found = pictures.of_arrays(arrays)
    assert found.images == tuple(map(str, range(12)))
    assert found.sizes.tolist() == [[4 + i, 9] for i in range(12)] and found.sizes.dtype == np.int32
    for i in range(12):
        np.testing.assert_array_equal(found.pixels(i, LIMIT), arrays[i])


def test_no_arrays_are_no_pictures():
    assert len(pictures.of_arrays([])) == 0
    assert pictures.of_arrays([]).sizes.shape == (0, 2)


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 5, 3), np.float32), np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8)],
    ids=["floats", "grey", "alpha"],
)
def test_an_array_that_is_no_picture_is_named(array):
    with pytest.raises(DataError, match=r"uint8 \(height, width, 3\); number 1 is"):
        pictures.of_arrays([np.zeros((4, 5, 3), np.uint8), array])


def test_pictures_are_known_again_by_their_content(tmp_path):
    paths = [save(tmp_path / "a.png", value=1), save(tmp_path / "b.png", value=2)]
    files = pictures.of_files(paths, LIMIT)
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved/other.png").write_bytes(paths[1].read_bytes())
    moved = pictures.of_folder(tmp_path / "moved", LIMIT)
    hashes = picture_hashes(files, np.arange(2))
    assert len(hashes) == 2 and (np.diff(hashes.astype(object)) > 0).all()
    assert np.intersect1d(hashes, picture_hashes(moved, np.arange(1))).size == 1
    arrays = pictures.of_arrays([np.zeros((4, 5, 3), np.uint8), np.ones((4, 5, 3), np.uint8)])
    assert len(picture_hashes(arrays, np.arange(2))) == 2


def test_bytes_are_read_when_they_are_asked_for(tmp_path):
    path = save(tmp_path / "a.png", 6, 8, 10)
    found = pictures.of_folder(tmp_path, LIMIT)
    later = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), 77, np.uint8)).save(later, "PNG")
    path.write_bytes(later.getvalue())
    assert found.read(0) == later.getvalue()
    assert found.pixels(0, LIMIT).max() == 77
