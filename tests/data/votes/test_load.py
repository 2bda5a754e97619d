"""A folder with votes.csv: what it means, and a clear error for every bad row."""

import subprocess
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtp.data.doctor import listing
from mtp.data.schema import DataError
from mtp.data.votes import load as votes


def folder(path: Path, text: str, pictures=("a.png", "b.png", "c.png"), size=(50, 40)) -> Path:
    for name in pictures:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "teal").save(path / name)
    (path / "votes.csv").write_text(text)
    return path


GOOD = "image,c1,c2,c3\nb.png,1,2,3\na.png,0,0,9\nc.png,4,4,4\n"


def test_votes_sizes_and_order(tmp_path):
    data = votes.load(folder(tmp_path, GOOD))
    assert data.images == ("a.png", "b.png", "c.png") and data.ratings == 3
    np.testing.assert_array_equal(data.votes, [[0, 0, 9], [1, 2, 3], [4, 4, 4]])
    np.testing.assert_array_equal(data.sizes, [[40, 50]] * 3)
    assert data.groups is None and data.style_names == () and data.styles.shape == (3, 0)
    assert data.read(0) == (tmp_path / "a.png").read_bytes()


def test_pictures_may_lie_in_images(tmp_path):
    folder(tmp_path, GOOD, ("images/a.png", "images/b.png", "c.png"))
    assert len(votes.load(tmp_path)) == 3


def test_a_byte_order_mark_and_spaces_do_no_harm(tmp_path):
    folder(tmp_path, "\ufeff" + GOOD.replace(",", " , "))
    np.testing.assert_array_equal(votes.load(tmp_path).votes.sum(axis=1), [9, 6, 12])


def test_styles_in_one_column(tmp_path):
    data = votes.load(folder(tmp_path, "image,c1,c2,style\na.png,1,1,HDR\nb.png,1,1,\nc.png,1,1,Macro;HDR\n"))
    assert data.style_names == ("HDR", "Macro")
    np.testing.assert_array_equal(data.styles, [[1, 0], [np.nan, np.nan], [1, 1]])


def test_styles_in_columns(tmp_path):
    text = "image,c1,c2,style_HDR,style_Macro,mood\na.png,1,1,1,0,calm\nb.png,1,1,,,wild\nc.png,1,1,0,0,\n"
    data = votes.load(folder(tmp_path, text))
    assert data.style_names == ("HDR", "Macro")
    np.testing.assert_array_equal(data.styles, [[1, 0], [np.nan, np.nan], [0, 0]])
    assert data.metadata == {"mood": ("calm", "wild", "")}


def test_a_group_never_crosses_splits(tmp_path):
    names = [f"{i}.png" for i in range(40)]
    rows = "".join(f"{name},1,2,g{i % 9}\n" for i, name in enumerate(names))
    folder(tmp_path, "image,c1,c2,theme\n" + rows, names)
    for options in ({}, {"folds": 3, "fold": 1}):
        data = votes.load(tmp_path, group="theme", **options)
        assert data.groups is not None
        for group in set(data.groups):
            assert len({s for s, g in zip(data.splits, data.groups, strict=True) if g == group}) == 1


def test_a_picture_without_a_group_is_one_of_its_own(tmp_path):
    data = votes.load(folder(tmp_path, "image,c1,c2,group\na.png,1,1,x\nb.png,1,1,\nc.png,1,1,x\n"))
    assert data.groups == ("x", "b.png", "x")


def test_splits_of_the_csv(tmp_path):
    data = votes.load(
        folder(tmp_path, "image,c1,c2,split\na.png,1,1,test\nb.png,1,1,train\nc.png,1,1,validation\n")
    )
    assert data.splits == ("test", "train", "validation")
    np.testing.assert_array_equal(data.indices("test"), [0])
    assert data.split_sha256("test") != data.split_sha256("train")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b.png,1,-2,3", r"line 3: votes must be whole numbers of raters, 0 to 999,999,999; c2 = '-2'"),
        ("b.png,1,x,3", r"line 3: votes must be .* c2 = 'x'"),
        ("b.png,1,2.5,3", r"line 3: votes must be .* c2 = '2\.5'"),
        ("b.png,1,,3", r"line 3: votes must be .* c2 = ''"),
        ("b.png,0,0,0", r"line 3: a picture needs at least one vote; all are 0\. Remove the line"),
        ("b.png,1,2", r"line 3: 3 cells, the header has 4"),
        ("a.png,1,2,3", r"line 3: image 'a\.png' stands in line 2 already"),
        ("gone.png,1,2,3", r"line 3: no picture 'gone\.png' in"),
        ("../b.png,1,2,3", r"line 3: image must be a path inside the folder"),
        (",1,2,3", r"line 3: no picture ''"),
    ],
)
def test_a_bad_row_is_an_error_with_line_value_and_mend(row, message, tmp_path):
    folder(tmp_path, f"image,c1,c2,c3\na.png,0,0,9\n{row}\nc.png,4,4,4\n")
    with pytest.raises(DataError, match=message):
        votes.load(tmp_path)


