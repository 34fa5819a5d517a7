"""The one exception that means "your input is wrong", as opposed to "our code is wrong"."""

import errno
import logging
import os
import re
import select
import sys
from collections.abc import Callable
from typing import NoReturn

__all__ = ["InputError", "exit_on_input_error"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_OUTPUT = 1  # the file descriptor


class InputError(ValueError):
    """A config, dataset, image or checkpoint that cannot be used.

    The message is one line: what is wrong, with which value, and what to do about it.
    The command lines in ``tools/`` print it without a traceback.
    """


def exit_on_input_error(function: Callable, *args) -> None:
    """Call a tool's function; an invalid input, a file that cannot be accessed, a full disk, Ctrl-C or a closed output
    pipe ends the program without a traceback.

    The exit status is 2 after an error, which is reported in one line. For Ctrl-C and a closed pipe it is the shell's
    status for the signal, 130 and 141. 1, Python's status after a traceback, is left to tools that use it as a result.
    """
    logging.raiseExceptions = False  # log lines may go to the closed pipe, too; log.txt has them
    try:
        try:
            function(*args)
        finally:
            print(end="", flush=True)
    except InputError as error:
        _exit(str(error))
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), _OUTPUT)  # else Python flushes again at exit and reports an error
        sys.exit(141)
    except OSError as error:
        if error.errno in _NO_ROOM and error.filename is None:  # unlike open, a write does not name its file
            _exit(f"a file cannot be written: {error.strerror}; make room, and give the command again")
        if error.errno is None or error.filename is None:
            raise
        _exit(f"{_final_name(error.filename)!r} cannot be written or read: {error.strerror}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _exit(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _output_is_closed() -> bool:
    """Whether standard output is a pipe that nobody reads from."""
    poll = select.poll()
    poll.register(_OUTPUT, 0)
    return bool(poll.poll(0))


def _final_name(path: object) -> str:
    """``path``, or for a temporary file of ``written_atomically`` its final path."""
    return re.sub(r"(^|[/\\])\.([^/\\]+)\.\d+\.tmp$", r"\1\2", str(path))
