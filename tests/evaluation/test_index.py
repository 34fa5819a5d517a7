import json
import logging
import os
import shutil
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal_reid.errors import InputError
from dcal_reid.evaluation import index
from dcal_reid.evaluation.index import FaissGallery
from dcal_reid.evaluation.recall import exact_nearest
from dcal_reid.evaluation.records import Records, RecordStore
from dcal_reid.evaluation.scaled import ScaledFeatures

pytestmark = pytest.mark.usefixtures("faiss_on_one_thread")

APPROXIMATE = ["IVF16,Flat", "HNSW16", "PQ8x4", "IVF16,PQ8x4", "PCA16,IVF16,Flat"]


def features(count=1500, seed=0):
    rng = np.random.default_rng(seed)
    clustered = rng.standard_normal((30, 32))[rng.integers(0, 30, count)] + rng.standard_normal((count, 32))
    return clustered.astype(np.float32)


def records(count=1500, first=0):
    paths = [f"k\N{LATIN SMALL LETTER U WITH DIAERESIS}he/{i}.jpg" for i in range(first, first + count)]
    return Records(paths, np.arange(first, first + count) % 30, np.arange(first, first + count) % 6)


def exact(queries, gallery, metric, k):
    if metric == "cosine":
        queries, gallery = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (queries, gallery))
        distances = 1 - queries @ gallery.T
    else:
        distances = np.sqrt(((queries[:, None] - gallery[None]) ** 2).sum(-1))
    ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(distances, ids, axis=1)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_flat_is_exact(metric):
    queries = features(20, seed=1)
    gallery = FaissGallery.build(features(), records(), metric=metric)
    hits = gallery.search(queries, 10)
    ids, distances = exact(queries, features(), metric, 10)
    assert np.array_equal(hits.ids, ids)
    np.testing.assert_allclose(hits.distances, distances, atol=1e-5)
    # Including the distance of an item to itself, which rounding would put below 0.
    assert (gallery.search(features(), 1).distances >= 0).all()


@pytest.mark.parametrize("factory", APPROXIMATE)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_approximate_indexes_log_their_recall(factory, metric, caplog):
    with caplog.at_level(logging.INFO, "dcal_reid"):
        gallery = FaissGallery.build(features(), records(), metric=metric, factory=factory)
    assert 0.1 < gallery.recall <= 1
    assert f"{factory} with " in caplog.text and f"{100 * gallery.recall:.1f} %" in caplog.text
    # The measured recall is that of a search.
    queries = np.arange(0, 1500, 30)
    expected = exact_nearest(ScaledFeatures(features(), metric), queries, 11)[:, 1:]
    found = gallery.search(features()[queries], 11).ids
    shared = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(expected, found, strict=True)])
    assert shared == pytest.approx(gallery.recall, abs=0.15)


def test_searching_harder_finds_more():
    recalls = [
        FaissGallery.build(features(), records(), factory="IVF16,Flat", search=f"nprobe={n}").recall for n in (1, 4, 16)
    ]
    assert recalls[0] < recalls[1] < recalls[2] == 1.0


@pytest.mark.parametrize("factory", ["Flat", *APPROXIMATE])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_saved_and_opened(factory, metric, tmp_path):
    gallery = FaissGallery.build(features(), records(), metric=metric, factory=factory, fingerprint="abc")
    gallery.save(tmp_path / "gallery")
    opened = FaissGallery.open(tmp_path / "gallery", fingerprint="abc")
    queries = features(20, seed=1)
    before, after = gallery.search(queries, 7), opened.search(queries, 7)
    assert np.array_equal(before.ids, after.ids)
    assert np.array_equal(before.distances, after.distances)
    assert (len(opened), opened.dim, opened.metric, opened.factory) == (1500, 32, metric, factory)
    assert (opened.recall, opened.search_options) == (gallery.recall, gallery.search_options)
    found, expected = opened.records([3, 1400]), records()
    assert found.paths.tolist() == expected.paths[[3, 1400]].tolist()
    assert found.identities.tolist() == expected.identities[[3, 1400]].tolist()
    assert found.cameras.tolist() == expected.cameras[[3, 1400]].tolist()


