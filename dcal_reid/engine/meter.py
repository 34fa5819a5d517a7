"""Means of training scalars that stay on their device between two log lines."""

from collections.abc import Sequence

import torch
from fastreid.utils import comm
from torch import Tensor

from ..errors import InputError

__all__ = ["MeanMeter"]


class MeanMeter:
    """Sums scalars on the device, so that the steps between two log lines need not wait for it."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None  # (number of names,)
        self._count = 0
        # Total loss and image paths of each step, to tell which step went wrong.
        self._steps: list[tuple[Tensor, Sequence[str]]] = []

    def add(self, scalars: dict[str, Tensor], paths: Sequence[str] = ()) -> None:
        """Add the scalars of one step; every step must have the same names.

        Args:
            scalars: ``total_loss``, and whatever else is logged.
            paths: the images of the step.
        """
        # In one tensor: separate sums would be separate kernel launches on a GPU.
        values = torch.stack([value.float() for value in scalars.values()])
        self._names = tuple(scalars)
        # The sums of a resumed run are on the CPU.
        self._sums = values if self._sums is None else self._sums.to(values.device) + values
        self._count += 1
        self._steps.append((values[self._names.index("total_loss")], paths))

    def check_finite(self) -> None:
        """
        Raises:
            InputError: a scalar of a step since the last ``flush`` is infinite or not a number.
        """
        if not self._count:
            return
        if not torch.isfinite(self._sums).all():
            bad = [name for name, value in zip(self._names, self._sums.tolist(), strict=True) if not abs(value) < 1e38]
            paths = next((paths for total, paths in self._steps if not total.isfinite()), ())
            images = f", first with the images {', '.join(paths)}" if paths else ""
            raise InputError(
                f"{', '.join(bad)} became infinite or not a number within the last {self._count} steps{images}; "
                "lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS, enable SOLVER.CLIP_GRADIENTS or set "
                "SOLVER.AMP.DTYPE bf16. The checkpoints in OUTPUT_DIR are from before."
            )

    def state_dict(self) -> dict:
        """The sums of every process since the last ``flush``, for a checkpoint between two log lines."""
        sums = dict(zip(self._names, self._sums.cpu(), strict=True)) if self._count else {}
        return {"sums": comm.all_gather(sums), "count": self._count}

    def load_state_dict(self, state: dict) -> None:
        """If the checkpoint is from another number of processes, each process takes the mean of their sums."""
        sums, rank = state["sums"], comm.get_rank()
        mine = sums[rank] if len(sums) == comm.get_world_size() else _mean(sums)
        self._names, self._count, self._steps = tuple(mine), state["count"], []
        self._sums = torch.stack([value.float() for value in mine.values()]) if mine else None

    def flush(self) -> dict[str, float]:
        """The means since the last call, over all processes; empty if there was no step."""
        if not self._count:
            return {}
        self.check_finite()
        # Gathered on the CPU, where the sums of a resumed run are until its first step.
        means = torch.stack(comm.all_gather((self._sums / self._count).cpu())).mean(dim=0)
        result = dict(zip(self._names, means.tolist(), strict=True))
        self._sums, self._count, self._steps = None, 0, []
        return result


def _mean(sums: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: sum(one[name] for one in sums) / len(sums) for name in sums[0]}
