import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal_reid.data.demo_fgvc_figures import COLOURS, FAMILIES, SPECIES, render


def test_names_are_unique_and_say_what_the_mark_is():
    assert len({species.name for species in SPECIES}) == len(SPECIES) == 20
    assert {"red-billed finch", "yellow-ringed warbler"} < {species.name for species in SPECIES}
    assert {species.colour for species in SPECIES} == COLOURS.keys()


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), first=st.sampled_from(SPECIES), second=st.sampled_from(SPECIES))
def test_classes_differ_in_a_small_part_alone(seed, first, second):
    # The same generator gives the same pose, body, background, light and noise: only the mark differs.
    images = [render(species, np.random.default_rng(seed)) for species in (first, second)]
    difference = np.abs(np.subtract(*(np.asarray(image, dtype=float) for image in images))).max(axis=2)
    share = (difference > 8).mean()
    assert share == 0 if first == second else 0 < share < 0.06


def test_members_of_a_family_are_close():
    """Over one scene, two members differ at one place; members of two families at two."""

    def extent(first, second):
        images = [np.asarray(render(species, np.random.default_rng(3)), dtype=float) for species in (first, second)]
        rows, columns = np.nonzero(np.abs(np.subtract(*images)).max(axis=2) > 20)
        return max(np.ptp(rows), np.ptp(columns))

    families = [[species for species in SPECIES if species.family == family] for family in FAMILIES]
    assert max(extent(family[0], family[-1]) for family in families) < 30
    assert extent(families[3][0], families[4][0]) > 40  # tail and bill


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mark_has_its_colour(family):
    """Over one scene, the pixels in which two colours of a mark differ are nearer to the named colour."""
    members = [species for species in SPECIES if species.family == family]
    one, other = members[0], next(species for species in members[1:] if species.mark == members[0].mark)
    images = [np.asarray(render(species, np.random.default_rng(5)), dtype=float) for species in (one, other)]
    differing = np.abs(np.subtract(*images)).max(axis=2) > 60
    assert differing.sum() >= 3
    colours = np.array([COLOURS[species.colour] for species in (one, other)], dtype=float)
    for number, image in enumerate(images):
        distances = np.linalg.norm(image[differing].mean(axis=0) - colours, axis=1)
        assert distances.argmin() == number


def test_the_generator_decides_every_pixel():
    one, same, other = (np.asarray(render(SPECIES[0], np.random.default_rng(seed))) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and (one != other).mean() > 0.5
