import numpy as np
import pytest

from dcal_reid.errors import InputError
from dcal_reid.evaluation import FaissGallery, Records
from dcal_reid.search import look_up

RNG = np.random.default_rng(0)
CAMERAS = np.array([f"cam{number}" for number in RNG.choice(4, 500, p=[0.7, 0.2, 0.09, 0.01])])
FEATURES = RNG.standard_normal((500, 12)).astype(np.float32)
QUERIES = RNG.standard_normal((6, 12)).astype(np.float32)


@pytest.fixture
def gallery():
    paths = [f"{number}.jpg" for number in range(500)]
    return FaissGallery.build(FEATURES, Records(paths, np.arange(500) % 50, CAMERAS))


def nearest(query, allowed, k):
    features, allowed = FEATURES[allowed], np.flatnonzero(allowed)
    cosine = features @ query / np.linalg.norm(features, axis=1) / np.linalg.norm(query)
    order = np.argsort(-cosine)[:k]
    return allowed[order], 1 - cosine[order]


@pytest.mark.parametrize(("options", "allowed"), [
    ({}, np.full(500, True)),
    ({"exclude_cameras": ["cam0"]}, CAMERAS != "cam0"),
    ({"cameras": ["cam3"]}, CAMERAS == "cam3"),
    ({"cameras": ["cam1", "cam2"], "exclude_cameras": ["cam2"]}, CAMERAS == "cam1"),
])  # fmt: skip
def test_k_items_remain_in_the_cameras_that_count(gallery, options, allowed):
    found = look_up(gallery, [f"q{i}" for i in range(6)], QUERIES, 7, **options)
    assert [one.query for one in found] == [f"q{i}" for i in range(6)]
    expected_length = min(7, np.count_nonzero(allowed))
    for query, one in zip(QUERIES, found, strict=True):
        ids, distances = nearest(query / np.linalg.norm(query), allowed, 7)
        assert one.ids.tolist() == ids.tolist() and len(one.ids) == expected_length
        np.testing.assert_allclose(one.distances, distances, atol=1e-5)
        assert one.records.cameras.tolist() == CAMERAS[ids].tolist()
        assert one.records.identities.tolist() == (ids % 50).tolist()


def test_an_index_that_finds_no_more_ends_the_search():
    """One inverted list of many is searched, so most items are never found."""
    records = Records(np.arange(500).astype(str), np.zeros(500, dtype=int), CAMERAS)
    gallery = FaissGallery.build(FEATURES, records, factory="IVF10,Flat", search="nprobe=1")
    found = look_up(gallery, ["q"], QUERIES[:1], 100, cameras=["cam1"])[0]
    assert 0 < len(found.ids) < 100 and set(found.records.cameras.tolist()) == {"cam1"}


def test_more_than_there_is(gallery):
    assert len(look_up(gallery, ["q"], QUERIES[:1], 1000)[0].ids) == 500


def test_what_cannot_be_searched(gallery):
    for options, message in [
        ({"cameras": ["cam9"]}, "the gallery has no camera 'cam9'; its cameras are 'cam0', 'cam1', 'cam2', 'cam3'"),
        ({"exclude_cameras": ["1"]}, "the gallery has no camera '1'"),
        ({"cameras": ["cam1"], "exclude_cameras": ["cam1"]}, "no camera remains"),
    ]:
        with pytest.raises(InputError, match=message):
            look_up(gallery, ["q"], QUERIES[:1], 5, **options)
    with pytest.raises(InputError, match="the gallery is empty"):
        look_up(FaissGallery(12), ["q"], QUERIES[:1], 5)
    unknown = FaissGallery.build(FEATURES, Records(np.arange(500).astype(str), [-1] * 500, [-1] * 500))
    with pytest.raises(InputError, match="does not know its cameras"):
        look_up(unknown, ["q"], QUERIES[:1], 5, exclude_cameras=["cam0"])


def test_cameras_that_are_numbers():
    gallery = FaissGallery.build(FEATURES, Records(np.arange(500).astype(str), np.arange(500), np.arange(500) % 2))
    found = look_up(gallery, ["q"], QUERIES[:1], 5, exclude_cameras=["0"])[0]
    assert (found.ids % 2 == 1).all() and len(found.ids) == 5
