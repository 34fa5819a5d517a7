import errno
import os

import pytest
from helpers.forks import fork

from dcal_reid.errors import InputError, exit_on_input_error


def message_of(capsys, *call):
    """The message that an error is reported with."""
    with pytest.raises(SystemExit) as ended:
        exit_on_input_error(*call)
    output, error = capsys.readouterr()
    assert (ended.value.code, output) == (2, "")
    return error


def test_a_wrong_input_ends_with_one_line(capsys):
    def fail(what):
        raise InputError(f"{what} is wrong; do that")

    assert message_of(capsys, fail, "this") == "error: this is wrong; do that\n"


def test_other_errors_are_ours_and_stay():
    with pytest.raises(ZeroDivisionError):
        exit_on_input_error(lambda: 1 / 0)


@pytest.mark.parametrize("name", ["no/x.png", "no/.x.png.123.tmp"])
def test_a_file_that_the_system_refuses_is_named_as_the_user_knows_it(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    message = "error: 'no/x.png' cannot be written or read: No such file or directory\n"
    assert message_of(capsys, open, name, "w") == message


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line(capsys, number):
    def write():
        raise OSError(number, os.strerror(number))

    message = message_of(capsys, write)
    assert message == f"error: a file cannot be written: {os.strerror(number)}; make room, and give the command again\n"


@pytest.mark.parametrize("error", [OSError("of a library"), OSError(32, "Broken pipe")])
def test_errors_of_the_system_without_a_file_stay(error):
    def fail():
        raise error

    with pytest.raises(OSError) as raised:
        exit_on_input_error(fail)
    assert raised.value is error


def test_nothing_is_said_of_output_that_nobody_reads(tmp_path):
    program, pipe, errors = tmp_path / "program.py", tmp_path / "pipe", tmp_path / "errors"
    program.write_text(
        "import logging, sys\n"
        "from dcal_reid.errors import exit_on_input_error\n"
        "def run():\n"
        "    logging.basicConfig(stream=sys.stdout, force=True)\n"
        "    logging.warning('a line of the log')\n"
        "    print('a result')\n"
        "    sys.exit(1)\n"
        "exit_on_input_error(run)\n"
    )
    os.mkfifo(pipe)
    process = fork([program], output=pipe, errors=errors)
    open(pipe).close()  # once the program has the other end
    process.join(60)
    assert (process.exitcode, errors.read_text()) == (141, "")
