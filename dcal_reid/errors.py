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
    """Call a tool's function; a wrong input, a file that the system refuses, a full disk, Ctrl-C or an output that
    nobody reads any more ends the program without a traceback.

    Status: 2 after an error, which is told in one line; for Ctrl-C and the end of a pipe what shells know the signals
    by, 130 and 141. 1, Python's own after a traceback, is left to the tools that answer with it.
    """
    logging.raiseExceptions = False  # log lines, too, may end in such a pipe, and log.txt has them
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), _OUTPUT)  # else Python, at its end, tries again and tells
        sys.exit(141)
    except OSError as error:
        if error.errno in _NO_ROOM and error.filename is None:  # a write, unlike an open, does not say of which file
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
    """Whether standard output is a pipe that nobody reads."""
    poll = select.poll()
    poll.register(_OUTPUT, 0)
    return bool(poll.poll(0))


def _final_name(path: object) -> str:
    """``path``, or for a temporary file of ``written_atomically`` the path that it would get."""
    return re.sub(r"(^|[/\\])\.([^/\\]+)\.\d+\.tmp$", r"\1\2", str(path))
