import ntpath
from types import SimpleNamespace

import pytest

from dcal_reid.data.datasets import csv_table


@pytest.mark.parametrize(
    ("path", "expected"),
    [(r"sub\a.jpg", r"C:\crops\sub\a.jpg"), (r"..\a.jpg", None), (r"D:\a.jpg", None), ("D:a.jpg", None)],
)
def test_a_path_of_windows_is_inside_its_folder_or_not(path, expected, monkeypatch):
    monkeypatch.setattr(csv_table, "os", SimpleNamespace(path=ntpath))
    assert csv_table.path_inside(r"C:\crops", path) == expected
