import os

import pytest

from dcal_reid.errors import InputError
from dcal_reid.names import check_utf8, printable

LATIN_1 = os.fsdecode(b"stra\xdfe.jpg")


def test_what_is_not_utf8_is_shown_as_a_question_mark():
    assert printable(LATIN_1) == "stra?e.jpg"
    assert printable("straße.jpg") == "straße.jpg"


def test_the_name_that_is_not_utf8_is_told_with_the_cure():
    check_utf8(["a.jpg", "straße.jpg"], "Milvus", "rename the file")
    with pytest.raises(InputError, match=r"Milvus holds UTF-8 only, which 'stra\\udcdfe.jpg' is not; rename the file"):
        check_utf8(["a.jpg", LATIN_1], "Milvus", "rename the file")