@pytest.mark.parametrize("factory", ["Flat", *APPROXIMATE])
@pytest.mark.parametrize("reopen", [False, True])
def test_add_and_remove(factory, reopen, tmp_path):
    """Also with an opened gallery: faiss aborts the process when an index on disk is changed."""

    def changed():
        if not reopen:
            return gallery
        gallery.save(tmp_path)
        return FaissGallery.open(tmp_path)

    gallery = FaissGallery.build(features(), records(), factory=factory)
    gallery = changed()
    new = gallery.add(features(40, seed=5), records(40, first=1500))
    assert new.tolist() == list(range(1500, 1540))
    gallery = changed()
    gallery.remove([0, 7, 1500])
    gallery = changed()
    assert len(gallery) == 1537
    ids = gallery.search(features(), 1537).ids
    assert not np.isin([0, 7, 1500], ids).any()
    assert gallery.search(features(40, seed=5)[5:6], 1).ids.tolist() == [[1505]] or "PQ" in factory
    assert gallery.records([1501]).paths.tolist() == records(1, first=1501).paths.tolist()
    with pytest.raises(InputError, match="1 ids are not in the gallery, the first 7"):
        gallery.records([3, 7])
    with pytest.raises(InputError, match="not in the gallery"):
        gallery.remove([0])
    # An id is not given twice.
    gallery.remove([1539])
    assert gallery.add(features(1, seed=6), records(1)).tolist() == [1540]


def test_more_than_there_is():
    gallery = FaissGallery(32)
    assert gallery.search(features(2), 3).ids.tolist() == [[-1] * 3] * 2
    gallery.add(features(2), records(2))
    hits = gallery.search(features(1), 4)
    assert hits.ids.tolist() == [[0, 1, -1, -1]]
    assert np.isinf(hits.distances[0, 2:]).all()


def test_saving_is_all_or_nothing(tmp_path, monkeypatch):
    FaissGallery.build(features(100), records(100)).save(tmp_path)
    bigger = FaissGallery.build(features(), records())

    def fail(*_):
        raise RuntimeError("disk full")

    with monkeypatch.context() as patch, pytest.raises(InputError, match="cannot be written: disk full"):
        patch.setattr(faiss, "write_index", fail)
        bigger.save(tmp_path)
    assert len(FaissGallery.open(tmp_path)) == 100
    bigger.save(tmp_path)
    assert len(FaissGallery.open(tmp_path)) == 1500
    assert len({file.name.split("-")[-1].split(".")[0] for file in tmp_path.iterdir()} - {"gallery"}) == 1


@pytest.mark.parametrize("began", [False, True])
def test_what_another_process_has_saved_is_not_lost(tmp_path, began):
    FaissGallery.build(features(100), records(100)).save(tmp_path)
    ours, others = FaissGallery.open(tmp_path), FaissGallery.open(tmp_path)
    if began:
        ours.add(features(5), records(5, first=200))
    assert ours.is_current()
    others.add(features(7), records(7, first=100))
    others.save(tmp_path)
    assert others.is_current() and not ours.is_current()
    with pytest.raises(InputError, match="changed by another process"):
        ours.save(tmp_path) if began else ours.add(features(5), records(5, first=200))
    assert len(FaissGallery.open(tmp_path)) == 107
    ours.save(tmp_path / "another")
    assert len(FaissGallery.open(tmp_path / "another")) == 100 + 5 * began


def test_goes_on_after_saving(tmp_path):
    FaissGallery.build(features(100), records(100)).save(tmp_path)
    gallery = FaissGallery.open(tmp_path)
    for size in (100, 107, 114):
        gallery.save(tmp_path)
        assert len(FaissGallery.open(tmp_path)) == size
        gallery.add(features(7), records(7, first=size))


def test_a_gallery_of_another_model_is_refused(tmp_path):
    FaissGallery.build(features(100), records(100), fingerprint="abc").save(tmp_path)
    with pytest.raises(InputError, match="holds features of model abc, not of def"):
        FaissGallery.open(tmp_path, fingerprint="def")
    with pytest.raises(InputError, match="features have 16 values, those of the gallery 32"):
        FaissGallery.open(tmp_path).search(np.ones((1, 16)), 1)


