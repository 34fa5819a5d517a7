"""Names of files, which need not be UTF-8."""

from collections.abc import Iterable

from .errors import InputError

__all__ = ["check_utf8", "printable"]


def check_utf8(paths: Iterable[str], keeper: str, cure: str) -> None:
    """For what can keep no other text.

    Raises:
        InputError: a path that is not UTF-8.
    """
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise InputError(f"{keeper} holds UTF-8 only, which {str(path)!r} is not; {cure}") from None


def printable(text: str) -> str:
    """A text that can be shown everywhere: "?" for what is not UTF-8 in the name of a file."""
    return text.encode("utf-8", "replace").decode()
