"""The one exception that means "your input is wrong", as opposed to "our code is wrong"."""

import errno
import re
import sys
from collections.abc import Callable

__all__ = ["InputError", "exit_on_input_error"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class InputError(ValueError):
    """A config, dataset, image or checkpoint that cannot be used.

    The message is one line: what is wrong, with which value, and what to do about it.
    The command lines in ``tools/`` print it without a traceback.
    """


def exit_on_input_error(function: Callable, *args) -> None:
    """Call a tool's function; a wrong input, a file that the system refuses, a full disk or Ctrl-C ends the program
    with one line instead of a traceback."""
    try:
        function(*args)
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno in _NO_ROOM and error.filename is None:  # a write, unlike an open, does not say of which file
            sys.exit(f"error: a file cannot be written: {error.strerror}; make room, and give the command again")
        if error.errno is None or error.filename is None:
            raise
        sys.exit(f"error: {_final_name(error.filename)!r} cannot be written or read: {error.strerror}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _final_name(path: object) -> str:
    """Of a temporary file of ``written_atomically``, the name that it would get."""
    return re.sub(r"(^|[/\\])\.([^/\\]+)\.\d+\.tmp$", r"\1\2", str(path))
