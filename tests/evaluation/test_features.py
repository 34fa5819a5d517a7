import numpy as np
import pytest

from dcal_reid.errors import InputError
from dcal_reid.evaluation.features import FeatureSet


def feature_set(count=6, **change):
    parts = {
        "features": np.random.default_rng(0).standard_normal((count, 4)).astype(np.float32),
        "pids": np.arange(count) % 3,
        "camids": np.arange(count) % 2,
        "indices": np.arange(count) * 2,
        "paths": np.array([f"dir/bild_{i}_\N{LATIN SMALL LETTER A WITH DIAERESIS}.jpg" for i in range(count)]),
        "num_query": 5,
    }
    return FeatureSet(**parts | change)


def test_query_and_gallery():
    data = feature_set()
    assert (data.query, data.gallery, len(data)) == (slice(0, 3), slice(3, 6), 6)
    assert data.features[data.query].base is data.features
    assert [part.tolist() for part in data.labels] == [[0, 1, 2], [0, 1, 2], [0, 1, 0], [1, 0, 1]]


def test_written_and_read_again(tmp_path):
    data = feature_set()
    data.save(tmp_path / "a" / "features.npz")
    read = FeatureSet.load(tmp_path / "a" / "features.npz")
    for name in ("features", "pids", "camids", "indices", "paths"):
        assert np.array_equal(getattr(read, name), getattr(data, name)), name
    assert read.num_query == 5
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["features.npz"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "features.npz"
    feature_set(4).save(path)

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        feature_set(6).save(path)
    assert len(FeatureSet.load(path)) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["features.npz"]


def test_files_that_are_not_ours(tmp_path):
    with pytest.raises(InputError, match=r"cannot read features from .*none\.npz: No such file"):
        FeatureSet.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    np.savez(tmp_path / "pickle.npz", version=np.array([{}], dtype=object))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:100])
    for name in ("text", "other", "pickle", "cut"):
        with pytest.raises(InputError, match=rf"{name}\.npz is"):
            FeatureSet.load(tmp_path / f"{name}.npz")


def test_files_of_numpy_that_are_not_ours(tmp_path):
    (tmp_path / "empty.npz").touch()
    np.save(tmp_path / "array.npy", np.ones((3, 4)))
    np.savez(tmp_path / "foreign.npz", version=1, embeddings=np.ones((3, 4)))
    np.savez(tmp_path / "versions.npz", version=[1, 2], num_query=1)
    parts = {"version": 1, **vars(feature_set())}
    np.savez(tmp_path / "texts.npz", **parts | {"features": [["a", "b"]] * 6})
    np.savez(tmp_path / "many.npz", **parts | {"num_query": [1, 2]})
    np.savez_compressed(tmp_path / "damaged.npz", **parts)
    content = bytearray((tmp_path / "damaged.npz").read_bytes())
    start = content.index(b"features.npy") + 40
    content[start : start + 20] = b"x" * 20
    (tmp_path / "damaged.npz").write_bytes(content)
    for name, message in [
        ("empty.npz", "is not a file of features"),
        ("array.npy", "is not a file of features"),
        ("foreign.npz", "is not a file of features"),
        ("versions.npz", r"is of version \[1 2\]"),
        ("texts.npz", "is not a file of features"),
        ("many.npz", "is not a file of features"),
        ("damaged.npz", "is not a file of features"),
    ]:
        with pytest.raises(InputError, match=f"{name} {message}"):
            FeatureSet.load(tmp_path / name)


def test_extracted_features_have_no_queries(tmp_path):
    names = ("features", "paths", "identities", "cameras", "fingerprint")
    np.savez(tmp_path / "crops.npz", **dict.fromkeys(names, np.ones(3)))
    with pytest.raises(InputError, match=r"crops\.npz is from tools/extract_features\.py .* TEST\.SAVE_FEATURES True"):
        FeatureSet.load(tmp_path / "crops.npz")


def test_parts_in_any_order():
    data, order = feature_set(), np.array([3, 0, 5, 3, 1, 2, 4, 0])
    parts = {name: getattr(data, name)[order] for name in ("features", "pids", "camids", "indices", "paths")}
    again = FeatureSet.from_parts(**parts, num_query=5)
    assert np.array_equal(again.indices, data.indices)
    assert np.array_equal(again.features, data.features)


@pytest.mark.parametrize("name", ["pids", "camids", "paths"])
def test_what_differs_is_not_one_image_that_came_twice(name):
    data, order = feature_set(), np.array([3, 0, 5, 3, 1, 2, 4])
    parts = {name: getattr(data, name)[order] for name in ("features", "pids", "camids", "indices", "paths")}
    parts[name][0] = parts[name][5]
    with pytest.raises(InputError, match="both have index 6; it must be unique"):
        FeatureSet.from_parts(**parts, num_query=5)


@pytest.mark.parametrize(("change", "message"), [
    ({"pids": np.arange(5)}, "do not fit their labels"),
    ({"features": np.ones(6, np.float32)}, "do not fit their labels"),
    ({"indices": np.array([0, 1, 1, 2, 3, 4])}, "must ascend"),
])  # fmt: skip
def test_parts_that_contradict_each_other(change, message):
    with pytest.raises(InputError, match=message):
        feature_set(**change)
