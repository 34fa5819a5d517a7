"""Means of training scalars that stay on their device between two log lines."""

from collections.abc import Sequence

import torch
from fastreid.utils import comm
from torch import Tensor

from ..errors import InputError

__all__ = ["MeanMeter"]


class MeanMeter:
    """Adds scalars up on the device, so that the steps between two log lines need not wait for it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        # Of each step, to tell which one went wrong.
        self._steps: list[tuple[Tensor, Sequence[str]]] = []

    def add(self, scalars: dict[str, Tensor], paths: Sequence[str] = ()) -> None:
        """Add the scalars of one step; every step brings the same names.

        Args:
            scalars: ``total_loss`` and what it is made of.
            paths: the images of the step.
        """
        for name, value in scalars.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1
        self._steps.append((scalars["total_loss"], paths))

    def check_finite(self) -> None:
        """
        Raises:
            InputError: a scalar of a step since the last ``flush`` is infinite or not a number.
        """
        if not self._count:
            return
        values = torch.stack([value.float() for value in self._sums.values()])
        if not torch.isfinite(values).all():
            bad = [name for name, value in zip(self._sums, values.tolist(), strict=True) if not abs(value) < 1e38]
            paths = next((paths for total, paths in self._steps if not total.isfinite()), ())
            images = f", first with the images {', '.join(paths)}" if paths else ""
            raise InputError(
                f"{', '.join(bad)} became infinite or not a number within the last {self._count} steps{images}; "
                "lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS, enable SOLVER.CLIP_GRADIENTS or set "
                "SOLVER.AMP.DTYPE bf16. The checkpoints in OUTPUT_DIR are from before."
            )

    def state_dict(self) -> dict:
        """The sums of every process since the last ``flush``, for a checkpoint between two log lines."""
        sums = {name: value.cpu() for name, value in self._sums.items()}
        return {"sums": comm.all_gather(sums), "count": self._count}

    def load_state_dict(self, state: dict) -> None:
        """Of a checkpoint of another number of processes, this one takes the mean of theirs."""
        sums, rank = state["sums"], comm.get_rank()
        mine = sums[rank] if len(sums) == comm.get_world_size() else _mean(sums)
        self._sums, self._count, self._steps = dict(mine), state["count"], []

    def flush(self) -> dict[str, float]:
        """The means since the last call, over all processes; empty if there was no step."""
        if not self._count:
            return {}
        self.check_finite()
        means = torch.stack([value.float() for value in self._sums.values()]) / self._count
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(means)
            means /= comm.get_world_size()
        result = dict(zip(self._sums, means.tolist(), strict=True))
        self._sums, self._count, self._steps = {}, 0, []
        return result


def _mean(sums: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: sum(one[name] for one in sums) / len(sums) for name in sums[0]}
