"""What every engine promises, on one small gallery each."""

import itertools

import numpy as np
import pytest
import torch

from dcal_reid.errors import InputError
from dcal_reid.evaluation import FaissGallery, Records
from dcal_reid.evaluation.gallery import check_fingerprint, shown_distances
from dcal_reid.evaluation.milvus import MilvusGallery

pytestmark = pytest.mark.usefixtures("faiss_on_one_thread")

DIM = 8
# For faiss, one index for each way to search only some cameras.
ENGINES = ["Flat", "HNSW16", "SQ8", "milvus"]


def items(count, first=0):
    features = np.random.default_rng(first).standard_normal((count, DIM)).astype(np.float32)
    numbers = np.arange(first, first + count)
    return features, Records(np.char.add(numbers.astype(str), ".jpg"), numbers % 7, np.char.mod("cam%d", numbers % 3))


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """Address of Milvus, which takes seconds to start."""
    return str(tmp_path_factory.mktemp("milvus") / "gallery.db")


@pytest.fixture(params=ENGINES)
def gallery(request, uri):
    """300 items, from "cam0", "cam1" and "cam2"."""
    if request.param == "milvus":
        pytest.importorskip("milvus_lite", reason='needs pip install "dcal_reid[milvus]"')
        made = MilvusGallery.create(uri, "g", DIM, index="FLAT", integers=("identity",), overwrite=True)
    else:
        made = FaissGallery(DIM, factory=request.param)
    made.add(*items(300))
    return made


@pytest.mark.parametrize("cameras", [None, ["cam1"]])
def test_a_search_gives_k_hits_of_each_query_from_the_nearest_on(gallery, cameras):
    features, _ = items(300)
    hits = gallery.search(features[:5], 4, cameras)
    assert (hits.ids.dtype, hits.distances.dtype) == (np.int64, np.float32)
    assert hits.ids.shape == hits.distances.shape == (5, 4) and np.all(np.diff(hits.distances) >= 0)
    allowed = np.arange(300) if cameras is None else np.arange(1, 300, 3)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    nearest = allowed[np.argsort(-unit[:5] @ unit[allowed].T)[:, :4]]
    assert gallery.records(hits.ids.ravel()).paths.tolist() == [f"{i}.jpg" for i in nearest.ravel()]
    np.testing.assert_allclose(hits.distances, 1 - np.einsum("qd,qkd->qk", unit[:5], unit[nearest]), atol=0.02)


def test_features_of_any_kind(gallery):
    features, _ = items(9, first=300)
    cameras = gallery.cameras
    expected = gallery.search(features, 3, cameras)
    for number, given in enumerate([
        torch.tensor(features, requires_grad=True), torch.tensor(features).bfloat16(), 1e25 * features.astype(float),
    ]):  # fmt: skip
        np.testing.assert_allclose(gallery.search(given, 3, cameras).distances, expected.distances, atol=0.01)
        (added,) = gallery.add(given[:1], Records([f"new{number}.jpg"], [0], [f"new{number}"]))
        assert gallery.search(features[:1], 1, [f"new{number}"]).ids.tolist() == [[added]]


def test_nothing_is_asked_for_and_nothing_is_changed(gallery):
    nothing = np.empty((0, DIM))
    for cameras in (None, ["cam1"]):
        hits = gallery.search(nothing, 3, cameras)
        assert hits.ids.shape == hits.distances.shape == (0, 3)
    assert len(gallery.add(nothing, Records([], [], []))) == 0
    gallery.remove([])
    assert len(gallery) == 300 and len(gallery.records([])) == 0
    assert (gallery.search(items(1)[0], 2, []).ids == -1).all()


def test_an_id_may_be_named_twice(gallery):
    first = gallery.ids[0]
    assert len(set(gallery.records([first, first]).paths)) == 1
    gallery.remove([first, first])
    assert len(gallery) == 299 and first not in gallery.ids


def test_what_is_refused(gallery):
    features, records = items(2)
    for cameras, k in itertools.product((None, ["cam1"]), (0, -1)):
        with pytest.raises(InputError, match=f"at least 1 nearest item must be asked for, not {k}"):
            gallery.search(features, k, cameras)
    for given, message in (
        (features[0], r"must be a matrix, items x dimension, not of shape \(8,\)"),
        (features[:, :3], "features have 3 values, those of the gallery 8"),
        (features * np.nan, "2 of 2 features are NaN or infinite"),
    ):
        for call in (lambda given: gallery.search(given, 1), lambda given: gallery.add(given, records)):
            with pytest.raises(InputError, match=message):
                call(given)
    with pytest.raises(InputError, match="2 features but 1 records; give one record per feature"):
        gallery.add(features, records[:1])
    for call in (gallery.remove, gallery.records):
        with pytest.raises(InputError, match="1 ids are not in the gallery, the first -5"):
            call([gallery.ids[0], -5])
    assert len(gallery) == 300


@pytest.mark.parametrize(("metric", "found", "expected"), [
    ("cosine", [1 + 1e-6, 1, 0.25, 0, -1], [0, 0, 0.75, 1, 2]),
    ("euclidean", [-1e-6, 0, 0.25, 4], [0, 0, 0.5, 2]),
])  # fmt: skip
def test_no_distance_that_rounding_put_below_0_is_shown(metric, found, expected):
    assert shown_distances(np.array(found), metric).tolist() == expected


@pytest.mark.parametrize("has", ["abc", ""])
def test_only_the_model_that_is_wanted_will_do(has):
    check_fingerprint("gallery", has, None)
    check_fingerprint("gallery", has, has)
    with pytest.raises(InputError, match=f"gallery holds features of model {has or 'unknown'}, not of abcd: build it"):
        check_fingerprint("gallery", has, "abcd")
