import numpy as np
import pytest

from dcal_reid.errors import InputError
from dcal_reid.evaluation.records import Records, RecordStore, known


def store(cameras, first=0):
    made, ids = RecordStore(), np.arange(first, first + len(cameras))
    made.append(ids, Records([f"Stra\udcdfe/{i}.jpg" for i in ids], ids, cameras))
    return made


def test_file_names_that_are_not_utf8(tmp_path):
    store(["a", "b"]).save(tmp_path, "1")
    assert RecordStore.open(tmp_path, "1").take([1]).paths.tolist() == ["Stra\udcdfe/1.jpg"]


def test_some_of_the_records():
    records = Records(["a", "b", "c"], [3, -1, 5], ["x", "y", ""])
    found = records[np.array([2, 0])]
    assert (found.paths.tolist(), found.identities.tolist(), found.cameras.tolist()) == (["c", "a"], [5, 3], ["", "x"])
    assert records[:2].paths.tolist() == ["a", "b"] and len(records[:0]) == 0


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (-1, None), ("", None), ("car", "car"), ("-1", "-1")])
def test_what_is_known(value, expected):
    assert known(value) == expected


@pytest.mark.parametrize(("cameras", "texts", "expected"), [
    (["a", "B\udcdf", "a", "b"], ["a", "B\udcdf", "c"], [True, True, True, False]),
    ([7, -1, 10, 7], ["7", "-1", "010", "x"], [True, True, False, True]),
    ([7, -1, 10, 7], [], [False] * 4),
])  # fmt: skip
def test_values_among_texts(cameras, texts, expected):
    made = store(cameras)
    assert made.is_among("cameras", texts).tolist() == expected
    assert made.is_among("cameras", texts, np.array([3, 0])).tolist() == [expected[3], expected[0]]


def test_values_after_a_change():
    made = store(["a", "b"])
    assert made.values("cameras").tolist() == ["a", "b"]
    made.append(np.array([2]), Records(["2.jpg"], [2], ["c"]))
    assert made.values("cameras").tolist() == ["a", "b", "c"]
    made.drop([0])
    assert made.values("cameras").tolist() == ["b", "c"]
    assert made.is_among("cameras", ["c"]).tolist() == [False, True]


def test_columns_of_different_lengths(tmp_path):
    store(["a", "b"]).save(tmp_path, "1")
    np.save(tmp_path / "cameras-1.npy", np.array([b"a"]))
    with pytest.raises(InputError, match="damaged: 1 cameras, 2 ids"):
        RecordStore.open(tmp_path, "1")
