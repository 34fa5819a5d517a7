"""Texts: how they are ordered and shown, and names of files, which need not be UTF-8."""

import re
from collections.abc import Iterable

from .errors import InputError

__all__ = ["check_utf8", "first_few", "natural_key", "printable", "shortened"]


def natural_key(text: str) -> tuple:
    """Sort key that takes digits as numbers: "c2" before "c10". A total order: equal keys mean equal texts."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)], text


def first_few(items: Iterable[object], number: int = 3) -> str:
    """For messages, those of the log too: the first items, as they can be shown, and dots if there are more."""
    items = list(items)
    return ", ".join(printable(str(item)) for item in items[:number]) + (", ..." if len(items) > number else "")


def shortened(text: str, length: int) -> str:
    """At most ``length`` characters, of which the last is an ellipsis if there were more."""
    return text if len(text) <= length else text[: length - 1] + "…"


def printable(text: str) -> str:
    """A text that can be shown everywhere: "?" for what is not UTF-8 in the name of a file."""
    return text.encode("utf-8", "replace").decode()


def check_utf8(paths: Iterable[str], keeper: str, cure: str) -> None:
    """Refuse paths that are not UTF-8, for a ``keeper`` that can hold no other text.

    Raises:
        InputError: such a path; ``cure`` says what to do about it.
    """
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise InputError(f"{keeper} holds UTF-8 only, which {str(path)!r} is not; {cure}") from None
