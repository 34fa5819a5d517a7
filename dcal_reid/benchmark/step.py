"""The training step: ours against self-attention alone by timm, against naive DCAL and against fast-reid."""

import copy
from collections.abc import Sequence

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from ..engine.captured import CapturedStep
from ..engine.inference import autocast
from ..engine.solver import build_optimizer
from .measure import describe_environment, print_table
from .models import Case, build_models, case_config, select_cases, synthetic_batch
from .operations import activation_memory, count_operations, matrix_product_rate, peak_cuda_memory, time_calls

__all__ = ["TrainStep", "benchmark_step"]

_CAPTURED = "ours, SOLVER.CUDA_GRAPH"


class TrainStep:
    """One optimiser step of a model on one batch, as the trainer takes it."""

    def __init__(self, cfg: CfgNode, model: nn.Module, batch: dict[str, Tensor], captured: bool = False) -> None:
        """
        Args:
            cfg: the configuration.
            model: follows fast-reid's contract.
            batch: on the model's device.
            captured: as with SOLVER.CUDA_GRAPH; ``model`` is then a ``DCAL`` on a GPU.
        """
        self.cfg = cfg
        self.model = model.train()
        self.batch = batch
        self.optimizer = build_optimizer(cfg, model)
        self.captured = CapturedStep(model, self._captured_gradients) if captured else None

    def loss(self, inputs: dict[str, Tensor] | None = None) -> Tensor:
        """The loss of the batch, or of what a captured step takes from it."""
        with autocast(self.cfg):
            losses = self.model(self.batch) if inputs is None else self.model.training_losses(**inputs)
            return sum(losses.values())

    def __call__(self) -> None:
        if self.captured:
            self.captured(self.batch)
        else:
            total = self.loss()
            self.optimizer.zero_grad()
            total.backward()
        self.optimizer.step()

    def _captured_gradients(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        total = self.loss(inputs)
        total.backward()
        return {"total_loss": total.detach()}

    def memory(self) -> int:
        """Bytes: on a GPU the peak of a step, on the CPU what the forward pass keeps."""
        if self.cfg.MODEL.DEVICE == "cpu":
            return activation_memory(self.model, self.loss)
        return peak_cuda_memory(self)


def benchmark_step(
    cases: Sequence[str] | None = None,
    batch: int | None = None,
    repeats: int = 5,
    device: str = "cpu",
    amp: str = "none",
    readout: str = "mean",
) -> dict[str, dict[str, float]]:
    """Print a table per case: time, memory and operations of a step, and the ratio of ours to each other way.

    Args:
        cases: names in :data:`~dcal_reid.benchmark.models.CASES`; by default all.
        batch: images in a batch; by default the case's.
        repeats: runs of each way; the median is printed.
        device: cpu | cuda.
        amp: none | bf16, autocast in the step.
        readout: of GLCA, cls | mean.

    Returns:
        for each case the ratios of ours to timm and to naive DCAL.
    """
    chosen = select_cases(cases)
    configs = [case_config(case, device, amp, readout) for case in chosen]
    print(describe_environment())
    device = configs[0].MODEL.DEVICE
    rate = matrix_product_rate(device, torch.bfloat16 if amp == "bf16" else torch.float32)
    print(f"{device}, autocast {amp}; one large matrix product: {rate / 1e12:.2f} TFLOP/s")
    return {case.name: _measure(case, cfg, batch, repeats, rate) for case, cfg in zip(chosen, configs, strict=True)}


def _measure(case: Case, cfg: CfgNode, batch_size: int | None, repeats: int, rate: float) -> dict[str, float]:
    device = cfg.MODEL.DEVICE
    batch = synthetic_batch(case, batch_size, device)
    images = len(batch["images"])
    steps = {name: TrainStep(cfg, model, batch) for name, model in build_models(cfg).items()}
    operations = {name: count_operations(step) for name, step in steps.items()}
    memory = {name: step.memory() for name, step in steps.items()}
    if device != "cpu":
        captured = TrainStep(cfg, copy.deepcopy(steps["ours"].model), batch, captured=True)
        captured()
        # A graph has no operations that PyTorch counts. Its memory, taken when it is recorded, is not measured.
        steps[_CAPTURED], operations[_CAPTURED] = captured, operations["ours"]
    seconds = {name: way.seconds for name, way in time_calls(steps, repeats, device).items()}

    def ratio(values: dict[str, float], other: str) -> float:
        return values["ours"] / values[other]

    memory_name = "activations (MB)" if device == "cpu" else "peak memory of the step (MB)"
    print_table(
        f"Training step, {case.name}, batch {images}, read-out {cfg.MODEL.DCAL.GLCA.READOUT}",
        [
            *("way", "images/s", "ms", "ours / it", memory_name, "ours / it"),
            *("GFLOP per image", "ours / it", "share of the product rate"),
        ],
        [
            [
                *(name, images / seconds[name], 1e3 * seconds[name], ratio(seconds, name)),
                *((round(memory[name] / 1e6), ratio(memory, name)) if name in memory else (None, None)),
                *(operations[name] / images / 1e9, ratio(operations, name)),
                operations[name] / seconds[name] / rate,
            ]
            for name in steps
        ],
    )
    timm, naive = "timm, SA alone", "naive DCAL"
    excess = ratio(seconds, timm) / ratio(operations, timm)
    print(f"Time, ours / timm, divided by operations, ours / timm: {excess:.2f}")
    return {
        "time: ours / timm": ratio(seconds, timm),
        "operations: ours / timm": ratio(operations, timm),
        "memory: ours / timm": ratio(memory, timm),
        "time: ours / naive": ratio(seconds, naive),
        "memory: ours / naive": ratio(memory, naive),
    }
