import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal_reid.data.demo_figures import CAMERAS, CHOICES, Marks, render

PLAIN = Marks(*(choices[0] for choices in CHOICES))


def pixels(marks, camera=CAMERAS[0], seed=3, **options):
    return np.asarray(render(marks, camera, np.random.default_rng(seed), **options), dtype=float)


@pytest.mark.parametrize("name", Marks._fields)
def test_every_choice_of_a_mark_can_be_seen(name):
    """Over one scene, each choice looks unlike all the others, in a small part of the image."""
    images = [pixels(PLAIN._replace(**{name: choice})) for choice in getattr(CHOICES, name)]
    for number, image in enumerate(images):
        for other in images[:number]:
            differing = np.abs(image - other).max(axis=2) > 20
            assert 5 <= differing.sum() < 0.1 * differing.size


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), camera=st.sampled_from(CAMERAS))
def test_the_generator_decides_every_pixel(seed, camera):
    image = pixels(PLAIN, camera, seed)
    assert image.shape == (128, 64, 3)
    assert np.array_equal(image, pixels(PLAIN, camera, seed))
    assert (image != pixels(PLAIN, camera, seed + 1)).mean() > 0.5


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.background)
def test_a_bad_detection_shows_less_of_the_marks(camera):
    """Two people who differ in every mark differ in fewer pixels of such a detection."""
    other = Marks(*(choices[-1] for choices in CHOICES))
    shares = []
    for cut_off in (False, True):
        pairs = [[pixels(marks, camera, seed, cut_off=cut_off) for marks in (PLAIN, other)] for seed in range(10)]
        shares.append(np.mean([(np.abs(one - two).max(axis=2) > 20).mean() for one, two in pairs]))
    assert 0 < shares[1] < 0.8 * shares[0]
