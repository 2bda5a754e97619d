"""The scan: what is seen of a picture, and that a kill loses at most a chunk."""

import dataclasses

import numpy as np
import pytest

from mtp.data.doctor import pictures
from mtp.data.doctor.listing import Listing


@pytest.fixture
def listing(tmp_path, draw):
    """30 pictures, 00.png to 29.png."""
    for i in range(30):
        draw(i).save(tmp_path / f"{i:02d}.png")
    names = tuple(f"{i:02d}.png" for i in range(30))
    return Listing(
        name="x", form="x", folder=tmp_path, images=names, votes=np.ones((30, 2), np.int64), splits=("train",) * 30,
        groups=None, faults=(), excluded={}, read=lambda name: (tmp_path / name).read_bytes(),
        stamp=lambda name: "as it was", file_name=lambda name: name,
    )  # fmt: skip


def test_a_killed_scan_goes_on(listing, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK", 8)
    read: list[str] = []

    def killed(name: str) -> bytes:
        if name == "20.png":
            raise KeyboardInterrupt
        read.append(name)
        return listing.read(name)

    journal = pictures.Journal(tmp_path / "journal")
    with pytest.raises(KeyboardInterrupt):
        pictures.scan(dataclasses.replace(listing, read=killed), journal, 10**8, threads=2)
    journal.close()
    assert "15.png" in read and "25.png" not in read
    again: list[str] = []
    journal = pictures.Journal(tmp_path / "journal")
    counted = dataclasses.replace(listing, read=lambda name: again.append(name) or listing.read(name))
    pictures.scan(counted, journal, 10**8, threads=2)
    assert sorted(again) == [f"{i:02d}.png" for i in range(16, 30)]
    assert [seen.image for seen in journal] == list(listing.images)
    journal.close()


def test_another_limit_is_another_look(listing, tmp_path):
    journal = pictures.Journal(tmp_path / "journal")
    pictures.scan(listing, journal, 10**8, threads=1)
    assert {seen.fault for seen in journal} == {""}
    pictures.scan(listing, journal, 1000, threads=1)
    assert {seen.fault for seen in journal} == {"too large"}
    journal.close()


def test_a_file_that_cannot_be_read_is_a_fault_and_is_tried_again(listing, tmp_path):
    def refused(name: str) -> bytes:
        raise PermissionError(13, "Permission denied", name)

    journal = pictures.Journal(tmp_path / "journal")
    pictures.scan(dataclasses.replace(listing, read=refused), journal, 10**8, threads=1)
    assert {seen.fault for seen in journal} == {"unreadable file"}
    assert "Permission denied" in next(iter(journal)).detail
    pictures.scan(listing, journal, 10**8, threads=1)
    assert {seen.fault for seen in journal} == {""}
    journal.close()
