"""Pictures are found by id in every layout that circulates."""

import pytest

from mtp.data.ava.pictures import find_pictures


@pytest.mark.parametrize("place", ["{}", "images/{}", "images/images/{}", "images/95/{}", "a/9/5/{}"])
def test_layouts(place, tmp_path):
    path = tmp_path / place.format("953619.jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert find_pictures(tmp_path).paths == {953619: path}


def test_what_is_no_picture_and_what_has_no_id(tmp_path):
    for name in ("1.JPG", "2.png", "AVA.txt", "cover.jpg", "._3.jpg", "__MACOSX/4.jpg", ".git/5.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_pictures(tmp_path)
    assert sorted(found.paths) == [1, 2] and found.strays == (tmp_path / "cover.jpg",)


def test_of_two_files_of_an_id_the_nearer_one_is_taken_and_both_are_named(tmp_path):
    near, far = tmp_path / "7.jpg", tmp_path / "old" / "7.jpg"
    far.parent.mkdir()
    near.touch()
    far.touch()
    found = find_pictures(tmp_path)
    assert found.paths == {7: near} and found.repeated == {7: (near, far)}


def test_links_are_followed_and_each_real_folder_is_looked_at_once(tmp_path):
    real, source = tmp_path / "disk", tmp_path / "source"
    (real / "deeper").mkdir(parents=True)
    source.mkdir()
    (real / "1.jpg").touch()
    (real / "deeper" / "2.webp").touch()
    (source / "images").symlink_to(real)
    (source / "again").symlink_to(real)
    (real / "deeper" / "up").symlink_to(source)
    found = find_pictures(source)
    assert sorted(found.paths) == [1, 2] and not found.repeated
    (source / "3.jpg").symlink_to(real / "1.jpg")
    assert sorted(find_pictures(source).paths) == [1, 2, 3]
