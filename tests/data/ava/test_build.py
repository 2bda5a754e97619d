"""An AVA download into records: everything is in them, a build can be stopped anywhere, bad files are named."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from mtp.data import exclusions
from mtp.data.ava import build as ava
from mtp.data.ava import load as ava_load
from mtp.data.ava import shards as ava_shards
from mtp.data.ava import source as ava_source
from mtp.data.ava import table as ava_table
from mtp.data.schema import DataError
from mtp.processes import lock
from mtp.processes.lock import LockError

ROOT = Path(__file__).parents[3]
UNFINISHED = "unfinished-*/*.npz"


def build(source: Path, data_dir: Path, **options) -> Path:
    return ava.build(ava_source.read(source, **options), data_dir, processes=2)


@pytest.fixture(scope="module")
def download(make_ava, tmp_path_factory) -> Path:
    return make_ava(tmp_path_factory.mktemp("ava") / "download")


@pytest.fixture(scope="module")
def built(download, tmp_path_factory) -> Path:
    data_dir = tmp_path_factory.mktemp("ava") / "data"
    build(download, data_dir)
    return data_dir


def test_every_record_holds_its_picture_and_labels(built, download):
    source = tfds.builder_from_directory(built / "ava" / "1.0.0").as_data_source(
        split="train", decoders={"image": tfds.decode.SkipDecoding()}
    )
    rows = {
        int(line.split()[1]): list(map(int, line.split()))
        for line in (download / "AVA.txt").read_text().splitlines()
    }
    assert len(source) == 60
    for record in source:
        row = rows[record["id"]]
        assert record["image"] == (download / "images" / f"{record['id']}.jpg").read_bytes()
        assert record["votes"].tolist() == row[2:12] and record["tags"].tolist() == row[12:14]
        assert record["challenge"] == row[14]
        assert (record["style"] >= 0).all() == (record["style_part"] > 0)


def test_nothing_else_is_left(built):
    assert {path.name for path in built.iterdir()} == {"ava"}
    assert {path.name for path in (built / "ava").iterdir()} == {"1.0.0"}


def test_building_again_is_free(built, download):
    before = {path: path.stat().st_mtime_ns for path in (built / "ava" / "1.0.0").iterdir()}
    build(download, built)
    assert {path: path.stat().st_mtime_ns for path in (built / "ava" / "1.0.0").iterdir()} == before


def test_other_files_are_not_mixed_in(built, download, tmp_path):
    other = shutil.copytree(download, tmp_path / "other")
    Image.new("RGB", (70, 40)).save(other / "images" / "103.jpg")
    with pytest.raises(DataError, match="was built from other labels or pictures"):
        build(other, built)


def test_a_build_goes_on_with_the_shards_that_are_whole(download, built, tmp_path, monkeypatch):
    monkeypatch.setattr(ava_shards, "PICTURES", 10)
    source = ava_source.read(download)
    unfinished = ava.Ava(source=source, processes=2, data_dir=str(tmp_path)).unfinished
    jobs = source.jobs(10)
    ava_shards.write(unfinished, jobs[:3], ava.serialize, ava.MAX_PIXELS, 2)
    # a record's file whose table was not written yet, and half a file
    (unfinished / "00001.npz").unlink()
    (unfinished / "00003.tmp").write_bytes(b"half")
    inode = (unfinished / "00000.array_record").stat().st_ino
    folder = ava.build(source, tmp_path, 2)
    assert inode in {path.stat().st_ino for path in folder.iterdir()}
    assert not unfinished.exists()
    a, b = (ava_load.load(where) for where in (tmp_path, built))
    assert a.images == b.images and [a.read(i) for i in range(60)] == [b.read(i) for i in range(60)]


def test_ended_and_killed_in_mid_build_and_run_again(make_ava, tmp_path):
    download = make_ava(tmp_path / "download", 2200, (120, 160))
    command = [
        sys.executable,
        "-m",
        "mtp.data.ava",
        f"--source={download}",
        f"--data_dir={tmp_path / 'data'}",
    ]
    shards = 0
    for number, status in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        with subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True
        ) as process:
            while (
                process.poll() is None and len(list((tmp_path / "data").glob(f"ava/{UNFINISHED}"))) <= shards
            ):
                time.sleep(0.01)
            # Ctrl-C reaches the workers too; a kill only the command, and they end by themselves
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
            said = process.communicate()[1]
        assert process.returncode == status
        assert said == (
            "stopped by SIGINT; run the same command to go on\n" if number == signal.SIGINT else ""
        )
        shards = len(list((tmp_path / "data").glob(f"ava/{UNFINISHED}")))
    with pytest.raises(DataError, match=r"holds none\. Build it with"):
        ava_load.load(tmp_path / "data")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2200 pictures of 2200 rows" in done.stdout
    assert {path.name for path in (tmp_path / "data" / "ava").iterdir()} == {"1.0.0"}
    data = ava_load.load(tmp_path / "data")
    assert all(
        data.read(i) == (download / "images" / f"{data.images[i]}.jpg").read_bytes()
        for i in range(0, 2200, 7)
    )


def spoil(images: Path) -> None:
    """One picture of each kind that downloads contain."""
    (images / "101.jpg").write_bytes(b"<!DOCTYPE html><title>404</title>")
    (images / "102.jpg").write_bytes(b"")
    (images / "103.jpg").write_bytes((images / "103.jpg").read_bytes()[:900])
    (images / "104.jpg").unlink()
    with Image.open(images / "105.jpg") as picture:
        picture.save(images / "105.png")
    (images / "105.png").rename(images / "105.jpg")
    Image.new("CMYK", (64, 48)).save(images / "106.jpg")
    exif = b"Exif\0\0nothing of the kind"
    Image.new("RGB", (64, 48)).save(images / "107.jpg", exif=exif)


def test_bad_pictures_are_named_and_the_rest_is_built(make_ava, tmp_path):
    download = make_ava(tmp_path / "download")
    spoil(download / "images")
    with pytest.raises(DataError, match=r"1 of 60 rows of votes .*--max_skipped=0\.017"):
        build(download, tmp_path / "data")
    with pytest.raises(
        DataError, match=r"(?s)4 of 60 rows .*\(1 without a file, 3 unusable\).*101: this is a web page"
    ):
        build(download, tmp_path / "data", max_skipped=0.05)
    assert not list((tmp_path / "data").glob("ava/*/labels.npz"))
    source = ava_source.read(download, max_skipped=0.1)
    folder = ava.build(source, tmp_path / "data", 2)
    with (folder / ava_table.LEFT_OUT).open() as file:
        reasons = {row["image"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == {"101", "102", "103", "104"}
    assert "web page" in reasons["101"] and "0 bytes" in reasons["102"]
    assert "cut short" in reasons["103"] and reasons["104"] == "no file"
    said = ava.summary(source, folder)
    for part in ("56 pictures of 60 rows", "1 rows left out: no file", "unusable pictures: 101, 102, 103"):
        assert part in said
    data = ava_load.load(tmp_path / "data")
    # a PNG under a .jpg name and CMYK are read like others
    for name in ("105", "106"):
        assert data.read(data.images.index(name)) == (download / "images" / f"{name}.jpg").read_bytes()
    for kind in ("PNG RGB", "JPEG CMYK", "JPEG RGB with damaged EXIF"):
        assert f"1 pictures are {kind}, kept as they are" in said


def test_bad_rows_stop_before_anything_is_built(make_ava, tmp_path):
    download = make_ava(tmp_path / "download")
    with (download / "AVA.txt").open("a") as file:
        file.write("61 101 1 1 1 1 1 1 1 1 1 1 0 0 1\n62 500 1 1")
    with pytest.raises(DataError, match=r"(?s)2 problems\n  line 61: id 101 .*\n  line 62: .*cut short"):
        build(download, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_full_disk_keeps_whole_shards_and_the_next_run_goes_on(make_ava, tmp_path):
    """A limit on the size of files stands for the disk: writing fails in the same place."""
    download = make_ava(tmp_path / "download", 700, (120, 160))
    big = sorted(path.stat().st_size for path in (download / "images").iterdir())
    # the first shard of 500 pictures is larger than the second of 200
    limit = sum(big) // 2 // 1024
    command = [
        sys.executable,
        "-m",
        "mtp.data.ava",
        f"--source={download}",
        f"--data_dir={tmp_path / 'data'}",
    ]
    full = ["bash", "-c", f"trap '' XFSZ; ulimit -f {limit}; exec \"$@\"", "-", *command]
    done = subprocess.run(full, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "error: the build stopped" in done.stderr and "File too large" in done.stderr
    assert "1 of 2 shards are whole" in done.stderr
    assert [path.name for path in (tmp_path / "data").glob("ava/*/*.array_record")] == ["00001.array_record"]
    assert not list((tmp_path / "data").rglob("*.tmp"))
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
    assert len(ava_load.load(tmp_path / "data")) == 700


def test_a_disk_that_is_too_small_is_told_before(download, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DataError, match=r"GB more, 0\.0 GB are free"):
        build(download, tmp_path)


def test_a_source_that_cannot_be_written_to(make_ava, tmp_path):
    download = make_ava(tmp_path / "download", 10)
    paths = [download, *download.rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in paths}
    for path in reversed(paths):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        build(download, tmp_path / "data")
        # root may write anywhere: that nothing was written must be seen
        assert {path: path.stat().st_mtime_ns for path in [download, *download.rglob("*")]} == before
    finally:
        for path in paths:
            path.chmod(0o755)


def test_labels_of_another_shape_and_pictures_elsewhere(make_ava, tmp_path):
    download = make_ava(tmp_path / "download", 12)
    rows = [line.split() for line in (download / "AVA.txt").read_text().splitlines()]
    header = "image_id," + ",".join(f"score{k}" for k in range(2, 12)) + ",tag1,tag2,tag3"
    (tmp_path / "train.csv").write_text("\n".join([header, *(",".join(row[1:]) for row in rows)]) + "\n")
    (download / "images").rename(tmp_path / "pictures")
    (download / "AVA.txt").unlink()
    with pytest.raises(DataError, match=r"must hold AVA\.txt"):
        build(download, tmp_path / "data")
    build(download, tmp_path / "data", labels=tmp_path / "train.csv", images=tmp_path / "pictures")
    data = ava_load.load(tmp_path / "data")
    assert data.votes.tolist() == [list(map(int, row[2:12])) for row in rows]


def test_a_parquet_export(make_ava, tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    download = make_ava(tmp_path / "download", 12)
    rows = [list(map(int, line.split())) for line in (download / "AVA.txt").read_text().splitlines()]
    pictures = [{"bytes": (download / "images" / f"{row[1]}.jpg").read_bytes(), "path": None} for row in rows]
    (tmp_path / "export").mkdir()
    for part in (0, 1):
        table = pa.table(
            {
                "image_id": [row[1] for row in rows[part::2]],
                "image": pictures[part::2],
                "rating_counts": [row[2:12] for row in rows[part::2]],
            }
        )
        files.write_table(table, tmp_path / "export" / f"{part}.parquet", row_group_size=4)
    build(tmp_path / "export", tmp_path / "data")
    data = ava_load.load(tmp_path / "data", split="random")
    assert data.images == tuple(str(row[1]) for row in rows)
    np.testing.assert_array_equal(data.votes, [row[2:12] for row in rows])
    assert [data.read(i) for i in range(12)] == [picture["bytes"] for picture in pictures]


def test_later_exclusions_of_the_download_reach_the_built_set(make_ava, tmp_path):
    source = make_ava(tmp_path / "source", 20)
    names = sorted(path.stem for path in (source / "images").glob("*.jpg"))[:3]
    exclusions.write(source, {names[0]: "dull"})
    build(source, tmp_path / "data")
    exclusions.write(tmp_path / "data", exclusions.read(tmp_path / "data") | {names[1]: "mine"})
    exclusions.write(source, {names[0]: "dull", names[2]: "blurred"})
    build(source, tmp_path / "data")
    assert exclusions.read(tmp_path / "data") == {names[0]: "dull", names[1]: "mine", names[2]: "blurred"}


def test_one_build_at_a_time(download, tmp_path):
    (tmp_path / "ava").mkdir()
    with (
        lock.alone(tmp_path / "ava" / lock.NAME),
        pytest.raises(
            LockError, match=rf"ava is in use by process {os.getpid()} on .*; wait for it, or end it"
        ),
    ):
        build(download, tmp_path)
