"""The doctor on a folder with votes.csv: exactly the planted faults, what it writes, when it says no."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtp.data import exclusions, faults
from mtp.data.doctor.__main__ import main
from mtp.data.schema import DataError
from mtp.data.votes import load as votes

SPLITS = ("train", "train", "train", "validation", "test")


@pytest.fixture
def sound(tmp_path, draw):
    """40 pictures, p00.jpg to p39.jpg, in three splits."""
    folder = tmp_path / "sound"
    (folder / "images").mkdir(parents=True)
    for i in range(40):
        draw(i).save(folder / "images" / f"p{i:02d}.jpg", quality=90)
    write_votes(folder, [f"p{i:02d}.jpg,3,4,5,{SPLITS[i % 5]},," for i in range(40)])
    return folder


def write_votes(folder: Path, rows: list[str]) -> None:
    (folder / "votes.csv").write_text("image,c1,c2,c3,split,group,style_HDR\n" + "\n".join(rows) + "\n")


def plant(folder: Path, draw) -> dict[str, set[str]]:
    """Spoils a sound folder with one or more of everything; what must be found."""
    images = folder / "images"
    rows = (folder / "votes.csv").read_text().splitlines()[1:]
    half = (images / "p00.jpg").read_bytes()
    (images / "p00.jpg").write_bytes(half[: len(half) // 2])
    (images / "p01.jpg").write_bytes(half[:50])
    (images / "p02.jpg").write_bytes(b"")
    (images / "p05.jpg").write_bytes(b"\n<!DOCTYPE html><title>404</title>")
    (images / "p06.jpg").write_bytes(b"no picture at all")
    draw(7).convert("CMYK").save(images / "p07.jpg")
    draw(10).save(images / "p10.jpg", "PNG")
    draw(11).convert("RGBA").save(images / "p11.webp", lossless=True)
    clear = draw(11).convert("RGBA")
    clear.putalpha(200)
    clear.save(images / "p11.png")
    deep = np.asarray(draw(12).convert("L"), np.uint16) * 257
    Image.fromarray(deep).save(images / "p12.png")
    draw(13).save(images / "p13.gif", save_all=True, append_images=[draw(99)])
    (images / "p11.webp").unlink()
    for name in ("p11.jpg", "p12.jpg", "p13.jpg"):
        (images / name).unlink()
    draw(15).resize((90, 31)).save(images / "p15.jpg")
    (images / "p16.jpg").unlink()
    rows[11], rows[12], rows[13] = (
        row.replace("jpg", end) for row, end in zip(rows[11:14], ("png", "png", "gif"), strict=True)
    )
    rows[17] = "p17.jpg,3,-4,5,train,,"
    rows[20] = "p20.jpg,0,0,0,train,,"
    rows[21] = "p21.jpg,3,,5,train,,"
    rows[22] = "p22.jpg,3,4,train"
    rows[25] = "p25.jpg,3,4,5,trian,,"
    rows[26] = "p26.jpg,3,4,5,train,,yes"
    rows[27] = "p27.jpg,1,1,1,train,,"
    rows[30], rows[34] = "p30.jpg,3,4,5,train,g,", "p34.jpg,3,4,5,test,g,"
    rows.append("p31.jpg,9,9,9,train,,")
    # p19, p24: test; p18, p23: validation; p32, p35: train
    shutil.copy(images / "p19.jpg", images / "copy_of_test.jpg")
    shutil.copy(images / "p32.jpg", images / "copy_of_train.jpg")
    draw(24).resize((45, 30)).save(images / "half_of_test.jpg", quality=60)
    draw(35).save(images / "worse_in_train.jpg", quality=30)
    rows += [f"{name}.jpg,3,4,5,train,,"
             for name in ("copy_of_test", "copy_of_train", "half_of_test", "worse_in_train")]  # fmt: skip
    draw(77).save(images / "stray.png")
    write_votes(folder, rows)
    return {
        "missing picture": {"p16.jpg"},
        "empty file": {"p02.jpg"},
        "web page": {"p05.jpg"},
        "unknown format": {"p06.jpg"},
        "damaged picture": {"p00.jpg", "p01.jpg"},
        "too small": {"p15.jpg", "half_of_test.jpg"},
        "bad row": {"p22.jpg"},
        "bad votes": {"p17.jpg", "p21.jpg"},
        "no votes": {"p20.jpg"},
        "repeated row": {"p31.jpg"},
        "bad split": {"p25.jpg"},
        "bad style": {"p26.jpg"},
        "torn group": {"p30.jpg"},
        "leak: same file": {"copy_of_test.jpg"},
        "leak: look-alikes": {"half_of_test.jpg"},
        "same file twice": {"p32.jpg"},
        "look-alikes": {"worse_in_train.jpg"},
        "picture without row": {"images/stray.png"},
        "few raters": {"p27.jpg"},
        "wrong suffix": {"p10.jpg"},
        "CMYK": {"p07.jpg"},
        "16 bit": {"p12.png"},
        "transparency": {"p11.png"},
        "animation": {"p13.gif"},
    }


def fingerprint(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != exclusions.NAME)
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_nothing_is_found_in_a_sound_folder(sound, tmp_path, findings, capsys):
    assert main([str(sound), f"--out={tmp_path}/out"]) == 0
    assert findings(tmp_path / "out") == {}
    printed = capsys.readouterr().out
    assert "40 pictures (24 train, 8 validation, 8 test), ratings 1..3" in printed
    assert "Nothing here affects training." in printed and "90x60 40 █" in printed


def test_exactly_the_planted_faults_are_found(sound, tmp_path, draw, findings, capsys):
    planted = plant(sound, draw)
    before = fingerprint(sound)
    assert main([str(sound), f"--out={tmp_path}/out"]) == 1
    assert findings(tmp_path / "out") == planted
    assert fingerprint(sound) == before and not (sound / exclusions.NAME).exists()
    printed = capsys.readouterr().out
    for kind in faults.KINDS:
        assert (f"  {kind.name}: " in printed) == (kind.name in planted), kind.name
    assert "line 19: votes must be whole numbers of raters, 0 to 999,999,999; c2 = '-4'" in printed


def test_after_fix_the_folder_loads_and_passes(sound, tmp_path, draw, findings, capsys):
    planted = plant(sound, draw)
    text = (sound / "votes.csv").read_text().replace("train,g,", "test,g,")
    (sound / "votes.csv").write_text(text)
    exclusions.write(sound, {"p39.jpg": "my own reason"})
    with pytest.raises(DataError):
        votes.load(sound)
    before = fingerprint(sound)
    assert main([str(sound), f"--out={tmp_path}/out", "--fix"]) == 0
    assert fingerprint(sound) == before
    harmful = {kind.name for kind in faults.KINDS if kind.affects_training} - {"torn group"}
    excluded = exclusions.read(sound)
    assert set(excluded) == {"p39.jpg"}.union(*(planted[name] for name in planted if name in harmful))
    assert excluded["p39.jpg"] == "my own reason" and excluded["p02.jpg"].startswith("empty file: ")
    data = votes.load(sound)
    assert not set(data.images) & set(excluded)
    # the row of p22.jpg is among them, twice the row of p31.jpg, and p39.jpg
    assert data.skipped == (exclusions.announcement(len(excluded) + 1),)
    capsys.readouterr()
    assert main([str(sound), f"--out={tmp_path}/out"]) == 0
    assert f"{len(excluded)} left out by excluded.csv" in capsys.readouterr().out
    left = {name: images for name, images in planted.items() if name not in harmful | {"torn group"}}
    assert findings(tmp_path / "out") == left


def test_exclusions_change_the_split_hash(sound):
    before = votes.load(sound).split_sha256("train")
    exclusions.write(sound, {"p00.jpg": "dull"})
    assert votes.load(sound).split_sha256("train") != before


def test_a_torn_group_is_no_matter_of_exclusion(sound, tmp_path, capsys):
    text = (sound / "votes.csv").read_text().replace("p00.jpg,3,4,5,train,,", "p00.jpg,3,4,5,train,g,")
    (sound / "votes.csv").write_text(text.replace("p04.jpg,3,4,5,test,,", "p04.jpg,3,4,5,test,g,"))
    assert main([str(sound), f"--out={tmp_path}/out", "--fix"]) == 1
    assert "1 cannot be fixed by leaving pictures out" in capsys.readouterr().out
    assert not (sound / exclusions.NAME).exists()


def test_a_group_is_still_torn_when_only_its_first_picture_goes(sound, tmp_path):
    text = (sound / "votes.csv").read_text()
    for name, split in (("p00.jpg", "train"), ("p01.jpg", "train"), ("p04.jpg", "test")):
        assert f"{name},3,4,5,{split},," in text
        text = text.replace(f"{name},3,4,5,{split},,", f"{name},3,4,5,{split},g,")
    (sound / "votes.csv").write_text(text)
    (sound / "images" / "p00.jpg").write_bytes(b"")
    assert main([str(sound), f"--out={tmp_path}/out", "--fix"]) == 1
    assert set(exclusions.read(sound)) == {"p00.jpg"}
    with pytest.raises(DataError, match="a group must lie in one split"):
        votes.load(sound)


def test_pictures_of_one_group_may_look_alike(sound, tmp_path, draw, findings):
    draw(0).save(sound / "images" / "p01.jpg", quality=30)
    assert main([str(sound), f"--out={tmp_path}/out"]) == 0
    assert findings(tmp_path / "out") == {"look-alikes": {"p01.jpg"}}
    text = (sound / "votes.csv").read_text()
    for name in ("p00.jpg", "p01.jpg"):
        text = text.replace(f"{name},3,4,5,train,,", f"{name},3,4,5,train,g,")
    (sound / "votes.csv").write_text(text)
    assert main([str(sound), f"--out={tmp_path}/out"]) == 0
    assert findings(tmp_path / "out") == {}


def test_without_a_split_column_leaks_are_found_in_the_hashed_splits(sound, tmp_path, draw, findings):
    names = [f"p{i:02d}.jpg" for i in range(40)]
    (sound / "votes.csv").write_text("image,c1,c2\n" + "".join(f"{name},5,6\n" for name in names))
    data = votes.load(sound)
    tested, trained = (data.images[data.indices(split)[0]] for split in ("test", "train"))
    shutil.copy(sound / "images" / tested, sound / "images" / trained)
    assert main([str(sound), f"--out={tmp_path}/out"]) == 1
    assert findings(tmp_path / "out") == {"leak: same file": {trained}}


def test_what_was_seen_is_not_looked_at_again_unless_it_changed(sound, tmp_path, monkeypatch, findings):
    assert main([str(sound), f"--out={tmp_path}/out"]) == 0
    looked = []
    whole = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.suffix == ".jpg":
            looked.append(path.name)
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert main([str(sound), f"--out={tmp_path}/out"]) == 0
    assert looked == []
    (sound / "images" / "p03.jpg").write_bytes(b"")
    assert main([str(sound), f"--out={tmp_path}/out"]) == 1
    # once by the scan, once for the page's thumbnail
    assert set(looked) == {"p03.jpg"}
    assert findings(tmp_path / "out") == {"empty file": {"p03.jpg"}}


def test_the_page_shows_pictures_and_escapes_names(sound, tmp_path, draw):
    draw(50).resize((90, 20)).save(sound / "images" / "<script>.jpg")
    with (sound / "votes.csv").open("a") as file:
        file.write("<script>.jpg,3,4,5,train,,\n")
    assert main([str(sound), f"--out={tmp_path}/out"]) == 1
    page = (tmp_path / "out" / "doctor.html").read_text()
    assert "<script>" not in page and "<b>&lt;script&gt;.jpg</b> 90x20 pixels" in page
    assert page.count('src="data:image/jpeg;base64,') == 1 and "$" not in page


def test_a_very_large_picture_is_named_not_decoded(sound, tmp_path, findings):
    Image.new("1", (12000, 9000)).save(sound / "images" / "p00.jpg", "PNG")
    assert main([str(sound), f"--out={tmp_path}/out"]) == 1
    assert findings(tmp_path / "out") == {"too large": {"p00.jpg"}}


def test_pictures_that_decoders_are_content_with(sound, tmp_path, draw, findings, recwarn):
    """Each was decoded without a complaint, to something else than the picture."""
    images = sound / "images"
    large = draw(3).resize((360, 240))

    def saved(name: str, kind: str, image=large, **options) -> bytes:
        image.save(images / name, kind, **options)
        return (images / name).read_bytes()

    data = saved("p00.jpg", "JPEG")
    (images / "p00.jpg").write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    data = saved("p01.jpg", "JPEG")
    (images / "p01.jpg").write_bytes(data[:2000] + bytes(512) + data[2512:])
    data = saved("p02.jpg", "WEBP", quality=95)
    (images / "p02.jpg").write_bytes(data[:2000] + bytes(512) + data[2512:])
    saved("p03.jpg", "TIFF", Image.fromarray(np.linspace(0, 1, 5400, dtype=np.float32).reshape(60, 90)))
    (images / "p04.jpg").write_bytes(b"FUJIFILMCCD-RAW 0201" + bytes(500))
    (images / "p05.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 60\n")
    saved("p06.jpg", "JPEG", draw(6), exif=b"Exif\0\0nothing of the kind")
    assert main([str(sound), f"--out={tmp_path}/out", "--fix"]) == 0
    assert findings(tmp_path / "out") == {
        "damaged picture": {"p00.jpg", "p01.jpg", "p02.jpg"},
        "unknown format": {"p03.jpg", "p05.jpg"},
        "camera RAW": {"p04.jpg"},
        "damaged EXIF": {"p06.jpg"},
    }
    assert len(votes.load(sound)) == 34
    assert not recwarn.list


def test_control_characters_of_names_do_not_reach_the_terminal(sound, tmp_path, draw, capsys):
    name = "a\x1b[31m\x07\u202egpj.jpg"
    (sound / "images" / name).write_bytes(b"")
    (sound / "images" / f"stray{name}").write_bytes(b"")
    with (sound / "votes.csv").open("a") as file:
        file.write(f"{name},3,4,5,train,,\n=1+1.jpg,3,4,5,train,,\n")
    (sound / "images" / "=1+1.jpg").write_bytes(b"")
    main([str(sound), f"--out={tmp_path}/out", "--fix"])
    printed = capsys.readouterr()
    assert all(line.isprintable() for line in (printed.out + printed.err).splitlines())
    assert "a\\x1b[31m\\x07\\u202egpj.jpg" in printed.out
    assert set(exclusions.read(sound)) == {name, "=1+1.jpg"}
    assert "\n'=1+1.jpg," in (sound / exclusions.NAME).read_text()


def test_a_folder_without_a_single_picture(tmp_path, findings, capsys):
    (tmp_path / "votes.csv").write_text("image,c1,c2\na.jpg,1,2\nb.jpg,1,2\n")
    assert main([str(tmp_path), f"--out={tmp_path}/out"]) == 1
    assert findings(tmp_path / "out") == {"missing picture": {"a.jpg", "b.jpg"}}
    assert "0 pictures" in capsys.readouterr().out


def test_min_raters_is_an_option(sound, tmp_path, findings):
    assert main([str(sound), f"--out={tmp_path}/out", "--min_raters=13"]) == 0
    assert len(findings(tmp_path / "out")["few raters"]) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: DATASET"),
        (["{folder}", "--fixx"], "unrecognized arguments: --fixx"),
        (["{folder}", "--min_raters=x"], "invalid int value: 'x'"),
    ],
)
def test_bad_arguments_exit_with_2(arguments, message, sound, capsys):
    with pytest.raises(SystemExit) as stop:
        main([argument.format(folder=sound) for argument in arguments])
    assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere must be a folder with votes.csv, an AVA download"),
        (["{folder}", "--csv=other.csv"], r"must be a folder with other\.csv"),
        (["{folder}", "--group=theme"], "no column 'theme'"),
    ],
)
def test_what_cannot_be_examined_is_an_error(arguments, message, sound):
    with pytest.raises(DataError, match=message):
        main([argument.format(folder=sound) for argument in arguments])


@pytest.mark.parametrize(
    ("spoil", "status", "message"),
    [
        ("votes.csv", 2, "error: {folder}/votes.csv: the header must name the columns image,c1"),
        ("out/pictures.sqlite", 2, "pictures.sqlite of --out cannot be used"),
        ("images/p00.jpg", 1, ""),
    ],
)
def test_exit_status_of_the_command(spoil, status, message, sound):
    path = sound / spoil
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"neither table, picture nor data base,\n" * 20)
    command = [sys.executable, "-m", "mtp.data.doctor", str(sound), f"--out={sound}/out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status and message.format(folder=sound) in done.stderr
    assert "Traceback" not in done.stderr


def test_json_holds_all(sound, tmp_path):
    main([str(sound), f"--out={tmp_path}/out"])
    content = json.loads((tmp_path / "out" / "doctor.json").read_text())
    assert content["pictures"] == content["decodable"] == 40 and not content["affects_training"]
    assert content["sizes"] == [{"width": 90, "height": 60, "pictures": 40}]
    assert sum(row["pictures"] for row in content["aspects"]) == 40


@pytest.mark.parametrize("name", ["oasis", "vessel"])
def test_real_photographs_are_all_different(name, shared_data, tmp_path, findings):
    assert main([str(shared_data / name), f"--out={tmp_path}"]) == 0
    assert not {name for name in findings(tmp_path) if "alike" in name or "same" in name}


def test_every_kind_is_reported_and_named_once():
    kinds = [value for value in vars(faults).values() if isinstance(value, faults.Kind)]
    assert set(kinds) == set(faults.KINDS) and len({kind.name for kind in kinds}) == len(kinds) == len(
        faults.KINDS
    )
