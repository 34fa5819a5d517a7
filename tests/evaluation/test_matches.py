import numpy as np
import pytest
import torch

from dcal_reid.errors import InputError
from dcal_reid.evaluation.matches import find_matches


def test_positives_and_junk_of_each_query():
    matches = find_matches([7, 3, 9], [3, 7, 3, 7, 5], [0, 1, 0], [1, 0, 2, 1, 0])
    assert matches.start.tolist() == [0, 2, 4, 4]
    assert matches.gallery.tolist() == [1, 3, 0, 2]
    assert matches.junk.tolist() == [True, False, True, False]
    assert matches.query.tolist() == [0, 0, 1, 1]
    assert matches.count(~matches.junk).tolist() == [1, 1, 0]
    assert matches.num_cameras == 3
    assert find_matches([7], [7], [5], [1]).num_cameras == 2


def test_gallery_positions_of_a_query_ascend():
    query, gallery = (np.random.default_rng(0).integers(0, 3, size) for size in (5, 2000))
    matches = find_matches(query, gallery)
    for i, pid in enumerate(query):
        assert np.array_equal(matches.of_queries(slice(i, i + 1))[1], np.flatnonzero(gallery == pid))


def test_without_cameras_nothing_is_junk():
    matches = find_matches([1, 2], [2, 1, 1])
    assert not matches.junk.any()
    assert matches.num_cameras == 0


@pytest.mark.parametrize("convert", [
    lambda ids: np.array(ids, dtype=np.int8),
    lambda ids: np.array(ids, dtype=np.int32),
    lambda ids: np.array(ids, dtype=np.uint64),
    lambda ids: np.array(ids, dtype=np.float64),
    lambda ids: np.array([f"id{i}" for i in ids]),
    lambda ids: [f"id{i}" for i in ids],
    lambda ids: np.array([f"id{i}" for i in ids], dtype=object),
    torch.tensor,
])  # fmt: skip
def test_ids_may_have_any_type(convert):
    query, gallery, cams_q, cams_g = [4, 1, 4], [1, 4, 4, 2], [0, 0, 1], [0, 0, 1, 1]
    expected = find_matches(query, gallery, cams_q, cams_g)
    matches = find_matches(*map(convert, (query, gallery, cams_q, cams_g)))
    assert np.array_equal(matches.start, expected.start)
    assert np.array_equal(matches.gallery, expected.gallery)
    assert np.array_equal(matches.junk, expected.junk)


def test_large_ids_are_not_rounded():
    big = 2**53
    matches = find_matches(np.array([big], dtype=np.int64), np.array([big + 1, big], dtype=np.uint64))
    assert matches.gallery.tolist() == [1]


@pytest.mark.parametrize(("arguments", "message"), [
    (([], [1]), "0 queries, 1 gallery items"),
    (([1], []), "1 queries, 0 gallery items"),
    (([1, 2], [1], [0], [0]), "one camera per item"),
    (([1], [1], [0], None), "one side only"),
    ((["a"], [1]), "text on one side"),
    (([0.5], [1]), "integers or text"),
    (([[1]], [1]), "one label per item"),
])  # fmt: skip
def test_labels_that_cannot_be_used(arguments, message):
    with pytest.raises(InputError, match=message):
        find_matches(*arguments)
