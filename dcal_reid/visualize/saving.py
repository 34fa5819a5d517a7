"""Writing a picture in which a text is what it says."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from ..evaluation.plot import save_figure
from ..names import printable

__all__ = ["save_picture"]


def save_picture(figure: Figure, path: str | Path) -> None:
    """``save_figure`` without formulas: the "$" in names of classes and files stays a "$".

    What is not UTF-8 in the name of a file cannot be drawn, and is a "?".
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))
    save_figure(figure, path)
