import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import dcal_reid
from dcal_reid.errors import InputError
from dcal_reid.evaluation import FeatureSet, score
from dcal_reid.evaluation.matches import find_matches
from dcal_reid.evaluation.query_expansion import ExpansionOptions, expand
from dcal_reid.evaluation.ranking import rank, rank_features
from dcal_reid.evaluation.rerank import RerankedDistances, RerankOptions
from dcal_reid.evaluation.scoring import ROC_FPRS, scoring_device


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    pids = rng.integers(0, 20, 300)
    features = rng.standard_normal((20, 24))[pids] + 1.5 * rng.standard_normal((300, 24))
    paths = np.array([f"{i}.jpg" for i in range(300)])
    return FeatureSet(features.astype(np.float32), pids, rng.integers(0, 4, 300), np.arange(300), paths, num_query=60)


@pytest.fixture
def options():
    return dcal_reid.get_cfg().TEST


def labels(data):
    return data.pids[:60], data.pids[60:], data.camids[:60], data.camids[60:]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_any_combination(data, options, metric):
    scores = set()
    for aqe, rerank, ap in itertools.product((False, True), (False, True), ("step", "trapezoid")):
        options.METRIC, options.AQE.ENABLED, options.RERANK.ENABLED, options.AP = metric, aqe, rerank, ap
        options.ROC.ENABLED = True
        features = expand(data.features, ExpansionOptions(5, 3.0, 1)) if aqe else data.features
        if rerank:
            distances = RerankedDistances(features, 60, RerankOptions(20, 6, 0.3), metric)
            expected = rank(distances, find_matches(*labels(data)), ap=ap, fprs=ROC_FPRS)
        else:
            expected = rank_features(features[:60], features[60:], *labels(data), metric=metric, ap=ap, fprs=ROC_FPRS)
        metrics = score(data, options).metrics()
        assert metrics == expected.metrics()
        scores.add(metrics["mAP"])
    assert len(scores) == 8


def test_rerank_and_expansion_help(data, options):
    plain = score(data, options).mAP
    options.RERANK.ENABLED = True
    assert score(data, options).mAP > plain + 0.02
    options.RERANK.ENABLED, options.AQE.ENABLED = False, True
    assert score(data, options).mAP > plain + 0.02


@pytest.mark.parametrize("rerank", [False, True])
def test_queries_that_could_not_be_read_are_no_queries(data, options, rerank):
    options.RERANK.ENABLED = rerank
    there = np.arange(300) % 7 > 0
    columns = {name: getattr(data, name)[there] for name in ("features", "pids", "camids", "indices", "paths")}
    some = replace(data, **columns)
    alone = replace(some, indices=np.arange(len(some)), num_query=np.count_nonzero(there[:60]))
    assert score(some, options).metrics() == score(alone, options).metrics()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("RERANK", "K1", 0),
        ("RERANK", "K2", 0),
        ("RERANK", "LAMBDA", 2.0),
        ("AQE", "QE_K", 0),
        ("AQE", "ALPHA", -1.0),
        ("AQE", "QE_TIME", 0),
    ],
)
def test_options_that_make_no_sense(data, options, section, key, value):
    options[section][key] = value
    score(data, options)  # not used, not checked
    options[section].ENABLED = True
    with pytest.raises(InputError, match=str(value)):
        score(data, options)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_distances_are_computed_on_the_models_gpu(device, monkeypatch):
    cfg = dcal_reid.get_cfg()
    cfg.MODEL.DEVICE = device
    for gpu, expected in ((False, "cpu"), (True, "cuda" if device == "auto" else device)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert scoring_device(cfg) == expected
