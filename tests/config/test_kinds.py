"""Values that an option can take, and how a command line spells them."""

import math

import pytest

from mtp.config.kinds import Boolean, Choice, Integer, OrNone, Pattern, Real, Several, Text, Tuple, tupled

SIZES = Tuple(Tuple(Integer(32), 2))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Boolean(), "True", True),
        (Boolean(), "0", False),
        (Integer(0), "7", 7),
        (Integer(-1), "-1", -1),
        (Real(0), "1", 1.0),
        (Real(0), "1e-4", 1e-4),
        (OrNone(Real(0)), "None", None),
        (OrNone(Real(0)), "0", 0.0),
        (Choice(1, 2), "2", 2),
        (Choice("a", "b"), "b", "b"),
        (Several(Choice("fcn", "spp")), "('fcn', 'spp')", ("fcn", "spp")),
        (Several(Choice("fcn", "spp")), "fcn,spp", ("fcn", "spp")),
        (Several(Choice("fcn", "spp")), "(spp,)", ("spp",)),
        (Several(Choice("fcn", "spp")), "spp", ("spp",)),
        (Tuple(Integer(1)), "1,3,4", (1, 3, 4)),
        (Tuple(Integer(1)), "[1, 3]", (1, 3)),
        (Tuple(Integer(1)), "4", (4,)),
        (SIZES, "((48,64),)", ((48, 64),)),
        (SIZES, "[[48, 64], [64, 48]]", ((48, 64), (64, 48))),
        (Text("a folder"), "my photos", "my photos"),
        (Pattern("a+", "some a"), "aaa", "aaa"),
    ],
)
def test_a_text_is_read_as_a_value_that_is_accepted(kind, text, value):
    found = kind.read(text)
    assert (found, type(found)) == (value, type(value)) and kind.accepts(found)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Boolean(), "yes please"),
        (Integer(0), "1.0"),
        (Integer(0), ""),
        (Integer(0), "None"),
        (Real(0), "fast"),
        (Real(0), "nan"),
        (Real(0), "inf"),
        (OrNone(Real(0)), "auto"),
        (Choice(1, 2), "two"),
        (Choice("a", "b"), "A"),
        (Several(Choice("a", "b")), ""),
        (Several(Choice("a", "b")), "()"),
        (Several(Choice("a", "b")), "a,a"),
        (Tuple(Integer(1)), "1,x"),
        (Tuple(Integer(1)), "()"),
        (Tuple(Real(), 2), "1,2,3"),
        (Tuple(Real(), 2), f"1,{10**400}"),
        (SIZES, "(48, 64)"),
        (SIZES, "((48, 64, 3),)"),
        (Text("a file", empty=False), ""),
        (Pattern("a+", "some a"), "aab"),
    ],
)
def test_a_text_that_stands_for_no_value_is_refused(kind, text):
    assert not kind.accepts(kind.read(text))


@pytest.mark.parametrize("kind", [Integer(), Real(), OrNone(Real()), Choice(1, 2), Tuple(Integer())])
@pytest.mark.parametrize("value", [True, "1", (True,), [1], math.nan])
def test_truth_values_texts_and_lists_are_no_numbers(kind, value):
    assert not kind.accepts(value)


def test_an_integer_is_a_number():
    assert Real(0).accepts(3) and not Integer(0).accepts(3.0)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Integer(1), "an integer of at least 1"),
        (Integer(0, 9), "an integer from 0 to 9"),
        (Real(low=0), "a number of at least 0"),
        (Real(low=0, below=1), "a number from 0 to below 1"),
        (Real(low=0, high=1), "a number from 0 to 1"),
        (Real(above=0), "a number above 0"),
        (Real(above=0, below=1), "a number above 0 and below 1"),
        (OrNone(Real(above=0)), "None or a number above 0"),
        (Choice("", "a"), 'one of "", a'),
        (Several(Choice("a", "b")), "a tuple of one or more of a, b, each at most once"),
        (Tuple(Integer(1), 2), "a tuple of 2 values, each an integer of at least 1"),
        (Text("a folder"), 'a folder, or ""'),
    ],
)
def test_a_kind_says_its_values(kind, words):
    assert kind.says() == words


def test_json_has_lists_for_tuples():
    assert tupled([[1, 2], [3, [4]]]) == ((1, 2), (3, (4,)))
