"""Every shape of AVA's labels gives the same rows."""

import json

import numpy as np
import pytest

from mtp.data.ava import label_formats
from mtp.data.schema import DataError

IDS = [953619, 12]
VOTES = [[0, 1, 5, 17, 38, 36, 15, 6, 5, 1], [10, 7, 15, 26, 26, 21, 10, 8, 1, 2]]
NUMBERS = [",".join(map(str, v)) for v in VOTES]


def csv_of(header, cells):
    return "\n".join([*([header] if header else []), *cells]) + "\n"


SHAPES = {
    "AVA.txt": "".join(
        f"{n} {i} {' '.join(map(str, v))} 3 4 99\n" for n, (i, v) in enumerate(zip(IDS, VOTES, strict=True))
    ),
    "idealo JSON": json.dumps(
        [{"image_id": str(i), "label": v} for i, v in zip(IDS, VOTES, strict=True)], indent=1
    ),
    "CSV with score2..score11": csv_of(
        "image_id," + ",".join(f"score{k}" for k in range(2, 12)) + ",tag1,tag2,tag3",
        [f"{i},{n},3,4,99" for i, n in zip(IDS, NUMBERS, strict=True)],
    ) + "\n",
    "CSV of 11 columns": csv_of("", [f"{i},{n}" for i, n in zip(IDS, NUMBERS, strict=True)]),
    "CSV with c1..c10": csv_of(
        "img_name,MOS," + ",".join(f"c{k}" for k in range(1, 11)) + ",semantic_tag1,semantic_tag2,official_split",
        [f"{i}.jpg,5.2,{n},3,4,0" for i, n in zip(IDS, NUMBERS, strict=True)],
    ),
    "CSV with vote_1..vote_10": csv_of(
        "image_num," + ",".join(f"vote_{k}" for k in range(1, 11)),
        [f"{i},{n}" for i, n in zip(IDS, NUMBERS, strict=True)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape(shape, tmp_path):
    # the name says nothing: what counts is inside
    path = tmp_path / "labels.txt"
    path.write_text(SHAPES[shape])
    labels = label_formats.read(path)
    assert labels.shape == shape and not labels.faults
    assert labels.rows.ids.tolist() == IDS and labels.rows.votes.tolist() == VOTES
    tagged = shape in ("AVA.txt", "CSV with score2..score11", "CSV with c1..c10")
    assert labels.rows.tags.tolist() == ([[3, 4]] if tagged else [[0, 0]]) * 2
    challenge = 99 if shape in ("AVA.txt", "CSV with score2..score11") else 0
    assert labels.rows.challenges.tolist() == [challenge] * 2
    assert label_formats.ids_in(path).tolist() == IDS


def test_eleven_columns_with_a_header_and_whole_floats(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(
        csv_of("ID,a,b,c,d,e,f,g,h,i,j".lower(), [f"{IDS[0]}.jpg,{NUMBERS[0].replace(',', '.0,')}.0"])
    )
    rows = label_formats.read(path).rows
    assert rows.ids.tolist() == IDS[:1] and rows.votes.tolist() == VOTES[:1]


@pytest.mark.parametrize(
    ("shape", "damage", "line"),
    [
        ("CSV with score2..score11", lambda t: t.replace(",17,", ",x,"), 2),
        ("CSV with c1..c10", lambda t: t.replace(",17,", ","), 2),
        ("CSV of 11 columns", lambda t: t.replace(",26,21", ",26.5,21"), 2),
        ("CSV of 11 columns", lambda t: t.replace("12,", "953619,"), 2),
        ("idealo JSON", lambda t: t.replace('"12"', '"twelve"'), 2),
        ("idealo JSON", lambda t: t.replace("   17,\n", ""), 1),
    ],
)
def test_a_bad_row_is_named_and_the_other_stands(shape, damage, line, tmp_path):
    path = tmp_path / "labels"
    text = damage(SHAPES[shape])
    assert text != SHAPES[shape]
    path.write_text(text)
    labels = label_formats.read(path)
    assert [fault.line for fault in labels.faults] == [line] and len(labels.rows) == 1


@pytest.mark.parametrize(
    "text",
    [
        '[{"image": "953619.jpg", "gt_score": 5.4}]',
        "image_id,mean_score\n5,5.4\n",
        "img_name,MOS\n5.jpg,5.4\n",
    ],
)
def test_means_only(text, tmp_path):
    (tmp_path / "q").write_text(text)
    with pytest.raises(
        DataError, match=r"the mean rating of each picture only\. The histogram of its ratings is needed"
    ):
        label_formats.read(tmp_path / "q")
    assert label_formats.ids_in(tmp_path / "q").tolist() in ([953619], [5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("  <!DOCTYPE html>", "this is a web page"),
        ("[{", "this is not whole JSON"),
        ('{"a": 1}', "must be a list of objects"),
        ('[{"name": 1}]', "an entry must be"),
        ("a,b\n1,2\n", "no column with the id"),
        ("image_id,b\n1,2\n", "no columns with ten counts"),
    ],
)
def test_an_unknown_shape(text, message, tmp_path):
    (tmp_path / "x").write_text(text)
    with pytest.raises(DataError, match=message):
        label_formats.read(tmp_path / "x")


MEANS = {
    "Q-Align's JSON": '[{"image": "953619.jpg", "gt_score": 5.4321}, {"image": "12.jpg", "gt_score": 10}]',
    "CSV": "img_name,MOS\n953619.jpg,5.4321\n12.jpg,10\n",
}


@pytest.mark.parametrize("text", MEANS.values(), ids=MEANS)
def test_means_that_are_asked_for(text, tmp_path):
    path = tmp_path / "x"
    path.write_text(text)
    labels = label_formats.read(path, means_only=True)
    assert labels.means_only and not labels.faults and labels.rows.ids.tolist() == IDS
    votes = labels.rows.votes
    assert votes @ np.arange(1, 11) / votes.sum(axis=1) == pytest.approx([5.4321, 10], abs=5e-5)
    assert (votes > 0).sum(axis=1).tolist() == [2, 1]


@pytest.mark.parametrize("bad", ["0.5", "10.01", "NaN", '"good"'])
def test_a_mean_off_the_scale_is_named(bad, tmp_path):
    path = tmp_path / "x"
    path.write_text(MEANS["Q-Align's JSON"].replace("5.4321", bad))
    labels = label_formats.read(path, means_only=True)
    assert [fault.line for fault in labels.faults] == [1] and labels.rows.ids.tolist() == [12]


@pytest.mark.parametrize("shape", SHAPES)
def test_counts_are_never_read_as_means(shape, tmp_path):
    path = tmp_path / "x"
    path.write_text(SHAPES[shape])
    with pytest.raises(DataError, match="leave --means_only out"):
        label_formats.read(path, means_only=True)


def test_lists_of_ids(tmp_path):
    path = tmp_path / "val.txt"
    path.write_text("28456.jpg 0\n175880.jpg 1\n")
    assert label_formats.ids_in(path).tolist() == [28456, 175880]
    path.write_text("28456.jpg 0\nx.jpg 1\n")
    with pytest.raises(DataError, match=r"entry 2 is 'x\.jpg'"):
        label_formats.ids_in(path)


def test_a_parquet_export(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    from mtp.data.ava import parquet

    def export(path, ids, votes):
        pictures = [{"bytes": f"picture {i}".encode(), "path": f"{i}.jpg"} for i in ids]
        table = pa.table({"image_id": [str(i) for i in ids], "image": pictures, "rating_counts": votes})
        files.write_table(table, path, row_group_size=2)

    many = list(range(1, 6))
    export(tmp_path / "train-0.parquet", many, [VOTES[0]] * 5)
    export(tmp_path / "test-0.parquet", IDS, VOTES)
    labels = label_formats.read(tmp_path)
    assert labels.rows.ids.tolist() == [*IDS, *many] and not labels.faults
    assert labels.places[2] == (tmp_path / "train-0.parquet", 0)
    assert list(parquet.pictures(tmp_path / "train-0.parquet", [0, 3, 4])) == [
        b"picture 1",
        b"picture 4",
        b"picture 5",
    ]
    export(tmp_path / "train-0.parquet", [5], [[1, 2]])
    with pytest.raises(DataError, match="not ten counts; the first is row 0"):
        label_formats.read(tmp_path)
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1junk")
    with pytest.raises(DataError, match="not a whole parquet file"):
        label_formats.read(tmp_path)


def test_the_real_votes(shared_data):
    labels = label_formats.read(shared_data / "ava" / "ava_union_votes.csv")
    assert len(labels.rows) == 69_351 and not labels.faults
    known = label_formats.read(shared_data / "ava" / "AVA_part.txt").rows
    both, a, b = np.intersect1d(labels.rows.ids, known.ids, return_indices=True)
    assert len(both) > 10_000
    np.testing.assert_array_equal(labels.rows.votes[a], known.votes[b])


@pytest.mark.parametrize("cell", ["9.53619E+05", "1e+06", "9E5"])
def test_ids_that_a_spreadsheet_rounded_are_no_ids(cell, tmp_path):
    """Their first digit is none of AVA's, too."""
    counts = ",".join("1" * 10)
    (tmp_path / "x").write_text(
        f"image_id,{','.join(f'score{k}' for k in range(2, 12))}\n12,{counts}\n{cell},{counts}\n"
    )
    labels = label_formats.read(tmp_path / "x")
    assert labels.rows.ids.tolist() == [12]
    assert "a spreadsheet has rounded the ids" in labels.faults[0].message
    (tmp_path / "y").write_text(f"12\n{cell}\n")
    with pytest.raises(DataError, match=r"entry 2 is .*: a spreadsheet has rounded the ids"):
        label_formats.ids_in(tmp_path / "y")


@pytest.mark.parametrize("cell", ["1" * 20, "1" * 5000, "1_0", "1e3", "nan", "inf", "9" * 10])
def test_counts_that_no_survey_has_are_faults(cell, tmp_path):
    good = ",".join("1" * 10)
    for text in (
        f"12,{good}\n13,{cell},{good[2:]}\n",
        f'[{{"image_id": "12", "label": [{good}]}}, {{"image_id": "13", "label": ["{cell}", {good[2:]}]}}]',
        f"1 12 {good.replace(',', ' ')} 1 22 1\n2 13 {cell} {good[2:].replace(',', ' ')} 1 22 1\n",
    ):
        (tmp_path / "x").write_text(text)
        labels = label_formats.read(tmp_path / "x")
        assert labels.rows.ids.tolist() == [12] and len(labels.faults) == 1
        assert len(labels.faults[0].message) < 250


@pytest.mark.parametrize("name", list(SHAPES))
def test_label_files_with_marks_or_in_utf_16(name, tmp_path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf\xef\xbb\xbf" + SHAPES[name].encode())
    assert label_formats.read(tmp_path / "x").rows.ids.tolist() == IDS
    (tmp_path / "x").write_bytes(SHAPES[name].encode("utf-16"))
    with pytest.raises(DataError, match="it is UTF-16"):
        label_formats.read(tmp_path / "x")
