"""AVA's own files: good lines become values, every other line is named."""

import numpy as np
import pytest

from mtp.data.ava import files as ava_files
from mtp.data.schema import DataError

GOOD = b"1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396\n2 958184 10 7 15 26 26 21 10 8 1 2 15 21 1396\n"


def said(data: bytes) -> list[str]:
    return [f"line {f.line}: {f.message}" for f in ava_files.parse_rows(data)[1]]


def test_a_row():
    rows, faults = ava_files.parse_rows(GOOD)
    assert not faults and rows.ids.tolist() == [953619, 958184]
    assert rows.votes[0].tolist() == [0, 1, 5, 17, 38, 36, 15, 6, 5, 1]
    assert rows.tags.tolist() == [[1, 22], [15, 21]] and rows.challenges.tolist() == [1396, 1396]


@pytest.mark.parametrize(
    "data", [GOOD.replace(b"\n", b"\r\n"), b"\n" + GOOD, b"\xef\xbb\xbf" + GOOD, GOOD.strip(), GOOD + b"\n\n"]
)
def test_line_ends_and_blank_lines_do_no_harm(data):
    rows, faults = ava_files.parse_rows(data)
    assert not faults and rows.ids.tolist() == [953619, 958184]


def test_oddities_are_told():
    assert ava_files.remarks(b"\r\n1 a\r\n", "x") == ["x has CRLF line ends", "x has 1 blank line"]
    assert ava_files.remarks(b"1 a", "x") == [
        "x ends without a line end; compare its last line with another copy"
    ]
    assert ava_files.remarks(b"1 a\n", "x") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            b"3 7 0 1 5 17 38 36 15 6 5 1 1 22",
            "line 2: a row has 15 columns, this one has 14; the file ends there",
        ),
        (b"3 7 0 1 5 17 38 36 15 6 5 1 1 22\n", "line 2: a row has 15 columns, this one has 14"),
        (b"3 7 0 1 5 x 38 36 15 6 5 1 1 22 9\n", "line 2: all columns are whole numbers; 'x'"),
        (b"3 7 0 1 5 1.5 38 36 15 6 5 1 1 22 9\n", "line 2: all columns are whole numbers; '1.5'"),
        (b"3 7 0 -1 5 1 38 36 15 6 5 1 1 22 9\n", "line 2: counts of votes are 0 or more"),
        (b"3 7 0 0 0 0 0 0 0 0 0 0 1 22 9\n", "line 2: a picture needs at least one vote"),
        (b"3 7 0 0 0 0 0 0 0 0 0 9 1 67 9\n", "line 2: tags lie in 0..66; they are 1 and 67"),
        (b"3 0 0 0 0 0 0 0 0 0 0 9 1 2 9\n", "line 2: an id is a whole number above 0"),
        (b"3 953619 0 0 0 0 0 0 0 0 0 9 1 2 9\n", "line 2: id 953619 stands in line 1 already; keep one"),
        (b"<!DOCTYPE html>\n", "line 2: this is a web page"),
    ],
)
def test_a_bad_row_is_named_and_the_others_stand(line, message):
    first = GOOD.splitlines(keepends=True)[0]
    rows, faults = ava_files.parse_rows(first + line)
    assert rows.ids.tolist() == [953619] and len(faults) == 1
    assert said(first + line)[0].startswith(message)
    with pytest.raises(DataError, match="1 problems"):
        ava_files.insist("AVA.txt", faults)


def test_many_faults_are_counted():
    _, faults = ava_files.parse_rows(b"1 2\n" * 30)
    with pytest.raises(DataError, match=r"30 problems(?s:.*)and 10 more"):
        ava_files.insist("AVA.txt", faults)


def test_names_with_spaces_and_commas():
    names, faults = ava_files.parse_names(b"\n24 Insects, etc\n1 High Dynamic Range (HDR)\r\n")
    assert names == {24: "Insects, etc", 1: "High Dynamic Range (HDR)"} and not faults
    assert [f.line for f in ava_files.parse_names(b"1 a\nx b\n1 c\n2\n")[1]] == [2, 3, 4]


