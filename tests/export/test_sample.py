from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dcal_reid.errors import InputError
from dcal_reid.export.sample import check_images


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Empty files, because they are not opened."""
    folder = tmp_path_factory.mktemp("many")
    paths = [folder / f"{number}.jpg" for number in range(450)]
    for path in paths:
        path.touch()
    return list(map(str, paths))


@given(count=st.integers(1, 450))
@example(count=200)
@example(count=201)
@settings(max_examples=30)
def test_files_are_spread_evenly(files, count):
    found = check_images(None, files[:count])
    places = [files.index(path) for path in found]
    assert len(places) == min(count, 200) and places[0] == 0 and places[-1] == count - 1
    steps = np.diff(places)
    assert count == 1 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


def test_files_and_folders_in_the_order_given(tmp_path):
    for name in ("b/10.png", "b/2.png", "b/inner/1.JPG", "b/notes.txt", "a.png", "c/.hidden.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = check_images(None, [str(tmp_path / "b"), str(tmp_path / "a.png")])
    assert found == [str(tmp_path / name) for name in ("b/2.png", "b/10.png", "b/inner/1.JPG", "a.png")]
    for nothing in ("c", "none.png"):
        with pytest.raises(
            InputError, match=rf"--images '.*{nothing}' is neither an image file nor a folder with any below"
        ):
            check_images(None, [str(tmp_path / "a.png"), str(tmp_path / nothing)])


@pytest.mark.parametrize("size", [(64, 32), (1, 1)])
def test_generated_images_have_many_sizes_and_are_always_the_same(size):
    images, again = (check_images(SimpleNamespace(image_size=size), []) for _ in range(2))
    assert len(images) == 16 and all(np.array_equal(one, two) for one, two in zip(images, again, strict=True))
    for image in images:
        assert image.dtype == np.uint8 and image.shape[2] == 3
        for side, wanted in zip(image.shape, size, strict=False):
            assert max(1, int(0.7 * wanted)) <= side <= 2.5 * wanted
    if size == (64, 32):
        assert len({image.shape for image in images}) > 10 and min(image.std() for image in images) > 20
