import pytest

from dcal_reid.errors import InputError, exit_on_input_error


def test_a_wrong_input_ends_with_one_line():
    def fail(what):
        raise InputError(f"{what} is wrong; do that")

    with pytest.raises(SystemExit, match=r"^error: this is wrong; do that$"):
        exit_on_input_error(fail, "this")


def test_other_errors_are_ours_and_stay():
    with pytest.raises(ZeroDivisionError):
        exit_on_input_error(lambda: 1 / 0)