def test_folders_that_are_no_gallery(tmp_path):
    with pytest.raises(InputError, match=r"is not a gallery: it has no gallery\.json"):
        FaissGallery.open(tmp_path)
    FaissGallery.build(features(100), records(100)).save(tmp_path)
    meta = json.loads((tmp_path / "gallery.json").read_text())
    (tmp_path / "gallery.json").write_text(json.dumps(meta | {"version": 99}))
    with pytest.raises(InputError, match="version 99"):
        FaissGallery.open(tmp_path)


def test_a_folder_whose_name_is_not_utf8(tmp_path):
    """faiss cannot open files in it, but the gallery must not be called damaged."""
    gallery = FaissGallery.build(features(20), records(20))
    message = r"path of a gallery holds UTF-8 only, which '.*udcff' is not; rename the folder, or choose another"
    with pytest.raises(InputError, match=message):
        gallery.save(f"{tmp_path}/\udcff")
    assert not list(tmp_path.iterdir())
    gallery.save(tmp_path / "gallery")
    (tmp_path / "gallery").rename(f"{tmp_path}/\udcff")
    with pytest.raises(InputError, match=message):
        FaissGallery.open(f"{tmp_path}/\udcff")


@pytest.mark.parametrize(("options", "message"), [
    ({"metric": "jaccard"}, "unknown metric"),
    ({"factory": "Cube7"}, "faiss cannot build an index 'Cube7' of 32 values: .*could not parse"),
    ({"factory": "IVF16,Flat", "search": "effort=3"}, "with 'effort=3'"),
    ({"factory": "IVF2000,Flat"}, "faiss cannot build an index 'IVF2000,Flat' from 1500 items: .*as large as"),
])  # fmt: skip
def test_options_that_do_not_exist(options, message):
    with pytest.raises(InputError, match=message):
        FaissGallery.build(features(), records(), **options)


def test_input_that_does_not_fit():
    gallery = FaissGallery.build(features(), records())
    with pytest.raises(InputError, match="5 features but 4 records"):
        gallery.add(features(5), records(4))
    with pytest.raises(InputError, match=r"features must be a matrix, items x dimension, not of shape \(0,\)"):
        FaissGallery.build([], records(0))
    with pytest.raises(InputError, match="NaN"):
        gallery.search(np.full((1, 32), np.nan), 1)
    with pytest.raises(InputError, match="at least 1 nearest"):
        gallery.search(features(1), 0)
    with pytest.raises(InputError, match="not both text or both integers"):
        gallery.add(features(1), Records(["a"], ["car"], [1]))
    with pytest.raises(InputError, match="2 paths, 1 identities"):
        Records(["a", "b"], [1], [1, 2])
    with pytest.raises(InputError, match="identities must be integers or text"):
        Records(["a"], [1.5], [1])


@given(
    cameras=st.lists(st.integers(-1, 3), min_size=1, max_size=60),
    wanted=st.lists(st.sampled_from(["-1", "0", "1", "2", "3", "none"]), max_size=3),
    text=st.booleans(),
    metric=st.sampled_from(["cosine", "euclidean"]),
    k=st.integers(1, 70),
    removed=st.integers(0, 3),
)
@settings(max_examples=50)
def test_cameras_of_a_flat_index(cameras, wanted, text, metric, k, removed):
    cameras = np.array(cameras, dtype=str if text else int)
    count, queries = len(cameras), features(3, seed=1)
    gallery = FaissGallery(32, metric=metric)
    gallery.add(features(count), Records([""] * count, np.zeros(count, dtype=int), cameras))
    gallery.remove(np.arange(min(removed, count - 1)))
    found, before = (search(gallery, queries, k, wanted) for search in (FaissGallery.search, by_searching_on))
    assert np.array_equal(found.ids, before.ids)
    np.testing.assert_allclose(found.distances, before.distances, atol=1e-5)
    allowed = gallery.ids[np.isin(cameras.astype(str)[gallery.ids], wanted)]
    ids = allowed[exact(queries, features(count)[allowed], metric, k)[0]] if len(allowed) else np.empty((3, 0))
    assert np.array_equal(found.ids[:, : ids.shape[1]], ids)
    assert (found.ids[:, ids.shape[1] :] == -1).all() and np.isinf(found.distances[:, ids.shape[1] :]).all()


