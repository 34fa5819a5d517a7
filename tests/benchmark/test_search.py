"""The benchmark of galleries at a toy size: that it runs, compares the same things, and prints what it should."""

import pytest

from dcal_reid.benchmark import search
from dcal_reid.errors import InputError


@pytest.mark.filterwarnings("ignore")
def test_search(capsys):
    rows = search.benchmark_search(items=2000, dim=16, queries=50, factories=("Flat", "IVF16,Flat"), repeats=1)
    assert [row[0] for row in rows] == ["Flat", "IVF16,Flat"]
    assert rows[0][2] == 1.0 and 0 < rows[1][2] <= 1
    assert "A gallery of 2,000 x 16" in capsys.readouterr().out


def test_the_first_search_which_reads_from_the_disk_does_not_count(monkeypatch):
    searches, sleep = [], search.time.sleep

    def searched(self, *args):
        searches.append(args)
        sleep(len(searches) == 1)

    monkeypatch.setattr(search.FaissGallery, "search", searched)
    [row] = search.benchmark_search(items=5, dim=4, queries=2, factories=("Flat",), repeats=1)
    assert len(searches) == 2 and row[3] > 2 / 0.45


def test_numbers_that_measure_nothing_are_refused():
    with pytest.raises(InputError, match=r"--queries 2, --repeats 0; all must be at least 1"):
        search.benchmark_search(items=5, dim=4, queries=2, factories=("Flat",), repeats=0)


def test_nothing_is_left_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    [[_, _, exact, *figures]] = search.benchmark_search(items=5, dim=4, queries=2, factories=("Flat",), repeats=1)
    assert exact == 1.0 and all(figure >= 0 for figure in figures if figure is not None)
    with pytest.raises(InputError, match="NoSuchIndex"):
        search.benchmark_search(items=5, dim=4, queries=2, factories=("NoSuchIndex",), repeats=1)
    assert list(tmp_path.iterdir()) == []
