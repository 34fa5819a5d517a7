import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcal_reid.errors import InputError
from dcal_reid.text import check_utf8, first_few, natural_key, printable, shortened

LATIN_1 = os.fsdecode(b"stra\xdfe.jpg")


def test_natural_order_takes_digits_as_numbers():
    names = ["c10", "c2", "c1s10", "c1s9", "b3"]
    assert sorted(names, key=natural_key) == ["b3", "c1s9", "c1s10", "c2", "c10"]
    assert natural_key("c1") != natural_key("c01")


@given(st.lists(st.text(max_size=8), unique=True), st.randoms())
def test_natural_order_does_not_depend_on_the_order_given(names, random):
    """Texts that are equal as numbers, such as 1 and 01, have an order too, because sets of texts have none."""
    shuffled = random.sample(names, len(names))
    assert sorted(names, key=natural_key) == sorted(shuffled, key=natural_key)


def test_first_few():
    assert first_few([1, 2, 3]) == "1, 2, 3"
    assert first_few(range(9)) == "0, 1, 2, ..."
    assert first_few([LATIN_1]) == "stra?e.jpg"  # a log in UTF-8 would lose the message


def test_a_text_of_another_length_ends_in_an_ellipsis():
    assert [shortened("abcdef", length) for length in (7, 6, 5)] == ["abcdef", "abcdef", "abcd…"]


def test_what_is_not_utf8_is_shown_as_a_question_mark():
    assert printable(LATIN_1) == "stra?e.jpg"
    assert printable("straße.jpg") == "straße.jpg"


def test_the_name_that_is_not_utf8_is_told_with_the_cure():
    check_utf8(["a.jpg", "straße.jpg"], "Milvus", "rename the file")
    with pytest.raises(InputError, match=r"Milvus holds UTF-8 only, which 'stra\\udcdfe.jpg' is not; rename the file"):
        check_utf8(["a.jpg", LATIN_1], "Milvus", "rename the file")