def by_searching_on(gallery, queries, k, cameras):
    return gallery._search_on(queries, k, cameras)


@pytest.mark.parametrize("factory", [*APPROXIMATE, "IVF16,RQ4x4", "PCA16,Flat"])
@pytest.mark.parametrize("k", [5, 400])
def test_cameras_of_other_indexes(factory, k, tmp_path):
    gallery = FaissGallery(32, "euclidean", factory)
    gallery.add(features(), records())
    gallery.remove(np.arange(40))
    gallery.save(tmp_path)
    for one in (gallery, FaissGallery.open(tmp_path)):
        found, before = (search(one, features(3), k, ["2", "5"]) for search in (FaissGallery.search, by_searching_on))
        # The search is never worse, and it is the same if the index looks everywhere.
        assert ((found.ids >= 0) >= (before.ids >= 0)).all()
        assert (found.distances <= before.distances * 1.001 + 1e-3).all()
        if factory in ("PQ8x4", "PCA16,Flat"):
            np.testing.assert_allclose(found.distances, before.distances, rtol=1e-3, atol=1e-3)
        assert set(found.ids[found.ids >= 0] % 6) == {2, 5} and not np.isin(found.ids, np.arange(40)).any()


@pytest.mark.parametrize("factory", ["IVF64,Flat", "HNSW16"])
def test_the_items_of_a_rare_camera_are_found(factory):
    """An approximate index may find none of them where it looks for the nearest of all items."""
    cameras = np.where(np.arange(1500) % 150 == 0, "gate", "hall")
    gallery = FaissGallery(32, factory=factory)
    gallery.add(features(), Records([""] * 1500, np.zeros(1500, dtype=int), cameras))
    gallery.remove([0])
    rare = np.arange(150, 1500, 150)
    found = gallery.search(features(20, seed=1), 5, ["gate"])
    expected, distances = exact(features(20, seed=1), features()[rare], "cosine", 5)
    assert np.array_equal(found.ids, rare[expected])
    np.testing.assert_allclose(found.distances, distances, atol=1e-5)
    assert (gallery.search(features(1), 5, ["nowhere"]).ids == -1).all()


@pytest.mark.parametrize("change", [lambda gallery: gallery.remove([0]), lambda g: g.add(features(1), records(1))])
def test_a_change_ends_what_is_known_of_the_recall(change):
    gallery = FaissGallery.build(features(), records(), factory="HNSW16")
    assert gallery.recall > 0.5
    change(gallery)
    assert gallery.recall is None


def test_an_index_is_trained_on_a_sample_that_is_always_the_same(monkeypatch):
    monkeypatch.setattr(index, "_SAMPLES_PER_CENTROID", 2)
    trained = []
    for _ in range(2):
        gallery = FaissGallery(32, "euclidean", "IVF16,Flat")
        train = gallery._index.train
        monkeypatch.setattr(gallery._index, "train", lambda x, train=train: trained.append(x) or train(x))
        gallery.add(features(), records())
    assert len(trained) == 2 and np.array_equal(*trained)
    rows = [np.flatnonzero((features() == row).all(axis=1)).item() for row in trained[0]]
    assert len(set(rows)) == 512 and min(rows) < 50 and max(rows) > 1450


def test_a_gallery_that_was_built_anew_in_its_place_is_another(tmp_path):
    folder = tmp_path / "gallery"
    FaissGallery.build(features(), records()).save(folder)
    opened = FaissGallery.open(folder)
    shutil.rmtree(folder)
    FaissGallery.build(features(seed=3), records()).save(folder)
    assert not opened.is_current()
    with pytest.raises(InputError, match="changed by another process"):
        opened.add(features(1), records(1))


