"""The retrieval benchmarks at toy sizes: that they run, compare the same things, and print what they should."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from dcal_reid.benchmark import ranking, rerank, search, synthetic
from dcal_reid.benchmark.fastreid_cython import compiled_ranking
from dcal_reid.errors import InputError
from dcal_reid.evaluation.ranking import rank_features, rank_matrix


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(synthetic.SIZES, "toy", (60, 700, 40, 4))


def test_sizes_are_the_published_ones():
    assert synthetic.SIZES["market1501"][:2] == (3368, 15913)
    assert synthetic.SIZES["msmt17"][:2] == (11659, 82161)


@pytest.mark.parametrize("dim", [128, 1536])
def test_noise_makes_the_task_neither_easy_nor_impossible(dim):
    """At the size of Market-1501, of which a part is looked at."""
    data = synthetic.synthetic("market1501", dim)
    result = rank_features(
        data.features[:100],
        data.features[data.gallery],
        data.pids[:100],
        data.labels[1],
        data.camids[:100],
        data.labels[3],
    )
    assert 0.5 < result.mAP < 0.9


def test_generated_features_are_the_same_each_time():
    one, other = (synthetic.synthetic("toy", 16) for _ in range(2))
    assert np.array_equal(one.features, other.features)
    with pytest.raises(InputError, match="unknown size 'mars'"):
        synthetic.synthetic("mars", 16)


def test_ranking(capsys, monkeypatch):
    from fastreid.evaluation.rank import evaluate_py

    monkeypatch.setattr(ranking, "compiled_ranking", lambda: lambda *args: evaluate_py(*args, False))
    ratios = ranking.benchmark_ranking("toy", dim=32, repeats=1)
    assert set(ratios) == {"ours / products", "fast-reid, Cython / ours", "fast-reid, Python / ours"}
    out = capsys.readouterr().out
    assert "From features to metrics, 60 x 700, 32-d, mAP 0." in out
    assert "products alone" in out and "fast-reid, Python" in out
    assert out.count("difference of mAP") == 2
    assert all(float(line.split(": ")[1]) < 1e-6 for line in out.splitlines() if line.startswith("difference"))


def test_rerank(capsys):
    ratios = rerank.benchmark_rerank("toy", dim=32, repeats=1, dense=True)
    assert set(ratios) == {
        "ours", "neighbour products alone", "neighbours by faiss (Flat) alone", "fast-reid, dense",
    }  # fmt: skip
    assert "Re-ranking, 60 x 700, 32-d, mAP 0." in capsys.readouterr().out


@pytest.mark.parametrize("benchmark", [ranking.benchmark_ranking, rerank.benchmark_rerank])
def test_a_gpu_that_is_not_there_is_refused(benchmark, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="'cuda' but PyTorch finds no GPU"):
        benchmark("toy", dim=32, device="cuda")


@pytest.mark.filterwarnings("ignore")
def test_search(capsys):
    rows = search.benchmark_search(items=2000, dim=16, queries=50, factories=("Flat", "IVF16,Flat"), repeats=1)
    assert [row[0] for row in rows] == ["Flat", "IVF16,Flat"]
    assert rows[0][2] == 1.0 and 0 < rows[1][2] <= 1
    assert "A gallery of 2,000 x 16" in capsys.readouterr().out


def test_fastreids_compiled_ranking():
    pytest.importorskip("Cython")
    try:
        compiled = compiled_ranking()
    except InputError as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(0)
    matrix = rng.random((20, 100)).astype(np.float32)
    labels = rng.integers(0, 6, 20), rng.integers(0, 6, 100), rng.integers(0, 3, 20), rng.integers(0, 3, 100)
    cmc, ap, _ = compiled(matrix, *labels, 50)
    result = rank_matrix(matrix, *labels)
    np.testing.assert_allclose(cmc, result.cmc(50), rtol=1e-5)
    np.testing.assert_allclose(np.mean(ap), result.mAP, rtol=1e-5)


def test_command_line():
    parser = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "benchmark.py"))["parser"]()
    args = parser.parse_args(["ranking", "--size", "msmt17", "--no-fastreid"])
    assert (args.benchmark, args.size, args.dim, args.fastreid) == (ranking.benchmark_ranking, "msmt17", 1536, False)
    assert parser.parse_args(["rerank", "--dim", "256", "--dense"]).dense
    assert parser.parse_args(["search", "--factories", "Flat"]).factories == ["Flat"]
