"""CMC and ROC of an evaluation as a picture."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from .result import RankingResult

__all__ = ["draw_curves"]


def draw_curves(result: RankingResult, path: str | Path) -> None:
    """Draw the CMC, the AP of all queries from best to worst, and the ROC if there is one.

    Args:
        path: the picture to write; its suffix is the format.
    """
    figure = Figure(figsize=(12 if result.roc is not None else 8, 3.5), layout="constrained")
    axes = figure.subplots(1, 3 if result.roc is not None else 2)

    cmc = 100 * result.cmc(50)
    axes[0].plot(np.arange(1, len(cmc) + 1), cmc)
    axes[0].set(title=f"CMC, Rank-1 {cmc[0]:.1f} %", xlabel="rank", ylabel="queries answered (%)", ylim=(0, 101))

    ap = 100 * np.sort(result.ap[result.answered])[::-1]
    axes[1].plot(100 * np.arange(1, len(ap) + 1) / len(ap), ap)
    axes[1].set(title=f"AP, mean {100 * result.mAP:.1f} %", xlabel="queries (%)", ylabel="AP (%)", ylim=(0, 101))

    if result.roc is not None:
        axes[2].plot(100 * result.roc.fpr, 100 * result.roc.tpr, marker="o")
        axes[2].set(title="ROC", xlabel="false positive rate (%)", ylabel="true positive rate (%)", ylim=(0, 101))
        axes[2].set_xscale("log")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path)
