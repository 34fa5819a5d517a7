"""Against plain loops, on splits of a few images that share files, identities and cameras."""

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal_reid.data.check.files import ImageFile
from dcal_reid.data.check.statistics import (
    Image,
    Spread,
    contradictions,
    identical_across,
    leaked,
    measure_split,
)

DISTRACTOR = 0
# By path: two contents in two files each, two broken files of which one cannot be read, and one unique file.
FILES = {
    "a1": ImageFile((10, 20), b"a", ""),
    "a2": ImageFile((10, 20), b"a", ""),
    "b1": ImageFile((30, 20), b"b", ""),
    "b2": ImageFile((30, 20), b"b", ""),
    "c": ImageFile((20, 80), b"c", ""),
    "broken": ImageFile(None, b"d", "image 'broken' is empty"),
    "gone": ImageFile(None, b"", "image 'gone' cannot be read"),
    "gone too": ImageFile(None, b"", "image 'gone too' cannot be read"),
}
items = st.builds(Image, st.sampled_from(sorted(FILES)), st.integers(0, 2), st.integers(0, 2))
splits = st.lists(items, max_size=8, unique_by=lambda image: image.path)


@settings(max_examples=40)
@given(splits)
def test_figures_of_a_split(images):
    found = measure_split(images, FILES, distractor=DISTRACTOR, has_cameras=True)
    people = {image.identity for image in images if image.identity != DISTRACTOR}
    of_one = [[image for image in images if image.identity == one] for one in people]
    sound = [FILES[image.path] for image in images if "o" not in image.path]
    assert (found.images, found.identities) == (len(images), len(people))
    assert found.distractors == sum(image.identity == DISTRACTOR for image in images)
    assert found.cameras == len({image.camera for image in images})
    assert found.one_camera_identities == sum(len({image.camera for image in same}) == 1 for same in of_one)
    assert found.broken == {i.path: FILES[i.path].error for i in images if i.path in ("broken", "gone", "gone too")}
    assert found.identical_files == sum(pair <= {i.path for i in images} for pair in ({"a1", "a2"}, {"b1", "b2"}))
    for spread, values in (
        (found.images_per_identity, [len(same) for same in of_one]),
        (found.width, [file.size[0] for file in sound]),
        (found.height, [file.size[1] for file in sound]),
    ):
        assert spread == ((min(values), statistics.median(values), max(values)) if values else None)


def test_nothing_is_said_of_cameras_that_are_not_known():
    images = [Image("a1", 1, 0), Image("b1", 1, 1)]
    found = measure_split(images, FILES, distractor=None, has_cameras=False)
    assert found.cameras is found.one_camera_identities is None


@settings(max_examples=40)
@given(splits)
def test_contradictions_are_with_the_first_of_the_same_content(images):
    expected = []
    for number, image in enumerate(images):
        same = [one for one in images[: number + 1] if FILES[one.path].digest == FILES[image.path].digest != b""]
        if same and same[0].identity != image.identity:
            expected.append((same[0].path, image.path))
    assert contradictions(images, FILES) == expected


@pytest.mark.parametrize("name", ["train", "query"])
@settings(max_examples=40)
@given(images=splits, others=splits)
def test_copies_in_another_split(name, images, others):
    """A copy of a query with the same identity and camera does no harm, because it is junk."""
    copies = {
        other.path
        for other in others
        for image in images
        if FILES[other.path].digest == FILES[image.path].digest != b""
        and other.path != image.path
        and (name == "train" or (other.identity, other.camera) != (image.identity, image.camera))
    }
    sentence = identical_across((name, images), ("gallery", others), FILES)
    if copies:
        assert sentence.startswith(f"identical files in {name} and gallery: {len(copies)}: ")
        assert all(f"{path} = " in sentence for path in copies) or len(copies) > 3
    else:
        assert sentence is None


@settings(max_examples=40)
@given(splits, splits)
def test_identities_in_training_and_in_test(train, test):
    both = {image.identity for image in train} & {image.identity for image in test} - {DISTRACTOR}
    assert leaked(train, test, DISTRACTOR) == sorted(both)


def test_identities_that_are_numbers_and_texts_can_be_listed():
    images = [Image("a1", identity, 0) for identity in (7, "car", 12)]
    assert leaked(images, images, None) == [12, 7, "car"]


@pytest.mark.parametrize(
    ("values", "text"), [([7], "7 / 7 / 7"), ([4, 1, 2, 1], "1 / 1.5 / 4"), ([1234, 1, 30_000], "1 / 1,234 / 30,000")]
)
def test_a_spread_is_shown_in_full(values, text):
    assert str(Spread.of(values)) == text