def test_a_save_that_fails_leaves_nothing(tmp_path, monkeypatch):
    gallery = FaissGallery.build(features(), records())
    gallery.save(tmp_path)
    before = sorted(tmp_path.iterdir())
    gallery.add(features(1), records(1))

    def full(*_):
        raise RuntimeError(
            "Error in virtual size_t operator(): Error: write error in x.faiss (No space left on device)"
        )

    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(InputError, match=r"cannot be written: write error .*No space left on device\); make room"):
        gallery.save(tmp_path)
    assert sorted(tmp_path.iterdir()) == before and len(FaissGallery.open(tmp_path)) == 1500


def test_all_cameras_once():
    gallery = FaissGallery.build(features(), records())
    assert gallery.cameras == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("factory", ["IVF16,PQ8x4,RFlat", "PCA16,IVF16,PQ8x4,RFlat", "HNSW16,RFlat", "PQ8x4,RFlat"])
def test_an_index_that_cannot_remove(factory, tmp_path):
    gallery = FaissGallery.build(features(), records(), factory=factory)
    with pytest.raises(InputError, match=f"an index '{factory}' cannot remove items; build the gallery again"):
        gallery.remove([3])
    with pytest.raises(InputError, match="not in the gallery"):
        gallery.remove([1500])
    gallery.save(tmp_path)
    opened = FaissGallery.open(tmp_path)
    assert len(opened) == 1500 and opened.search(features()[3:4], 1).ids.tolist() == [[3]]
    assert opened.search(features()[3:4], 1, ["3"]).ids.tolist() == [[3]]


@pytest.mark.parametrize("factory", ["IVF128,PQ8x4,RFlat", "PCA16,IVF128,Flat", "IVF128,Flat"])
def test_a_64th_of_the_lists_is_searched(factory):
    gallery = FaissGallery(32, factory=factory)
    assert gallery.search_options == "nprobe=2"
    assert faiss.extract_index_ivf(gallery._index).nprobe == 2


