"""Writing a picture in which a text is what it says."""

from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from ..evaluation.plot import save_figure
from ..text import printable

__all__ = ["DPI", "save_picture"]

DPI = 120  # pixels per inch of a picture

# Matplotlib's own font has no Chinese, Japanese or Korean. These have, on Linux, Windows and macOS.
_FONTS_WITH_MORE = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei", "Droid Sans Fallback",
    "Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS",
)  # fmt: skip


def save_picture(figure: Figure, path: str | Path) -> None:
    """``save_figure`` without formulas: the "$" in names of classes and files stays a "$".

    What is not UTF-8 in the name of a file cannot be drawn, and is a "?". Letters that are not in Matplotlib's font
    come from another that is installed.
    """
    installed = font_manager.get_font_names()
    more = [name for name in _FONTS_WITH_MORE if name in installed]
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))
        text.set_fontfamily([*text.get_fontfamily(), *more])
    save_figure(figure, path)
