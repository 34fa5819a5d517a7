from itertools import combinations

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were written, so that a test can look at their parts."""
    figures = []
    write = Figure.savefig

    def savefig(figure, *args, **kwargs):
        figures.append(figure)
        return write(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


@pytest.fixture
def assert_legible():
    """Every title, label and caption lies inside the figure, and no two overlap."""

    def check(figure):
        texts = [figure._suptitle] if figure._suptitle else []
        for axes in figure.axes:
            texts += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
            texts += axes.get_legend().get_texts() if axes.get_legend() else []
        boxes = {text: text.get_window_extent() for text in texts if text.get_text()}
        assert boxes
        for text, box in boxes.items():
            assert box.x0 >= 0 and box.y0 >= 0, text
            assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text
        for one, other in combinations(boxes, 2):
            assert not boxes[one].overlaps(boxes[other]), (one, other)

    return check