def test_an_index_that_cannot_add():
    gallery = FaissGallery.build(features(), records(), factory="NSG16")
    with pytest.raises(InputError, match="an index 'NSG16' with 2 more items"):
        gallery.add(features(2), records(2))
    assert len(gallery) == 1500


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF16,Flat"])
@pytest.mark.parametrize("error", [RuntimeError, MemoryError, KeyboardInterrupt])
def test_what_was_added_before_adding_failed_is_not_found(factory, error, monkeypatch):
    gallery = FaissGallery.build(features(), records(), factory=factory)
    add, calls = gallery._index.add_with_ids, []

    def second_fails(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise error("out of memory")
        add(*arguments)

    with monkeypatch.context() as patch, pytest.raises(InputError if error is RuntimeError else error):
        patch.setattr(index, "_BLOCK", 10)
        patch.setattr(gallery._index, "add_with_ids", second_fails)
        gallery.add(features(20, seed=5), records(20, first=1500))
    assert len(calls) == 2 and len(gallery) == 1500
    found = gallery.add(features(20, seed=6), records(20, first=2000))
    assert gallery.search(features(20, seed=6), 1).ids.ravel().tolist() == found.tolist()
    lost = gallery.search(features(10, seed=5), 1500)
    assert len(gallery.records(lost.ids[lost.ids >= 0])) and (lost.distances[:, 0] > 1e-3).all()


def test_more_than_one_search_option(tmp_path):
    gallery = FaissGallery(32, factory="HNSW16", search="efSearch=200,verbose=0")
    gallery.add(features(), records())
    gallery.remove([0, 1])
    gallery.save(tmp_path)
    for one in (gallery, FaissGallery.open(tmp_path)):
        assert one.search(features()[2:4], 1).ids.ravel().tolist() == [2, 3]


def test_a_search_is_as_hard_after_items_were_removed():
    gallery = FaissGallery(32, factory="HNSW16", search="efSearch=1500")
    gallery.add(features(), records())
    gallery.remove([0])
    ids, _ = exact(features(50, seed=1), features()[1:], "cosine", 10)
    assert np.array_equal(gallery.search(features(50, seed=1), 10).ids, ids + 1)


def test_on_gpus_where_there_are_some(monkeypatch):
    """The copy is made once, dropped by a change, and not used for what GPUs cannot do. The GPUs are fakes."""
    copies = []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", lambda index, ngpu: copies.append(ngpu) or index, raising=False)
    gallery = FaissGallery.build(features(), records())
    gallery.search(features(3), 5, ["1"])
    assert copies == []
    for _ in range(2):
        gallery.search(features(3), 5)
    assert copies == [1]
    gallery.search(features(3), index._MAX_K_ON_GPU + 1)
    assert copies == [1]
    gallery.add(features(2), records(2))
    gallery.search(features(3), 5)
    assert copies == [1, 1]
    FaissGallery.build(features(), records(), factory="HNSW16").search(features(3), 5)
    assert copies == [1, 1]


def test_opened_while_another_process_saves(tmp_path, monkeypatch):
    """Files are removed while they are opened, which must not count as damage."""
    FaissGallery.build(features(100), records(100)).save(tmp_path)
    others, open_records = FaissGallery.open(tmp_path), RecordStore.open

    def saved_meanwhile(*arguments):
        monkeypatch.undo()
        others.add(features(5), records(5, first=100))
        others.save(tmp_path)
        return open_records(*arguments)

    monkeypatch.setattr(RecordStore, "open", saved_meanwhile)
    assert len(FaissGallery.open(tmp_path)) == 105


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"generation": "x"}', '{"generation": 1e999}'])
def test_a_damaged_gallery_can_be_built_again(tmp_path, damage):
    gallery = FaissGallery.build(features(100), records(100))
    gallery.save(tmp_path)
    (tmp_path / "gallery.json").write_text(damage)
    with pytest.raises(InputError):
        FaissGallery.open(tmp_path)
    FaissGallery.build(features(50), records(50)).save(tmp_path)
    assert len(FaissGallery.open(tmp_path)) == 50


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks in /proc")
def test_everything_is_on_the_disk_before_the_gallery_of_before_goes(tmp_path, monkeypatch):
    gallery, synced, sync = FaissGallery.build(features(100), records(100)), [], os.fsync

    def note(descriptor):
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    gallery.save(tmp_path)
    data = {file.name for file in tmp_path.iterdir()} - {"gallery.json"}
    (meta,) = (place for place, name in enumerate(synced) if name.startswith(".gallery.json"))
    assert len(data) == 6 and set(synced[:meta]) == data


def test_a_gallery_is_current_although_the_one_before_cannot_be_removed(tmp_path, monkeypatch):
    gallery = FaissGallery.build(features(100), records(100))
    gallery.save(tmp_path)
    gallery.add(features(5), records(5, first=100))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(index, "remove_other_generations", interrupted)
        gallery.save(tmp_path)
    assert gallery.is_current() and len(FaissGallery.open(tmp_path)) == 105
    gallery.add(features(1), records(1, first=105))
    gallery.save(tmp_path)
    assert len(FaissGallery.open(tmp_path)) == 106


@pytest.mark.parametrize("text", [False, True])
def test_a_new_gallery_is_empty(text, tmp_path):
    FaissGallery(32).save(tmp_path)
    gallery = FaissGallery.open(tmp_path)
    assert (len(gallery), gallery.cameras, len(gallery.records([]))) == (0, [], 0)
    assert gallery.search(features(2), 3).ids.tolist() == [[-1] * 3] * 2
    cameras = np.array(["a", "b"]) if text else np.array([1, 2])
    gallery.add(features(2), Records(["x.jpg", "y.jpg"], cameras, cameras))
    assert gallery.records([1]).cameras.tolist() == cameras[1:].tolist()


@pytest.mark.parametrize("factory", ["IVF1,Flat", "HNSW32"])
def test_recall_counts_any_of_equally_near_items(factory):
    """Of twelve copies of each image, even an exact search finds any ten."""
    copies = np.repeat(features(30), 12, axis=0)[np.random.default_rng(0).permutation(360)]
    assert FaissGallery.build(copies, records(360), factory=factory).recall == 1
