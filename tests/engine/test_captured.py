"""A step can be recorded only if nothing in it waits for the device; recorded, it is the same step."""

import copy

import pytest
import torch
from fastreid.modeling.meta_arch import build_model
from helpers.runs import lines, run, weights
from torch.utils._python_dispatch import TorchDispatchMode

from dcal_reid.engine import Trainer
from dcal_reid.engine.check import check_config
from dcal_reid.errors import InputError

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
# Operations that read values on the CPU, or copy some from it to the device.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "equal", "_unique2"}
PWCA = "MODEL.DCAL.PWCA."


class Waiting(TorchDispatchMode):
    """Collects the names of the operations that wait."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        # Indexing by a mask looks for the positions on the CPU.
        masks = [t for t in args[1] if t is not None and t.dtype == torch.bool] if name == "index" else []
        if name in WAITING or masks:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["MODEL.LOSSES.TRI.MARGIN", 0.0],
        ["MODEL.LOSSES.TRI.NORM_FEAT", True, "MODEL.LOSSES.TRI.HARD_MINING", False],
        ["MODEL.DCAL.GLCA.SELECTION", "random", PWCA + "DISTRACTORS", "noise"],
        [PWCA + "DISTRACTORS", "noise_image", "MODEL.NOISE.IMAGE", 0.1, "MODEL.NOISE.LABEL", 0.5],
        [PWCA + "PAIR_SAMPLER", "balanced", PWCA + "DISTRACTOR_STREAM", "pwca", PWCA + "NUM_BLOCKS", 2],
        ["MODEL.BACKBONE.DROP_PATH_RATIO", 0.1, "MODEL.DCAL.GLCA.READOUT", "cls+local"],
    ],
)
def test_nothing_in_a_step_waits_for_the_device(tiny_cfg, tiny_batch, overrides):
    tiny_cfg.merge_from_list(overrides)
    model = build_model(tiny_cfg)
    inputs = model.training_inputs(tiny_batch)
    with Waiting() as waiting:
        sum(model.training_losses(**inputs).values()).backward()
    assert waiting.found == []


@pytest.mark.parametrize("layer", ["CosSoftmax", "CircleSoftmax"])
def test_fast_reids_classifiers_with_a_margin_wait(tiny_cfg, tiny_batch, layer):
    """They are therefore refused."""
    tiny_cfg.MODEL.HEADS.CLS_LAYER = layer
    model = build_model(tiny_cfg)
    inputs = model.training_inputs(tiny_batch)
    with Waiting() as waiting:
        model.training_losses(**inputs)
    assert set(waiting.found) == {"nonzero"}


def test_waiting_would_be_noticed():
    with Waiting() as waiting:
        values = torch.tensor([1.0, 2.0])
        assert values[values > 1].item() == 2
    assert {"lift_fresh", "index", "_local_scalar_dense"} <= set(waiting.found)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.COMPILE", True),
        ("MODEL.HEADS.CLS_LAYER", "CosSoftmax"),
        ("MODEL.HEADS.CLS_LAYER", "CircleSoftmax"),
        ("MODEL.ACTIVATION_CHECKPOINTING", True),
        ("SOLVER.ACCUMULATE", 2),
        ("SOLVER.AMP.DTYPE", "fp16"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused(run_cfg, key, value):
    run_cfg.merge_from_list(["SOLVER.AMP.ENABLED", True, "SOLVER.CUDA_GRAPH", True, key, value])
    check_config(run_cfg)  # inference calls it, too, with a model that was trained this way
    with pytest.raises(InputError, match=rf"{key}.*SOLVER\.CUDA_GRAPH"):
        Trainer(run_cfg)


def test_without_a_gpu_it_is_refused(run_cfg):
    run_cfg.SOLVER.CUDA_GRAPH = True
    with pytest.raises(InputError, match=r"SOLVER\.CUDA_GRAPH is True, but training runs on cpu"):
        Trainer(run_cfg)


@NO_GPU
@pytest.mark.parametrize("amp", [False, True])
def test_a_captured_run_is_the_same_run(run_cfg, amp, tmp_path):
    """With the same stochastic depth and random pairs, up to rounding."""
    run_cfg.MODEL.DEVICE, run_cfg.SOLVER.AMP.ENABLED = "cuda", amp
    other = copy.deepcopy(run_cfg)
    other.SOLVER.CUDA_GRAPH, other.OUTPUT_DIR = True, str(tmp_path / "captured")
    for cfg in (run_cfg, other):
        torch.manual_seed(0)
        run(cfg)
    expected, actual = weights(run_cfg.OUTPUT_DIR), weights(other.OUTPUT_DIR)
    error = 3e-2 if amp else 1e-3
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=error, atol=error, msg=name)
    for ours, theirs in zip(lines(other.OUTPUT_DIR), lines(run_cfg.OUTPUT_DIR), strict=True):
        assert ours["total_loss"] == pytest.approx(theirs["total_loss"], rel=error)
