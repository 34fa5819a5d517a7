"""The benchmark of the training step at a toy size."""

import pytest
import torch
from torch import nn

from dcal_reid.benchmark import models, step
from dcal_reid.benchmark.models import CASES, case_config, synthetic_batch
from dcal_reid.engine.solver import build_optimizer
from dcal_reid.errors import InputError


@pytest.fixture(autouse=True)
def toys_without_a_matrix_product(toys, monkeypatch):
    monkeypatch.setattr(step, "matrix_product_rate", lambda device, dtype: 1e12)


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize(("case", "amp"), [("toy", "none"), ("toy", "bf16"), ("toy-classes", "none")])
def test_step(capsys, case, amp):
    ratios = step.benchmark_step([case], repeats=1, amp=amp)[case]
    out = capsys.readouterr().out
    assert f"Training step, {case}, batch 8, read-out mean" in out
    assert all(f"| {way} " in out for way in ("ours", "timm, SA alone", "naive DCAL"))
    assert "fast-reid's vision transformer is left out" in out and "one large matrix product" in out
    # SA's blocks twice, but only the CLS tokens of the last one, and GLCA.
    assert 1.2 < ratios["operations: ours / timm"] < 2.3
    assert 1 < ratios["memory: ours / timm"] < 4
    assert ratios["memory: ours / naive"] < 1


def test_a_step_changes_the_weights_as_the_optimiser_says():
    """The same model, batch and random numbers through a step written out here."""
    results = []
    for by_hand in (False, True):
        cfg = case_config(CASES["toy"])
        torch.manual_seed(0)
        model = models.PlainTimm(cfg)
        batch = synthetic_batch(CASES["toy"], None, "cpu")
        torch.manual_seed(1)
        if by_hand:
            optimizer = build_optimizer(cfg, model)
            sum(model.train()(batch).values()).backward()
            optimizer.step()
        else:
            step.TrainStep(cfg, model, batch)()
        results.append(nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(*results)


def test_wrong_input():
    with pytest.raises(InputError, match="unknown case 'vit-z'; use one of vit-b-256x128"):
        step.benchmark_step(["vit-z"])
    with pytest.raises(InputError, match="3 images do not make a training batch of toy; give --batch 4 to 16"):
        synthetic_batch(CASES["toy"], 3, "cpu")
    with pytest.raises(InputError, match="18 images do not make a training batch"):
        synthetic_batch(CASES["toy"], 18, "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="finds no GPU"):
            step.benchmark_step(["toy"], device="cuda")
