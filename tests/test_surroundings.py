"""Terminals, homes and file names that are not what programs expect."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mtp import config
from mtp.config import configured, get_config, overrides
from mtp.data import pictures
from mtp.data.doctor import __main__ as doctor
from tests import runs

LATIN = {**os.environ, "PYTHONIOENCODING": "iso-8859-1"}


@pytest.fixture
def folder(tmp_path):
    """Forty pictures with votes, and one that no row names, whose name is no UTF-8."""
    photos = runs.make_folder(tmp_path / "photos", 12, 0)
    Image.new("RGB", (40, 40)).save(tmp_path / "x.jpg")
    shutil.move(tmp_path / "x.jpg", os.fsencode(photos) + b"/caf\xe9.jpg")
    return photos


def test_a_user_without_a_home_has_a_cache_all_the_same(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    found = config._cache()
    assert found.is_absolute() and str(os.getuid()) in found.name


def test_a_tilde_is_the_users_home(monkeypatch, tmp_path):
    """On the command line and in a file of configs/; in no other option."""
    monkeypatch.setenv("HOME", str(tmp_path))
    _, given = overrides.split(["--config.data.dir=~/photos", "--config.eval.by=~"])
    assert given == {"data.dir": f"{tmp_path}/photos", "eval.by": "~"}
    values = {**config.flat(get_config()), "data.split_dir": "~/lists", "run.compile_cache": "~"}
    found = configured(values)
    assert (found.data.split_dir, found.run.compile_cache) == (f"{tmp_path}/lists", str(tmp_path))


def test_the_doctor_ends_its_work_beside_a_name_that_is_no_utf_8(folder, tmp_path, capsys):
    assert doctor.main([str(folder), f"--out={tmp_path / 'out'}", "--min_raters=1"]) == 0
    assert "caf\\udce9.jpg" in capsys.readouterr().out
    assert "caf\\udce9.jpg" in (tmp_path / "out" / "doctor.html").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "doctor.json").exists()


def test_a_picture_whose_name_is_no_utf_8_is_left_out_of_predictions(folder):
    found = pictures.of_folder(folder, 10**8)
    assert len(found) == 12 and len(found.skipped) == 1
    assert "caf\\udce9.jpg: the file's name must be UTF-8" in found.skipped[0]


@pytest.mark.slow
def test_a_terminal_that_is_not_utf_8_gets_replacements(trained_small, folder, tmp_path):
    """Of the table's arrows, of the doctor's names; files are UTF-8 all the same."""
    workdir, photos = trained_small
    again = subprocess.run(
        runs.train(workdir, photos), cwd=runs.ROOT, env=LATIN, capture_output=True, check=False
    )
    assert again.returncode == 0 and b"emd_r2 ?" in again.stdout
    (folder / "000.png").rename(folder / "—.png")
    command = [sys.executable, "-m", "mtp.data.doctor", str(folder), f"--out={tmp_path / 'out'}", "--fix"]
    looked = subprocess.run(command, cwd=runs.ROOT, env=LATIN, capture_output=True, check=False)
    assert looked.returncode == 0, looked.stderr
    assert b"?.png" in looked.stdout and b"Traceback" not in looked.stderr
    assert "—.png" in (tmp_path / "out" / "doctor.html").read_text(encoding="utf-8")
