import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.axes import Axes
from PIL import Image

from dcal_reid.errors import InputError
from dcal_reid.visualize import attention
from dcal_reid.visualize.attention import draw_attention

GRID = (8, 4)


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, 64, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(1)
    return {"SA rollout": torch.rand(3, *GRID, generator=generator), "GLCA": torch.rand(3, *GRID, generator=generator)}


@pytest.fixture
def selected():
    return torch.tensor([[0, 1, 4], [31, 30, 29], [9, 17, 2]])


def test_one_row_per_image_one_column_per_map(tmp_path, drawn, images, maps, selected):
    draw_attention(tmp_path / "attention.png", images, maps, selected, row_titles=["a", "b", "c"])
    panels = [axes for axes in drawn[0].axes if axes.images]
    assert len(panels) == 3 * 4
    assert [axes.get_title() for axes in panels[:4]] == ["input", "SA rollout", "GLCA", "selected patches\n(3 of 32)"]
    assert [axes.get_ylabel() for axes in panels[::4]] == ["a", "b", "c"]


def test_without_selection_there_is_no_column_for_it(tmp_path, drawn, images, maps):
    draw_attention(tmp_path / "attention.png", images.numpy(), {"SA": maps["GLCA"].numpy()})
    assert [axes.get_title() for axes in drawn[0].axes if axes.images] == ["input", "SA", "", "", "", ""]


def test_the_scale_is_stated(tmp_path, drawn, images, maps):
    draw_attention(tmp_path / "attention.png", images, maps)
    labels = [axes.get_ylabel() for axes in drawn[0].axes]
    assert "attention, each map divided by its own maximum" in labels


def test_flat_maps_are_told_from_peaked_ones(tmp_path, drawn, images):
    peaked = torch.full((3, *GRID), 1.0)
    peaked[:, 2, 2] = 33.0
    maps = {"flat": torch.full((3, *GRID), 0.03), "peaked": peaked, "none": torch.zeros(3, *GRID)}
    draw_attention(tmp_path / "attention.png", images, maps)
    labels = [axes.get_xlabel() for axes in drawn[0].axes if axes.images]
    # 33 against a mean of (31 + 33) / 32.
    assert labels[1:4] == ["maximum 1.0 x mean", "maximum 16.5 x mean", "maximum 1.0 x mean"]


def test_a_dollar_begins_no_formula(tmp_path, drawn, images, maps):
    draw_attention(tmp_path / "attention.png", images, maps, row_titles=["$5_to_$10", "b", "c"])
    assert drawn[0].axes[0].get_ylabel() == "$5_to_$10"


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (256, 256)])
def test_picture_is_legible(tmp_path, drawn, assert_legible, maps, selected, size):
    images = torch.zeros(3, 3, *size, dtype=torch.uint8)
    titles = [f"identity {number:04d}" for number in range(3)]
    maps["GLCA: attention of the CLS token, averaged over heads"] = maps.pop("GLCA")
    draw_attention(tmp_path / "attention.png", images, maps, selected, row_titles=titles)
    assert_legible(drawn[0])
    with Image.open(tmp_path / "attention.png") as picture:
        assert picture.width > 500 and picture.height > 500


def test_arguments_are_not_changed(tmp_path, images, maps, selected):
    before = images.clone(), {name: values.clone() for name, values in maps.items()}, selected.clone()
    draw_attention(tmp_path / "attention.png", images, maps, selected)
    assert torch.equal(images, before[0]) and torch.equal(selected, before[2])
    assert all(torch.equal(values, before[1][name]) for name, values in maps.items())


def test_small_crops_are_enlarged_and_large_ones_kept():
    assert attention.enlarge(np.zeros((64, 32, 3), np.uint8)).shape == (512, 256, 3)
    assert attention.enlarge(np.zeros((300, 400, 3), np.uint8)).shape == (300, 400, 3)
    assert attention.enlarge(np.zeros((16, 128, 3), np.uint8), longest=1024).shape == (128, 1024, 3)
    assert attention.enlarge(np.zeros((16, 2000, 3), np.uint8), longest=1024).shape == (16, 2000, 3)


