"""The doctor on a download of AVA and on a built set: exactly the planted faults."""

import shutil
from pathlib import Path

import pytest

from mtp.data import exclusions
from mtp.data.ava import load as ava_load
from mtp.data.ava import source as ava_source
from mtp.data.ava.build import build
from mtp.data.ava.files import KNOWN_BROKEN
from mtp.data.doctor.__main__ import main
from mtp.data.schema import DataError

ROW = "{n} {id} 1 2 8 20 40 30 15 6 2 1 {tags} {challenge}"


class Download:
    """A folder as people hold AVA: rows, lists, pictures that are all different."""

    def __init__(self, folder: Path, draw):
        self.folder, self._draw, self.rows = folder, draw, {}
        (folder / "images").mkdir(parents=True)

    def picture(self, key: int) -> Path:
        return self.folder / "images" / f"{key}.jpg"

    def add(self, key: int, challenge: int = 7, row: str = "") -> None:
        self.rows[key] = row or ROW.format(n=len(self.rows) + 1, id=key, tags="1 22", challenge=challenge)
        self._draw(key).save(self.picture(key), quality=90)

    def lists(self, **lists: list[int]) -> None:
        for name, ids in lists.items():
            path = self.folder / "aesthetics_image_lists" / f"{name}.jpgl"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(f"{key}\n" for key in ids))

    def styles(self, train: dict[int, int], test: dict[int, str]) -> None:
        folder = self.folder / "style_image_lists"
        folder.mkdir()
        (folder / "styles.txt").write_text("".join(f"{i} Style_{i}\n" for i in range(1, 15)))
        (folder / "train.jpgl").write_text("".join(f"{key}\n" for key in train))
        (folder / "train.lab").write_text("".join(f"{style}\n" for style in train.values()))
        (folder / "test.jpgl").write_text("".join(f"{key}\n" for key in test))
        (folder / "test.multilab").write_text("".join(f"{' '.join(row)}\n" for row in test.values()))

    def save(self, *more: str, end: str = "\n") -> None:
        (self.folder / "AVA.txt").write_text(end.join([*self.rows.values(), *more, ""]), newline="")

    def truncate(self, key: int) -> None:
        data = self.picture(key).read_bytes()
        self.picture(key).write_bytes(data[: len(data) // 2])


@pytest.fixture
def download(tmp_path, draw):
    """60 pictures, ids 1001 to 1060, the last 15 of the test list; two ids of the list have no row."""
    made = Download(tmp_path / "AVA", draw)
    for key in range(1001, 1061):
        made.add(key, challenge=key % 10)
    made.lists(generic_test=[*range(1046, 1061), 5001, 5002], generic_ls_train=[1001, 5002])
    made.styles({1002: 3, 1003: 14, 1050: 7}, {1004: "01" + "0" * 12, 1005: "0" * 14, 1051: "0" * 14})
    made.save()
    return made


ALWAYS = {
    "id without row": {"5001", "5002"},
    "style label outside train": {"1050"},
    "no style given": {"1005", "1051"},
}


def test_a_sound_download(download, tmp_path, findings, capsys):
    assert main([str(download.folder), f"--out={tmp_path}/out"]) == 0
    found = findings(tmp_path / "out")
    # whole challenges validate, and a style label there trains nothing
    assert found.pop("style label outside train") >= {"1050"}
    assert found == {name: ids for name, ids in ALWAYS.items() if name != "style label outside train"}
    assert "AVA download, 60 pictures" in capsys.readouterr().out


def plant(download: Download, draw) -> dict[str, set[str]]:
    for key in KNOWN_BROKEN:
        download.add(key, challenge=1)
        download.truncate(key)
    download.picture(KNOWN_BROKEN[3]).unlink()
    download.truncate(1006)
    download.picture(1007).write_bytes(b"")
    download.picture(1008).write_bytes(b"<html>no such picture</html>")
    download.picture(1009).unlink()
    draw(1010).save(download.picture(1010), "PNG")
    draw(1011).convert("CMYK").save(download.picture(1011))
    shutil.copy(download.picture(1046), download.picture(1012))
    draw(1047).save(download.picture(1013), quality=25)
    draw(4).save(download.folder / "images" / "777.jpg")
    draw(5).save(download.folder / "images" / "cover.jpg")
    (download.folder / "images" / "more").mkdir()
    draw(6).save(download.folder / "images" / "more" / "1014.jpg")
    download.rows[1015] = "15 1015 1 0 0 0 0 0 0 0 0 0 0 0 3"
    one_short = "61 1061 1 2 8 20 40 30 15 6 2 1 1 22"
    negative = "62 1062 1 2 -8 20 40 30 15 6 2 1 1 22 7"
    nothing = "63 1063 0 0 0 0 0 0 0 0 0 0 1 22 7"
    download.save(one_short, negative, nothing, download.rows[1001], "64 1064 1 2", end="\r\n")
    return {
        "known broken": set(map(str, KNOWN_BROKEN)),
        "missing picture": {"1009"},
        "empty file": {"1007"},
        "web page": {"1008"},
        "damaged picture": {"1006"},
        "bad row": {""},
        "leak: same file": {"1012"},
        "leak: look-alikes": {"1013"},
        "picture without row": {"777.jpg", "cover.jpg", "1014.jpg"},
        "few raters": {"1015"},
        "wrong suffix": {"1010"},
        "CMYK": {"1011"},
    } | ALWAYS


def test_exactly_the_planted_faults_are_found_and_what_can_be_is_left_out(
    download, tmp_path, draw, findings, capsys
):
    assert main([str(download.folder), f"--out={tmp_path}/before"]) == 0
    styled = findings(tmp_path / "before")["style label outside train"]
    planted = plant(download, draw) | {"style label outside train": styled}
    assert main([str(download.folder), f"--out={tmp_path}/out", "--fix"]) == 1
    assert findings(tmp_path / "out") == planted
    printed = capsys.readouterr().out
    assert "bad row: 5" in printed and "AVA.txt line 68: a row has 15 columns, this one has 14" in printed
    assert "AVA.txt has CRLF line ends" in printed
    assert "5 cannot be fixed by leaving pictures out" in printed
    out = {"1006", "1007", "1008", "1009", "1012", "1013"} | set(map(str, KNOWN_BROKEN))
    assert set(exclusions.read(download.folder)) == out
    download.save()
    assert main([str(download.folder), f"--out={tmp_path}/out"]) == 0
    assert not {"known broken", "missing picture", "damaged picture"} & set(findings(tmp_path / "out"))


def test_a_built_set(download, tmp_path, draw, findings, capsys):
    download.truncate(1006)
    shutil.copy(download.picture(1046), download.picture(1012))
    source = ava_source.read(download.folder, max_skipped=0.5)
    build(source, tmp_path / "data", processes=1)
    arguments = [str(tmp_path / "data"), f"--out={tmp_path}/out"]
    assert main([*arguments, "--fix"]) == 0
    found = findings(tmp_path / "out")
    assert found.pop("style label outside train") >= {"1050"}
    assert found == {
        "lost in building": {"1006"}, "leak: same file": {"1012"}, "id without row": {"5001", "5002"},
        "no style given": {"1005", "1051"},
    }  # fmt: skip
    data = ava_load.load(tmp_path / "data")
    assert len(data) == 58 and "1012" not in data.images
    assert main(arguments) == 0
    assert "leak: same file" not in findings(tmp_path / "out")


def test_what_is_excluded_from_a_download_stays_out_of_the_built_set(download, tmp_path):
    download.truncate(1006)
    download.picture(1007).unlink()
    shutil.copy(download.picture(1046), download.picture(1012))
    with pytest.raises(DataError, match="1 of 60 rows of votes have no usable picture"):
        build(ava_source.read(download.folder), tmp_path / "data", processes=1)
    assert main([str(download.folder), f"--out={tmp_path}/out", "--fix"]) == 0
    build(ava_source.read(download.folder), tmp_path / "data", processes=1)
    assert main([str(tmp_path / "data"), f"--out={tmp_path}/built"]) == 0
    data = ava_load.load(tmp_path / "data")
    assert len(data) == 57 and not {"1006", "1007", "1012"} & set(data.images)


def records_file(folder: Path) -> Path:
    (path,) = folder.glob("*.array_record*")
    return path


def overwrite(path: Path, start: int) -> None:
    """50 bytes of the file, from `start` on."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"x" * 50)


def test_a_damaged_record_is_one_picture_less(download, tmp_path, findings):
    path = records_file(build(ava_source.read(download.folder), tmp_path / "data", processes=1))
    records = path.read_bytes()
    for key in download.rows:
        picture = download.picture(key).read_bytes()
        start = records.find(picture[len(picture) // 2 :][:50])
        if start >= 0:  # else one of the file's own block headers lies between these bytes
            break
    overwrite(path, start)
    assert main([str(tmp_path / "data"), f"--out={tmp_path}/out"]) == 1
    assert findings(tmp_path / "out")["unreadable file"] == {str(key)}


def test_a_damaged_block_header_takes_its_file(download, tmp_path, findings):
    path = records_file(build(ava_source.read(download.folder), tmp_path / "data", processes=1))
    overwrite(path, (path.stat().st_size - 1) // 65536 * 65536)
    assert main([str(tmp_path / "data"), f"--out={tmp_path}/out"]) == 1
    assert findings(tmp_path / "out")["unreadable file"] == set(map(str, download.rows))


def test_real_ids_and_lists(shared_data, tmp_path, draw, findings):
    """Pictures for 200 ids of AVA, of which 60 test and 30 of those carry a label of the style training list."""
    ava = shared_data / "ava"
    rows = {int(line.split()[1]): line for line in (ava / "AVA_part.txt").read_text().splitlines()}
    lists = {path.stem: {int(key) for key in path.read_text().split()} for path in ava.glob("*/*.jpgl")}
    tested = lists["generic_test"] & set(rows)
    leaking = sorted(tested & lists["train"])[:30]
    chosen = {
        *leaking,
        *sorted(tested - lists["train"])[:30],
        *sorted(set(rows) - tested - lists["train"])[:140],
    }
    made = Download(tmp_path / "AVA", draw)
    for key in sorted(chosen):
        made.add(key, row=rows[key])
    for key in KNOWN_BROKEN:
        made.add(key)
        made.truncate(key)
    for part in ("aesthetics_image_lists", "style_image_lists"):
        shutil.copytree(ava / part, made.folder / part)
    made.save()
    assert main([str(made.folder), f"--out={tmp_path}/out"]) == 1
    found = findings(tmp_path / "out")
    labels = (ava / "style_image_lists" / "test.multilab").read_text().splitlines()
    style_test = [int(key) for key in (ava / "style_image_lists" / "test.jpgl").read_text().split()]
    plain = {key for key, row in zip(style_test, labels, strict=True) if "1" not in row}
    assert len(plain) == 236 and len(lists["generic_test"] & lists["train"]) == 951
    listed = set().union(*(ids for name, ids in lists.items() if name not in ("train", "test")))
    assert found == {
        "known broken": set(map(str, KNOWN_BROKEN)),
        "style label outside train": set(map(str, leaking)),
        "id without row": set(map(str, listed - chosen - set(KNOWN_BROKEN))),
    } | ({"no style given": set(map(str, plain & chosen))} if plain & chosen else {})


def test_without_the_lists_another_split_is_asked_for(download, tmp_path, capsys):
    shutil.rmtree(download.folder / "aesthetics_image_lists")
    with pytest.raises(DataError, match=r"needs generic_test\.jpgl"):
        main([str(download.folder), f"--out={tmp_path}/out"])
    assert main([str(download.folder), f"--out={tmp_path}/out", "--split=random"]) == 0
    assert "generic_test.jpgl is not there" in capsys.readouterr().out
