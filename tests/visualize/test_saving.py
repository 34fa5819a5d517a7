import warnings

import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from dcal_reid.visualize.saving import save_picture


@pytest.fixture
def figure():
    figure = Figure()
    figure.text(0, 0.5, "cost $5 and $6, 车")
    return figure


def test_letters_that_the_font_has_not_come_from_one_that_is_installed(figure, tmp_path, monkeypatch):
    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["DejaVu Sans", "SimHei"])
    with warnings.catch_warnings():  # it is not installed
        warnings.simplefilter("ignore")
        save_picture(figure, tmp_path / "a.png")
    assert figure.texts[0].get_fontfamily() == ["sans-serif", "SimHei"]
    assert (tmp_path / "a.png").stat().st_size


@pytest.mark.filterwarnings("ignore:Glyph")
def test_without_such_a_font_the_picture_is_still_drawn(figure, tmp_path, monkeypatch):
    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["DejaVu Sans"])
    save_picture(figure, tmp_path / "a.png")
    assert figure.texts[0].get_fontfamily() == ["sans-serif"]
    assert figure.texts[0].get_text() == "cost $5 and $6, 车" and not figure.texts[0].get_parse_math()