def test_all_bad_rows_are_named_at_once(tmp_path):
    folder(tmp_path, "image,c1,c2\na.png,0,0\nb.png,1,-1\nc.png,1,1\n")
    with pytest.raises(DataError, match=r"(?s)2 problems.*line 2.*line 3"):
        votes.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,c1,c3\na.png,1,1\n", "without a gap"),
        ("image,c1\na.png,1\n", r"K >= 2"),
        ("name,c1,c2\na.png,1,1\n", "must name the columns image"),
        ("image,c1,c2,c2\na.png,1,1,1\n", "unique; repeated: c2"),
        ("image,c1,c2,style,style_HDR\na.png,1,1,x,1\n", "not in both"),
        ("image,c1,c2\n", "at least one picture"),
        (
            "image,c1,c2,split\na.png,1,1,trian\n",
            r"line 2: split must be one of train, validation, test; it is 'trian'",
        ),
        (
            "image,c1,c2,style_A,style_B\na.png,1,1,1,\n",
            r"line 2: style columns must be all filled or all empty",
        ),
        ("image,c1,c2,style_A\na.png,1,1,yes\n", r"line 2: style columns hold 0 or 1 .*style_A = 'yes'"),
        (
            "image,c1,c2,split,group\na.png,1,1,train,g\nb.png,1,1,test,g\n",
            "a group must lie in one split.*'g'",
        ),
    ],
)
def test_a_bad_table_is_an_error(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        votes.load(folder(tmp_path, text))


def test_no_csv_and_no_such_group(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        votes.load(tmp_path)
    with pytest.raises(DataError, match=r"no column 'theme' \(data\.group\)"):
        votes.load(folder(tmp_path, GOOD), group="theme")


def test_broken_pictures_are_an_error_or_a_counted_skip(tmp_path):
    folder(tmp_path, GOOD)
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)1 of 3 pictures cannot be used.*b\.png: the file is empty"):
        votes.load(tmp_path)
    with pytest.raises(DataError, match="1 of 3"):
        votes.load(tmp_path, max_skipped=0.3)
    data = votes.load(tmp_path, max_skipped=0.34)
    assert data.images == ("a.png", "c.png") and len(data.skipped) == 1


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_where_pictures_may_be_skipped_they_are_read_to_their_end(tmp_path, end):
    """Also one that was closed again, which decoders are content with."""
    folder(tmp_path, GOOD)
    Image.new("RGB", (50, 40), "teal").save(tmp_path / "b.png", "JPEG")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[:-20] + end)
    assert len(votes.load(tmp_path)) == 3  # the header is whole; decoding will stop the run
    data = votes.load(tmp_path, max_skipped=0.34)
    assert data.images == ("a.png", "c.png")
    assert data.skipped[0].startswith("b.png: the file is damaged or cut short")


BROKEN_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x05\0not whole"


def test_damaged_exif_is_told_once_of_all_pictures(tmp_path, recwarn):
    folder(tmp_path, GOOD)
    for name in ("b.png", "c.png"):
        Image.new("RGB", (50, 40), "teal").save(tmp_path / name, "JPEG", exif=BROKEN_EXIF)
    for max_skipped in (0.0, 0.5):
        data = votes.load(tmp_path, max_skipped=max_skipped)
        assert len(data) == 3
        note = "2 pictures with a damaged EXIF block, taken as they are stored (the first is b.png)"
        assert data.skipped == (note,)
        data.pixels(1, 10**6)
    assert not recwarn.list


def test_a_program_that_draws_is_no_picture(tmp_path, monkeypatch):
    """PostScript under a photograph's name would start another program."""
    monkeypatch.setattr(subprocess, "Popen", None)
    folder(tmp_path, GOOD)
    (tmp_path / "b.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 40\nshowpage\n")
    with pytest.raises(DataError, match=r"b\.png: this is not a picture in a known format"):
        votes.load(tmp_path)


def test_control_characters_of_a_name_do_not_reach_the_message(tmp_path):
    (tmp_path / "images").mkdir()
    name = "a\x1b[2J.png"
    (tmp_path / "images" / name).write_bytes(b"")
    (tmp_path / "votes.csv").write_text(f"image,c1,c2\n{name},1,2\n")
    with pytest.raises(DataError) as caught:
        votes.load(tmp_path)
    assert "a\\x1b[2J.png: the file is empty" in str(caught.value) and "\x1b" not in str(caught.value)


def test_a_file_that_the_disk_does_not_give_is_named(tmp_path, monkeypatch):
    folder(tmp_path, GOOD)
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(DataError, match=r"b\.png: the file cannot be read \(Permission denied\)"):
        votes.load(tmp_path)


