"""The places of cells. For their content see test_rank_list.py and test_predictions.py, which draw with them."""

import numpy as np
import pytest
from PIL import Image

from dcal_reid.errors import InputError
from dcal_reid.visualize.cells import QUERY, RIGHT, WRONG, Cell, ImageRows


def cell(grey, caption="caption", colour=RIGHT):
    return Cell(np.full((20, 10, 3), grey, dtype=np.uint8), colour, caption)


def rows(number, columns, **options):
    options = {
        "size": (64, 32),
        "caption_lines": 1,
        "legend": {QUERY: "query", RIGHT: "right", WRONG: "wrong"},
    } | options
    return ImageRows(number, columns, **options)


def drawn(picture):
    """(grey, row from above, place from the left in inches) of every image."""
    picture.figure.draw_without_rendering()
    width, _ = picture.figure.get_size_inches()
    found = [
        (int(axes.images[0].get_array()[0, 0, 0]), axes.get_position()) for axes in picture.figure.axes if axes.images
    ]
    heights = sorted({round(box.y0, 3) for _, box in found}, reverse=True)
    return [(grey, heights.index(round(box.y0, 3)), box.x0 * width) for grey, box in found]


def test_rows_are_in_order_and_the_first_image_is_set_apart():
    picture = rows(2, 4)
    picture.draw(1, "second", cell(100), [cell(110)])
    picture.draw(0, "first", cell(10), [cell(20), cell(30), cell(40)])
    found = sorted(drawn(picture))
    assert [(grey, row) for grey, row, _ in found] == [(10, 0), (20, 0), (30, 0), (40, 0), (100, 1), (110, 1)]
    places = [place for *_, place in found]
    gaps = np.diff(places[:4])
    assert gaps[0] > gaps[1] + 0.1 and gaps[1] == pytest.approx(gaps[2], rel=1e-3)
    assert places[4:] == pytest.approx(places[:2])


@pytest.mark.parametrize("columns", [1, 5])
@pytest.mark.parametrize("lines", [1, 3])
def test_few_columns_leave_room_for_legend_and_captions(assert_legible, columns, lines):
    picture = rows(2, columns, caption_lines=lines, note="a note beside the legend")
    caption = "\n".join(["a caption"] * lines)
    for row in range(2):
        picture.draw(row, "a title", cell(0, caption), [cell(0, caption)] * (columns - 1))
    picture.figure.draw_without_rendering()
    assert_legible(picture.figure)


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (48, 48)])
def test_images_of_any_kind_take_the_shape_that_was_asked_for(tmp_path, size):
    path = tmp_path / "grey.png"
    Image.new("L", (9, 200), 70).save(path)
    picture = rows(1, 3, size=size)
    picture.draw(0, "title", Cell(path, QUERY, ""), [cell(70), Cell(Image.new("RGBA", (5, 5), (70,) * 3), WRONG, "")])
    shapes = {axes.images[0].get_array().shape for axes in picture.figure.axes if axes.images}
    [(height, width, channels)] = shapes
    assert height / width == size[0] / size[1] and channels == 3
    assert {grey for grey, *_ in drawn(picture)} == {70}


def test_a_broken_image_is_named(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"text")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        rows(1, 2).draw(0, "title", Cell(broken, QUERY, ""), [])
