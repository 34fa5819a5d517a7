import errno
import os

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


@pytest.mark.parametrize("name", ["no/x.png", "no/.x.png.123.tmp"])
def test_a_file_that_the_system_refuses_is_named_as_the_user_knows_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^error: 'no/x\.png' cannot be written or read: No such file or directory$"):
        exit_on_input_error(open, name, "w")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line(number):
    def write():
        raise OSError(number, os.strerror(number))

    with pytest.raises(SystemExit, match=rf"^error: a file cannot be written: {os.strerror(number)}; make room, and"):
        exit_on_input_error(write)


@pytest.mark.parametrize("error", [OSError("of a library"), OSError(32, "Broken pipe")])
def test_errors_of_the_system_without_a_file_stay(error):
    def fail():
        raise error

    with pytest.raises(OSError) as raised:
        exit_on_input_error(fail)
    assert raised.value is error
