"""CSV files as people's programs write them: read, or told apart by name."""

from pathlib import Path

import pytest

from mtp.data import csv_text, exclusions
from mtp.data.ava import label_formats
from mtp.data.schema import DataError
from mtp.data.votes import load as votes

PATH = Path("votes.csv")
TEXT = "image,c1,c2\na.png,1,2\nb.png,3,4\n"


def rows(data: bytes):
    return csv_text.rows(csv_text.decoded(data, PATH), PATH)


@pytest.mark.parametrize("marks", [0, 1, 2, 3])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_do_no_harm(marks, end):
    found = rows(marks * csv_text.MARK + TEXT.replace("\n", end).encode())
    assert [line.cells for line in found] == [["image", "c1", "c2"], ["a.png", "1", "2"], ["b.png", "3", "4"]]
    assert [line.number for line in found] == [1, 2, 3]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(encoding):
    with pytest.raises(
        DataError, match=r"votes\.csv must be text in UTF-8; it is UTF-16\. Save it as CSV UTF-8"
    ):
        rows(TEXT.encode(encoding))


def test_another_encoding_is_named_with_byte_and_line():
    with pytest.raises(DataError, match=r"byte 0xe9 in line 3 is none, likely Windows-1252 or Latin-1"):
        rows(TEXT.replace("b.png", "été.png").encode("latin-1"))


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "strokes")])
def test_another_separator_is_named_in_every_file(sign, name, tmp_path):
    message = f"cells must be parted by commas; the first line has {name}: "
    with pytest.raises(DataError, match=message):
        rows(TEXT.replace(",", sign).encode())
    (tmp_path / "votes.csv").write_text(TEXT.replace(",", sign))
    with pytest.raises(DataError, match=message):
        votes.load(tmp_path)
    (tmp_path / "excluded.csv").write_text(f"image{sign}reason\na.png{sign}bad\n")
    with pytest.raises(DataError, match=message):
        exclusions.read(tmp_path)
    header = sign.join(["image_id", *(f"score{k}" for k in range(2, 12))])
    (tmp_path / "labels.csv").write_text(f"{header}\n{sign.join(['1'] * 11)}\n")
    with pytest.raises(DataError, match=message):
        label_formats.read(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('image,c1,c2\na.png,1,2\n"b.png,3,4\nc.png,5,6\n', 3),
        ('image,c1,c2\na.png,1,2\n"b".png,3,4\n', 3),
        ('"image,c1,c2\na.png,1,2\n', 1),
        ("image,c1,c2\n" + "x" * 200_000 + ",1,2\n", 2),
    ],
)
def test_a_stray_quotation_mark_is_named_where_it_opens(text, line):
    with pytest.raises(DataError, match=rf"votes\.csv: line {line}: a quotation mark"):
        rows(text.encode())


def test_a_row_over_several_lines_has_the_number_of_its_first():
    found = rows(b'image,note\na.png,"two\nlines"\n\nb.png,x\n')
    assert [(line.number, line.last) for line in found] == [(1, 1), (2, 3), (5, 5)]
    assert found[1].cells == ["a.png", "two\nlines"]
