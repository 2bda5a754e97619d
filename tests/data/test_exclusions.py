"""excluded.csv is read as people leave it, and written whole."""

import csv

import pytest

from mtp.data import exclusions
from mtp.data.schema import DataError


def test_what_is_written_is_read(tmp_path):
    reasons = {"b.jpg": "cut short, fetch again", "a, 1.jpg": 'he said "no"'}
    path = exclusions.write(tmp_path, reasons)
    assert exclusions.read(tmp_path) == reasons
    assert path.read_text().splitlines()[0] == "image,reason" and not list(tmp_path.glob("*.tmp"))
    assert list(exclusions.read(tmp_path)) == sorted(reasons)


def test_no_file_excludes_nothing(tmp_path):
    assert exclusions.read(tmp_path) == {}


def test_as_spreadsheets_save_it(tmp_path):
    (tmp_path / "excluded.csv").write_text("\ufeffimage,reason\r\n\r\n5,old \r\n", encoding="utf-8")
    assert exclusions.read(tmp_path) == {"5": "old"}


@pytest.mark.parametrize("text", ["", "5\n", "picture,why\n5,x\n", "image,reason\n5\n", "image,reason\n,x\n"])
def test_another_file(text, tmp_path):
    (tmp_path / "excluded.csv").write_text(text)
    with pytest.raises(DataError, match=r"excluded\.csv"):
        exclusions.read(tmp_path)


def test_a_spreadsheet_computes_nothing_in_it(tmp_path):
    names = ("=1+1.jpg", "+a.jpg", "-b.jpg", "@c.jpg", "'=d.jpg", "'e.jpg", "plain.jpg")
    reasons = {name: f"={name}" for name in names}
    path = exclusions.write(tmp_path, reasons)
    with path.open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    assert exclusions.read(tmp_path) == reasons


def test_a_line_by_hand_is_read_as_it_stands(tmp_path):
    (tmp_path / "excluded.csv").write_text(
        "image,reason\n=a.jpg,old\n'b.jpg,old\n'=c.jpg,a spreadsheet's mark\n"
    )
    assert list(exclusions.read(tmp_path)) == ["=a.jpg", "'b.jpg", "=c.jpg"]