def test_heat_map_is_hottest_at_the_patch_with_the_most_attention():
    image = np.zeros((256, 128, 3), np.uint8)
    values = np.full(GRID, 0.1, np.float32)
    values[6, 1] = 1.0
    red, _, blue = np.moveaxis(attention.overlay(image, values).astype(int), 2, 0)
    y, x = np.unravel_index((red - blue).argmax(), red.shape)
    assert (y // 32, x // 32) == (6, 1)


def test_heat_map_is_scaled_to_its_own_maximum():
    image = np.zeros((64, 32, 3), np.uint8)
    values = np.random.default_rng(0).random(GRID, dtype=np.float32)
    np.testing.assert_array_equal(attention.overlay(image, values), attention.overlay(image, values * 2**-10))


def test_a_map_of_zeros_is_cold_everywhere():
    panel = attention.overlay(np.zeros((64, 32, 3), np.uint8), np.zeros(GRID, np.float32))
    assert (panel == panel[0, 0]).all()


def test_selected_patches_keep_their_pixels_and_the_others_are_dark_and_grey():
    image = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    chosen = np.zeros(GRID, dtype=bool)
    chosen[2, 3] = True
    panel = attention._dim(image, chosen)
    inside = np.zeros((64, 32), dtype=bool)
    inside[16:24, 24:32] = True
    np.testing.assert_array_equal(panel[inside], image[inside])
    assert (panel[~inside].max(axis=1) == panel[~inside].min(axis=1)).all()
    assert panel[~inside].max() <= 0.3 * 255


def sides(chosen):
    """Every side of a chosen patch without a chosen neighbour behind it, by its (x, y) ends in units of patches."""
    found = set()
    for y, x in np.argwhere(chosen):
        for dy, dx, ends in (
            (-1, 0, ((x, y), (x + 1, y))),
            (1, 0, ((x, y + 1), (x + 1, y + 1))),
            (0, -1, ((x, y), (x, y + 1))),
            (0, 1, ((x + 1, y), (x + 1, y + 1))),
        ):
            other = (y + dy, x + dx)
            outside = not (0 <= other[0] < chosen.shape[0] and 0 <= other[1] < chosen.shape[1])
            if outside or not chosen[other]:
                found.add(ends)
    return found


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.booleans()))
def test_outline_runs_around_the_selected_patches(chosen):
    class Recorder:
        def add_collection(self, collection):
            self.lines = collection.get_segments()

    axes = Recorder()
    attention._outline(axes, chosen, (16 * chosen.shape[0], 8 * chosen.shape[1]))
    lines = {tuple(tuple(point) for point in (line + 0.5) / (8, 16)) for line in axes.lines}
    assert lines == sides(chosen)
    assert len(axes.lines) == len(lines)


def test_selection_is_outlined_where_it_is(tmp_path, drawn, images, maps):
    draw_attention(tmp_path / "attention.png", images, maps, torch.tensor([[5], [5], [5]]))
    panel: Axes = next(axes for axes in drawn[0].axes if axes.get_title().startswith("selected"))
    corners = np.concatenate(panel.collections[0].get_segments()) + 0.5
    # Patch 5 of a 8 x 4 grid on 512 x 256 pixels is in row 1, column 1.
    assert corners.min(axis=0).tolist() == [64, 64]
    assert corners.max(axis=0).tolist() == [128, 128]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.rand(3, 3, 64, 32)}, "images are float32"),
        ({"images": torch.zeros(3, 64, 32, dtype=torch.uint8)}, "give uint8"),
        ({"images": torch.zeros(0, 3, 64, 32, dtype=torch.uint8)}, "B at least 1"),
        ({"maps": {}}, "no attention map"),
        ({"maps": {"SA": torch.rand(2, *GRID)}}, "'SA' is"),
        ({"maps": {"SA": torch.rand(3, 32)}}, "'SA' is"),
        ({"maps": {"SA": torch.rand(3, *GRID), "GLCA": torch.rand(3, 4, 4)}}, "'GLCA' is"),
        ({"maps": {"SA": -torch.rand(3, *GRID)}}, "'SA' holds negative"),
        ({"maps": {"SA": torch.full((3, *GRID), torch.nan)}}, "NaN"),
        ({"selected": torch.rand(3, 4)}, "give integers"),
        ({"selected": torch.zeros(2, 4, dtype=torch.int64)}, "B = 3"),
        ({"selected": torch.tensor([[0], [32], [1]])}, "selected holds patches 0 to 32; a grid of 8 x 4"),
        ({"selected": torch.tensor([[0], [-1], [1]])}, "selected holds patches -1"),
        ({"row_titles": ["a"]}, "1 row titles for 3 images"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, images, maps, selected, change, message):
    arguments = {"images": images, "maps": maps, "selected": selected} | change
    with pytest.raises(InputError, match=message):
        draw_attention(tmp_path / "attention.png", **arguments)
    assert not (tmp_path / "attention.png").exists()


def test_drawing_libraries_are_imported_only_where_pictures_are_drawn():
    code = (
        "import sys, dcal_reid; assert not {'cv2', 'matplotlib'} & set(sys.modules), 'imported too early';"
        "import dcal_reid.visualize.confusion; assert 'cv2' not in sys.modules, 'imported by every classification';"
        "import dcal_reid.visualize.attention_grid, dcal_reid.visualize.html_report;"
        "assert 'matplotlib.pyplot' not in sys.modules, 'global state'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
