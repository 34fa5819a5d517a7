"""The one exception that means "your input is wrong", as opposed to "our code is wrong"."""

__all__ = ["InputError"]


class InputError(ValueError):
    """A config, dataset, image or checkpoint that cannot be used.

    The message is one line: what is wrong, with which value, and what to do about it.
    The command lines in ``tools/`` print it without a traceback.
    """
