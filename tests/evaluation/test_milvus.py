import sys

import numpy as np
import pytest

from dcal_reid.errors import InputError
from dcal_reid.evaluation import FaissGallery, Records, milvus
from dcal_reid.evaluation.milvus import MilvusGallery

pytest.importorskip("pymilvus", reason='needs pip install "dcal_reid[milvus]"')
pytest.importorskip("milvus_lite", reason='needs pip install "dcal_reid[milvus]"')


def items(count, dim=32, seed=0, text=True):
    rng = np.random.default_rng(seed)
    paths = np.array([f"{seed}/{number}.jpg" for number in range(count)])
    identities, cameras = rng.integers(0, 50, count), rng.integers(0, 4, count)
    if text:
        identities, cameras = identities.astype(str), np.char.add("cam", cameras.astype(str))
    return rng.normal(size=(count, dim)).astype(np.float32), Records(paths, identities, cameras)


@pytest.fixture
def uri(tmp_path):
    return str(tmp_path / "gallery.db")


@pytest.fixture
def gallery(uri):
    gallery = MilvusGallery.create(uri, "g", 32, index="FLAT", fingerprint="abc")
    gallery.add(*items(60))
    return gallery


def test_without_pymilvus(uri, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    for call in (MilvusGallery.create, MilvusGallery.open):
        with pytest.raises(InputError, match=r'need pymilvus; pip install "dcal_reid\[milvus\]"'):
            call(uri, "g", 32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_finds_what_faiss_finds(uri, metric):
    features, records = items(10_000, dim=64)
    exact = FaissGallery.build(features, records, metric=metric)
    gallery = MilvusGallery.create(uri, "g", 64, metric=metric, index="FLAT")
    ids = gallery.add(features, records)
    assert len(gallery) == 10_000 and np.array_equal(gallery.ids, np.sort(ids))
    queries = np.random.default_rng(9).normal(size=(20, 64)).astype(np.float32)
    expected = exact.search(queries, 10)
    found = gallery.search(queries, 10)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-4, atol=1e-5)
    for found_ids, expected_ids in zip(found.ids, expected.ids, strict=True):
        assert gallery.records(found_ids).paths.tolist() == exact.records(expected_ids).paths.tolist()

    in_two = ["cam1", "cam3"]
    expected, found = (one.search(queries, 10, in_two) for one in (exact, gallery))
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-4, atol=1e-5)
    assert set(gallery.records(found.ids.ravel()).cameras) == set(in_two)


def test_items_come_and_go(gallery, uri):
    features, records = items(60)
    ids = gallery.ids
    assert gallery.records(ids).paths.tolist() != [] and gallery.cameras == [f"cam{number}" for number in range(4)]
    again = MilvusGallery(uri, "g")
    again.add(*items(5, seed=1))
    assert len(again) == 65 == len(gallery)
    gallery.add(features, records)  # the same paths: no item is duplicated
    assert len(gallery) == 65
    nearest = gallery.search(features[:3], 1).ids[:, 0]
    assert gallery.records(nearest).paths.tolist() == records.paths[:3].tolist()
    gallery.remove(nearest)
    assert len(gallery) == 62 and not set(nearest) & set(gallery.search(features[:3], 62).ids.ravel())
    with pytest.raises(InputError, match="3 ids are not in the gallery"):
        gallery.remove(nearest)


def test_requests_of_any_size_give_the_same(gallery, monkeypatch):
    features, records = items(60)
    ids, hits = gallery.ids, gallery.search(features, 5)
    monkeypatch.setattr(milvus, "_BATCH", 7)
    again = gallery.search(features, 5)
    assert np.array_equal(again.ids, hits.ids)
    np.testing.assert_allclose(again.distances, hits.distances, atol=1e-5)
    found = gallery.add(features, records)
    assert sorted(found) == ids.tolist() and gallery.records(found).paths.tolist() == records.paths.tolist()
    gallery.remove(found[:30])
    assert gallery.ids.tolist() == sorted(found[30:])
    gallery.add(features[:30], records[:30])
    assert gallery.ids.tolist() == ids.tolist()


def test_more_items_than_milvus_gives_for_a_query(gallery, monkeypatch):
    monkeypatch.setattr(milvus, "_MOST", 9)
    ids = gallery.search(np.ones((1, 32)), 20).ids
    assert (ids[0, :9] >= 0).all() and (ids[0, 9:] == -1).all()


def test_fewer_items_than_asked_for(gallery):
    hits = gallery.search(np.ones((2, 32)), 70)
    assert hits.ids.shape == (2, 70) and (hits.ids[:, 60:] == -1).all() and np.isinf(hits.distances[:, 60:]).all()
    assert np.all(np.diff(hits.distances[0, :60]) >= 0)