def test_another_encoding_is_told(tmp_path):
    folder(tmp_path, GOOD)
    (tmp_path / "votes.csv").write_bytes(GOOD.replace("b.png", "été.png").encode("cp1252"))
    with pytest.raises(
        DataError, match=r"must be text in UTF-8; byte 0xe9 in line 2 is none, likely Windows-1252"
    ):
        votes.load(tmp_path)


def test_small_pictures_are_an_error_or_enlarged(tmp_path):
    folder(tmp_path, GOOD, size=(31, 200))
    with pytest.raises(DataError, match=r"31x200 pixels; sides must be at least 32"):
        votes.load(tmp_path)
    data = votes.load(tmp_path, enlarge=True)
    np.testing.assert_array_equal(data.sizes, [[200, 31]] * 3)
    assert data.skipped == ("3 pictures with a side under 32 pixels are enlarged (data.enlarge)",)


@pytest.mark.parametrize(("name", "pictures", "group"), [("oasis", 467, "theme"), ("vessel", 159, "group")])
def test_real_photographs(name, pictures, group, shared_data):
    data = votes.load(shared_data / name, group=group)
    assert (len(data), data.ratings, len(data.skipped)) == (pictures, 7, 0)
    assert data.style_names == ()


def test_the_table_may_lie_in_a_folder_of_its_own(tmp_path):
    """Pictures are named from the data's folder all the same, in training and by the doctor."""
    (tmp_path / "labels").mkdir()
    folder(tmp_path, GOOD, ("a.png", "images/b.png", "c.png"))
    (tmp_path / "votes.csv").rename(tmp_path / "labels" / "v.csv")
    data = votes.load(tmp_path, csv="labels/v.csv")
    assert data.images == ("a.png", "b.png", "c.png")
    assert listing.votes_folder(tmp_path, "labels/v.csv", "group").images == data.images


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("1" + "0" * 20, "'100000000000000000000'"),
        ("9" * 5000, f"'{'9' * 60}'.. (5000 characters)"),
        ("1_0", "'1_0'"),
    ],
)
def test_counts_that_no_survey_has_are_refused(tmp_path, cell, shown):
    folder(tmp_path, GOOD.replace("b.png,1", f"b.png,{cell}"))
    with pytest.raises(DataError) as error:
        votes.load(tmp_path)
    assert f"line 2: votes must be whole numbers of raters, 0 to 999,999,999; c1 = {shown}" in str(
        error.value
    )
    assert listing.votes_folder(tmp_path, "votes.csv", "group").votes.max() <= 9


def test_the_largest_counts_are_added_exactly(tmp_path):
    folder(tmp_path, GOOD.replace("b.png,1,2,3", "b.png,999999999,0000999999999,999999999"))
    assert votes.load(tmp_path).votes.sum(axis=1).tolist() == [9, 2999999997, 12]


@pytest.mark.parametrize(
    "name",
    [
        "x" * 252 + ".png",
        "é" * 126 + ".png",
        "a/" * 2100 + "b.png",
        "x\0.png",
        "y" * 5000,
        "../b.png",
        "/b.png",
    ],
)
def test_a_name_that_no_file_can_have_is_one_short_line(tmp_path, name):
    folder(tmp_path, GOOD.replace("b.png", name))
    with pytest.raises(DataError, match="line 2: image must be a path inside the folder; it is ") as error:
        votes.load(tmp_path)
    assert max(map(len, str(error.value).splitlines())) < 300 and "\0" not in str(error.value)
    assert listing.votes_folder(tmp_path, "votes.csv", "group").images == ("a.png", "c.png")


@pytest.mark.parametrize(
    ("given", "there", "hint"),
    [
        ("sub\\b.png", "sub/b.png", r"with / for \\"),
        (
            unicodedata.normalize("NFC", "é.png"),
            unicodedata.normalize("NFD", "é.png"),
            r"in another Unicode form \(NFD\)",
        ),
        (
            unicodedata.normalize("NFD", "é.png"),
            unicodedata.normalize("NFC", "é.png"),
            r"in another Unicode form \(NFC\)",
        ),
        ("B.PNG", "b.png", "in small letters"),
        ("B.png", "B.PNG", "with its ending in capitals"),
    ],
)
def test_a_picture_under_a_like_name_is_pointed_at(tmp_path, given, there, hint):
    folder(tmp_path, GOOD.replace("b.png", given), ("a.png", "c.png", there))
    with pytest.raises(
        DataError, match=rf"no picture .*; it is there {hint}: write the name as the file has it"
    ):
        votes.load(tmp_path)


def test_a_quotation_mark_that_swallows_lines_is_named_where_it_opens(tmp_path):
    rows = "".join(f"{i}.png,1,2,3\n" for i in range(40))
    folder(tmp_path, 'image,c1,c2,c3\na.png,1,1,1\n"b.png,1,1,1\n' + rows + 'c.png,"1",1,1\n')
    with pytest.raises(DataError, match=r"line 3: "):
        votes.load(tmp_path)
