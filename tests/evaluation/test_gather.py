"""Evaluations in 1, 2 and 3 processes must agree bit for bit."""

import itertools

import numpy as np
import pytest
import torch
import torch.distributed as dist
from helpers.forks import run_ranks

import dcal_reid
from dcal_reid.evaluation import DCALReidEvaluator
from dcal_reid.evaluation.gather import gather_rows


def rows(start, stop):
    return {
        "features": np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)[start:stop],
        "ids": np.arange(start, stop),
        "paths": np.array(
            [f"k\N{LATIN SMALL LETTER U WITH DIAERESIS}he/Stra\udcdfe{'x' * i}.jpg" for i in range(start, stop)],
            dtype=str,
        ),
    }


def items():
    rng = np.random.default_rng(1)
    pids = rng.integers(0, 12, 150)
    features = rng.standard_normal((12, 16))[pids] + 1.5 * rng.standard_normal((150, 16))
    return features.astype(np.float32), pids, rng.integers(0, 3, 150)


def evaluate(chosen, output_dir=None):
    """What one process does with the items of its shard."""
    cfg = dcal_reid.get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.TEST.AQE.ENABLED = cfg.TEST.RERANK.ENABLED = cfg.TEST.ROC.ENABLED = True
    evaluator = DCALReidEvaluator(cfg, 40, output_dir)
    features, pids, camids = items()
    for batch in np.array_split(chosen, max(1, len(chosen) // 7)) if len(chosen) else []:
        inputs = {
            "targets": torch.tensor(pids[batch]), "camids": torch.tensor(camids[batch]),
            "indices": torch.tensor(batch), "img_paths": [f"{i}.jpg" for i in batch],
        }  # fmt: skip
        evaluator.process(inputs, torch.tensor(features[batch]))
    return evaluator, evaluator.evaluate()


def shards(world):
    """Shards of different sizes, out of order, with items that two processes have; one of three has nothing."""
    order = np.random.default_rng(2).permutation(150)
    cuts = {2: [0, 40, 150], 3: [0, 90, 90, 150]}[world]
    parts = [order[a:b] for a, b in itertools.pairwise(cuts)]
    parts[-1] = np.concatenate([parts[-1], parts[0][:5]])
    return parts


def worker(rank, world, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    bounds = {2: [0, 13, 20], 3: [0, 0, 7, 20]}[world]
    gathered = gather_rows(rows(bounds[rank], bounds[rank + 1]))
    assert (gathered is None) == (rank > 0)
    evaluator, metrics = evaluate(shards(world)[rank], folder)
    if rank == 0:
        np.savez(f"{folder}/gathered.npz", **gathered)
        result = evaluator.result
        np.savez(
            f"{folder}/result.npz", metrics=list(metrics.values()), ap=result.ap, inp=result.inp,
            first_rank=result.first_rank, threshold=result.roc.threshold, indices=evaluator.features().indices,
        )  # fmt: skip
    else:
        assert metrics == {}
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, 3])
def written(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"world{request.param}")
    run_ranks(worker, (request.param, str(folder)), request.param)
    return folder


def test_rows_arrive_in_the_order_of_the_processes(written):
    with np.load(written / "gathered.npz") as gathered:
        for name, values in rows(0, 20).items():
            assert np.array_equal(gathered[name], values), name
            assert gathered[name].dtype == values.dtype


def test_any_number_of_processes_gives_the_same_bits(written):
    evaluator, metrics = evaluate(np.arange(150))
    with np.load(written / "result.npz") as result:
        assert result["indices"].tolist() == list(range(150))
        assert result["metrics"].tolist() == list(metrics.values())
        for name in ("ap", "inp", "first_rank"):
            assert np.array_equal(result[name], getattr(evaluator.result, name), equal_nan=True), name
        assert np.array_equal(result["threshold"], evaluator.result.roc.threshold)


def test_features_are_written_once(written):
    assert (written / "features.npz").is_file()


def test_one_process_gets_its_rows_back():
    mine = rows(0, 20)
    assert gather_rows(mine) is mine