def test_integers_stay_integers(uri):
    features, records = items(7, text=False)
    gallery = MilvusGallery.create(uri, "numbers", 32, integers=("identity", "camera"))
    ids = gallery.add(features, records)
    back = gallery.records(ids)
    assert np.array_equal(back.identities, records.identities) and np.array_equal(back.cameras, records.cameras)
    with pytest.raises(InputError, match="not both text or both integers"):
        gallery.add(*items(3, seed=2))


def test_of_another_model_or_of_nobody(gallery, uri):
    assert MilvusGallery.open(uri, "g", "abc").fingerprint == "abc"
    with pytest.raises(InputError, match="holds features of model abc, not of other"):
        MilvusGallery.open(uri, "g", "other")
    with pytest.raises(InputError, match=r"there is no gallery 'h' at .*; its galleries are \['g'\]"):
        MilvusGallery(uri, "h")
    with pytest.raises(InputError, match="features have 16 values, those of the gallery 32"):
        gallery.search(np.ones((1, 16)), 1)
    with pytest.raises(InputError, match="NaN or infinite"):
        gallery.search(np.full((1, 32), np.nan), 1)
    with pytest.raises(InputError, match="in a folder that does not exist"):
        MilvusGallery("nowhere/gallery.db", "g")
    with pytest.raises(InputError, match="unknown metric 'angle'"):
        MilvusGallery.create(uri, "k", 4, metric="angle")


def test_a_camera_with_quotes_is_no_expression(uri):
    features, records = items(4)
    hostile = Records(records.paths, records.identities, ['"] or true', "a", "b", "c"])
    gallery = MilvusGallery.create(uri, "g", 32)
    gallery.add(features, hostile)
    found = gallery.search(features[:1], 4, ['"] or true'])
    assert gallery.records(found.ids[0, :1]).cameras.tolist() == ['"] or true'] and (found.ids[0, 1:] == -1).all()
    assert (gallery.search(features[:1], 4, ['x"] or id > 0 or camera in ["']).ids == -1).all()


@pytest.mark.parametrize("camera", ["caméra", "日本", "c\\d", " x ", "it's"])
def test_a_camera_in_any_letters(uri, camera):
    features, records = items(3)
    gallery = MilvusGallery.create(uri, "g", 32)
    gallery.add(features, Records(records.paths, records.identities, [camera, "a", "b"]))
    found = gallery.search(features[:1], 3, [camera])
    assert gallery.records(found.ids[0, :1]).cameras.tolist() == [camera] and (found.ids[0, 1:] == -1).all()


def test_names_that_are_not_utf8_are_refused(gallery):
    features, records = items(1)
    with pytest.raises(InputError, match=r"Milvus holds UTF-8 only, which .*udcff.* is not"):
        gallery.add(features, Records(["\udcff.jpg"], records.identities, records.cameras))


def test_only_a_finished_one_stands_in_the_way(gallery, uri):
    options = {"metric": "cosine", "index": "FLAT", "fingerprint": "abc", "overwrite": False}
    MilvusGallery.check_free(uri, "g", **options)
    for other, message in (
        ({"fingerprint": "other"}, "whose upload was interrupted, holds features of model abc"),
        ({"metric": "euclidean"}, "whose upload was interrupted, has metric cosine, not euclidean; give the same"),
        ({"index": "HNSW"}, "whose upload was interrupted, has index FLAT, not HNSW; give the same"),
    ):
        with pytest.raises(InputError, match=message):
            MilvusGallery.check_free(uri, "g", **options | other)
        with pytest.raises(InputError, match=message):
            MilvusGallery.create(uri, "g", 32, **options | other)
    gallery.finish()
    with pytest.raises(InputError, match=r"gallery 'g' exists at .*; --add adds to it"):
        MilvusGallery.check_free(uri, "g", **options)
    MilvusGallery.check_free(uri, "g", **options | {"overwrite": True})
    assert len(MilvusGallery(uri, "g")) == 60  # it is only checked
    assert len(MilvusGallery.create(uri, "g", 16, overwrite=True)) == 0


def test_one_whose_upload_was_interrupted_is_warned_of(gallery, uri, caplog):
    MilvusGallery.open(uri, "g", "abc")
    assert "gallery 'g' at" in caplog.text and "is incomplete" in caplog.text and "it has 60 images" in caplog.text
    caplog.clear()
    gallery.finish()
    MilvusGallery.open(uri, "g", "abc")
    assert not caplog.text