def test_lists_of_ids():
    ids, faults = ava_files.parse_ids(b"3\n1\r\n\n2.jpg\n")
    assert ids.tolist() == [3, 1, 2] and not faults
    ids, faults = ava_files.parse_ids(b"3\nx\n3\n")
    assert ids.tolist() == [3] and [f.line for f in faults] == [2, 3]


def test_style_labels():
    single, faults = ava_files.parse_labels(b"1\n14\n", single=True)
    assert not faults and single.argmax(axis=1).tolist() == [0, 13] and single.sum() == 2
    several, faults = ava_files.parse_labels(
        b"1 0 0 0 0 0 0 0 0 1 0 0 0 0\n" + b"0 " * 14 + b"\n", single=False
    )
    assert not faults and several.sum(axis=1).tolist() == [2, 0]
    assert [f.line for f in ava_files.parse_labels(b"1\n15\n0\n1 2\n", single=True)[1]] == [2, 3, 4]
    assert [f.line for f in ava_files.parse_labels(b"2 " * 14, single=False)[1]] == [1]


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


STYLES = {
    "styles__txt": "".join(f"{i} S{i}\n" for i in range(1, 15)),
    "train__jpgl": "5\n6\n",
    "train__lab": "1\n2\n",
    "test__jpgl": "7\n",
    "test__multilab": "0 " * 13 + "1\n",
}


def test_a_package_in_a_folder_of_the_source(tmp_path):
    write(tmp_path / "AVA_dataset" / "style_image_lists", **STYLES)
    write(tmp_path / "AVA_dataset" / "aesthetics_image_lists", generic_test__jpgl="7\n9\n")
    write(tmp_path / "AVA_dataset", tags__txt="\n1 Abstract\n")
    package = ava_files.read_package(tmp_path)
    assert package.styles is not None and package.styles.test.shape == (1, 14)
    assert package.lists["generic_test"].tolist() == [7, 9] and package.tags == {1: "Abstract"}
    assert "challenges.txt" in package.absent and "tags.txt has 1 blank line" in package.remarks
    assert ava_files.without_row(package.lists["generic_test"], np.array([7])).tolist() == [9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train__lab": "1\n"}, "2 ids and train.lab 1 labels"),
        ({"test__jpgl": "5\n"}, "1 ids are in train.jpgl and in test.jpgl"),
        ({"styles__txt": "1 HDR\n"}, r"numbered 1\.\.14"),
        ({"train__jpgl": "<html>\n6\n"}, r"train\.jpgl: 1 problems\n  line 1"),
    ],
)
def test_style_files_that_do_not_match(change, message, tmp_path):
    write(tmp_path / "style_image_lists", **(STYLES | change))
    with pytest.raises(DataError, match=message):
        ava_files.read_package(tmp_path)


def test_a_style_file_that_is_missing(tmp_path):
    write(tmp_path / "style_image_lists", **{k: v for k, v in STYLES.items() if k != "train__lab"})
    with pytest.raises(DataError, match=r"need train\.lab too"):
        ava_files.read_package(tmp_path)


def test_the_real_files(shared_data):
    rows, faults = ava_files.parse_rows((shared_data / "ava" / "AVA_part.txt").read_bytes())
    assert len(rows) == 48_565 and not faults
    package = ava_files.read_package(shared_data / "ava")
    assert not package.absent and len(package.tags) == 66 and len(package.challenges) == 1_398
    assert package.styles is not None
    # the counts by style of the published files
    assert package.styles.train.sum(axis=0).astype(int).tolist() == [
        760, 1041, 317, 672, 960, 676, 1359, 488, 768, 1112, 1184, 825, 568, 540,
    ]  # fmt: skip
    assert (package.styles.test.sum(axis=1) == 0).sum() == 236
    tests = [package.lists[f"{c}_test"] for c in ava_files.CATEGORIES]
    assert sorted(np.concatenate(tests)) == sorted(package.lists["generic_test"])
    assert np.isin(package.styles.train_ids, package.lists["generic_test"]).sum() == 951


def test_as_many_rows_as_ava_has():
    line = b" 0 1 5 17 38 36 15 6 5 1 1 22 1396\n"
    data = b"".join(b"%d %d" % (i, i) + line for i in range(1, 255_531))
    rows, faults = ava_files.parse_rows(data)
    assert len(rows) == 255_530 and not faults
