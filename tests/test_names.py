"""File names as a terminal and a spreadsheet may have them."""

import itertools

import numpy as np
import pytest

from mtp.names import exact, harmless, shown


@pytest.mark.parametrize("name", ["a.jpg", "sub/ä ö.png", "写真.jpg", "a'b\"c\\d.jpg", ""])
def test_a_name_that_can_be_printed_is_shown_as_it_is(name):
    assert shown(name) == name


@pytest.mark.parametrize(
    "bad", ["\x1b", "\n", "\r", "\t", "\x00", "\x07", "\x7f", "\x9b", "\u202e", "\u2066", "\udcff"]
)
def test_what_would_command_a_terminal_stands_as_an_escape(bad):
    text = shown(f"a{bad}[31m.jpg")
    assert text.isprintable() and text.isascii() and text.startswith("a\\") and text.endswith("[31m.jpg")
    text.encode("utf-8")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "'=", "''@", "＝", "＋"])
def test_what_a_spreadsheet_would_compute_begins_with_a_mark(start):
    assert harmless(f"{start}1+1") == f"'{start}1+1"
    assert exact(harmless(f"{start}1+1")) == f"{start}1+1"


def test_harmless_is_reversible_and_a_list_by_hand_is_read_as_it_stands():
    for letters in itertools.product("'=+-@a\t, \"", repeat=4):
        cell = "".join(letters)
        assert exact(harmless(cell)) == cell
        assert harmless(cell)[:1] not in tuple("=+-@\t")
    rng = np.random.default_rng(0)
    for _ in range(200):
        cell = "".join(map(chr, rng.integers(32, 1000, 12)))
        assert exact(harmless(cell)) == cell
    for cell in ("'quoted.jpg", "=plain.jpg", "a=b.jpg", "'", ""):
        assert exact(cell) == cell
