"""Sorting and displaying text, and file names, which need not be UTF-8."""

import re
from collections.abc import Iterable

from .errors import InputError

__all__ = ["check_utf8", "first_few", "natural_key", "printable", "shortened"]


def natural_key(text: str) -> tuple:
    """Sort key that treats digits as numbers: "c2" before "c10". A total order: equal keys mean equal strings."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)], text


def first_few(items: Iterable[object], number: int = 3) -> str:
    """The first items in printable form, with dots if there are more, for error and log messages."""
    items = list(items)
    return ", ".join(printable(str(item)) for item in items[:number]) + (", ..." if len(items) > number else "")


def shortened(text: str, length: int) -> str:
    """``text`` cut to at most ``length`` characters, the last of which is an ellipsis if it was longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def printable(text: str) -> str:
    """``text`` in a form that can be printed anywhere: bytes of a file name that are not UTF-8 become "?"."""
    return text.encode("utf-8", "replace").decode()


def check_utf8(paths: Iterable[str], keeper: str, cure: str) -> None:
    """Refuse paths that are not UTF-8, for a ``keeper`` that can store nothing else.

    Raises:
        InputError: a path is not UTF-8; ``cure`` says what to do about it.
    """
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise InputError(f"{keeper} holds UTF-8 only, which {str(path)!r} is not; {cure}") from None
