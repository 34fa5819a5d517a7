"""Write pictures in which text is drawn literally."""

from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from ..evaluation.plot import save_figure
from ..text import printable

__all__ = ["DPI", "save_picture"]

DPI = 120  # pixels per inch of a picture

# Matplotlib's own font has no Chinese, Japanese or Korean. These fonts for Linux, Windows and macOS do.
_FONTS_WITH_MORE = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei", "Droid Sans Fallback",
    "Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS",
)  # fmt: skip


def save_picture(figure: Figure, path: str | Path) -> None:
    """``save_figure`` without formulas: a "$" in the name of a class or file stays a "$".

    Parts of a file name that are not UTF-8 cannot be drawn, and become a "?". Characters that Matplotlib's font lacks
    come from another installed font.
    """
    installed = font_manager.get_font_names()
    more = [name for name in _FONTS_WITH_MORE if name in installed]
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))
        text.set_fontfamily([*text.get_fontfamily(), *more])
    save_figure(figure, path)
