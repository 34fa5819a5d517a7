"""The forward and backward pass of a training step as one CUDA graph.

A step of a vision transformer launches thousands of small kernels. Where the CPU cannot launch them as fast as the GPU
runs them, the GPU idles. A graph is recorded once and launched with one call.
"""

from collections.abc import Callable

import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import Tensor

from ..config import value_of
from ..errors import InputError
from ..modeling.dcal import DCAL

__all__ = ["CapturedStep", "check_capturable"]

# The only values that a graph supports, or has been tested with.
_ONLY = {
    "MODEL.META_ARCHITECTURE": "DCAL",
    "MODEL.HEADS.CLS_LAYER": "Linear",  # fast-reid's other layers look for labels that are not -1
    "MODEL.COMPILE": False,
    "MODEL.ACTIVATION_CHECKPOINTING": False,
    "SOLVER.ACCUMULATE": 1,
}

# Libraries choose their algorithms and allocate memory in the first steps. PyTorch recommends this many.
_STEPS_BEFORE = 3


def check_capturable(cfg: CfgNode) -> None:
    """
    Raises:
        InputError: SOLVER.CUDA_GRAPH is set together with options that it does not support.
    """
    if not cfg.SOLVER.CUDA_GRAPH:
        return
    if cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE != "bf16":
        raise InputError(f"SOLVER.AMP.DTYPE is {cfg.SOLVER.AMP.DTYPE!r}; with SOLVER.CUDA_GRAPH it can only be 'bf16'")
    for key, only in _ONLY.items():
        if value_of(cfg, key) != only:
            raise InputError(f"{key} is {value_of(cfg, key)!r}; with SOLVER.CUDA_GRAPH it can only be {only!r}")


class CapturedStep:
    """Calls ``function`` on the training inputs of batches of one size, as a graph that the first call records.

    Recording takes a few steps on the first batch. They leave no trace: the running statistics and the random state are
    restored, and the gradients are overwritten, as in every call. Gradients must therefore not be set to None.
    """

    def __init__(self, model: DCAL, function: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
        """
        Args:
            model: on a GPU.
            function: takes the output of ``model.training_inputs``, computes gradients and returns the step's scalars.

        Raises:
            InputError: the model is not on a GPU, or there are other processes to average gradients with.
        """
        if model.device.type != "cuda" or comm.get_world_size() > 1:
            raise InputError(
                f"SOLVER.CUDA_GRAPH is True, but training runs on {model.device.type} in {comm.get_world_size()} "
                "process(es); it is for one GPU, so set it False"
            )
        self.model = model
        self.function = function
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: dict[str, Tensor] = {}
        self._scalars: dict[str, Tensor] = {}

    def __call__(self, batch: dict) -> dict[str, Tensor]:
        """Run a step and return its scalars; the next call overwrites them."""
        inputs = self.model.training_inputs(batch)
        if self._graph is None:
            self._record({name: value.clone() for name, value in inputs.items()})
        for name, value in inputs.items():
            self._inputs[name].copy_(value)
        self._graph.replay()
        return self._scalars

    def _record(self, inputs: dict[str, Tensor]) -> None:
        self._inputs, self._graph = inputs, torch.cuda.CUDAGraph()
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        random_state = torch.cuda.get_rng_state()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_STEPS_BEFORE):
                self.model.zero_grad()
                self.function(inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self.model.zero_grad()
        # The loader's threads keep allocating memory during the capture.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._scalars = self.function(inputs)
        for buffer, value in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(value)
        torch.cuda.set_rng_state(random_state)
