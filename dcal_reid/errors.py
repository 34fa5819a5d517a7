"""The one exception that means "your input is wrong", as opposed to "our code is wrong"."""

import sys
from collections.abc import Callable

__all__ = ["InputError", "exit_on_input_error"]


class InputError(ValueError):
    """A config, dataset, image or checkpoint that cannot be used.

    The message is one line: what is wrong, with which value, and what to do about it.
    The command lines in ``tools/`` print it without a traceback.
    """


def exit_on_input_error(function: Callable, *args) -> None:
    """Call a tool's function; a wrong input, or Ctrl-C, ends the program with one line instead of a traceback."""
    try:
        function(*args)
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
