"""One table and one plot of what came out of an ablation, and what each variant costs."""

import csv
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from matplotlib.figure import Figure
from tabulate import tabulate

from ..benchmark.operations import count_operations
from ..data.transforms import output_size
from ..engine.job import without_pretrained_weights
from .runs import Run, ordered

__all__ = ["Cost", "cost", "report"]

_CLASSIFIER = re.compile(r"heads\.(\w+\.)?weight")
_CAPTION = (
    "std is that of the sample. Parameters are without the classifiers. An operation is a multiplication or an "
    "addition for one image at inference. The step is the median, the memory the most of a training run."
)


@dataclass(frozen=True)
class Cost:
    """What a variant costs. Classifiers are not among the parameters: their size is that of the data set."""

    training_parameters: int
    inference_parameters: int  # those that the result depends on
    operations: int  # of one image at inference


def cost(cfg: CfgNode) -> Cost:
    """Of the model that ``cfg`` builds, counted on the CPU on one image."""
    cfg = without_pretrained_weights(cfg)
    cfg.defrost()
    cfg.MODEL.DEVICE, cfg.MODEL.HEADS.NUM_CLASSES = "cpu", 1
    model = build_model(cfg).eval()
    image = torch.zeros(1, 3, *output_size(cfg, is_train=False))
    with torch.no_grad():
        operations = count_operations(lambda: model(image))
    model(image).sum().backward()
    counted = [p for name, p in model.named_parameters() if p.requires_grad and not _CLASSIFIER.fullmatch(name)]
    return Cost(_size(counted), _size(p for p in counted if p.grad is not None), operations)


def _size(parameters: Iterable[torch.Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def report(runs: Sequence[Run], title: str, folder: Path) -> None:
    """Print the table, and write it as table.md and table.csv, with plot.png beside them."""
    found = {name: 0.0 for run in runs for name in run.results() or ()}
    if not found:
        print("no run is complete, so there is no table")
        return
    metrics = [name for name, _ in ordered(found)]
    of_variant: dict[str, list[Run]] = {}
    for run in runs:
        of_variant.setdefault(run.variant, []).append(run)
    rows = [_row(same, metrics) for same in of_variant.values()]
    digits = [".4g" if "(" in column else ".2f" for column in rows[0]]
    table = tabulate(rows, headers="keys", tablefmt="pipe", floatfmt=digits, missingval="-")
    text = f"{title}\n\n{table}\n\n{_CAPTION}\n"
    print(f"\n{text}")
    (folder / "table.md").write_text(text)
    with open(folder / "table.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    _draw(rows, metrics, [f" seed {run.seed}" for run in next(iter(of_variant.values()))], folder / "plot.png")
    print(f"table.md, table.csv and plot.png are in {folder}")


def _row(runs: Sequence[Run], metrics: Sequence[str]) -> dict[str, str | float | None]:
    """One variant. A column with a unit is what it costs."""
    results = [run.results() or {} for run in runs]
    row: dict[str, str | float | None] = {"variant": runs[0].variant}
    for metric in metrics:
        values = [found[metric] for found in results if metric in found]
        row[metric] = statistics.fmean(values) if values else None
        row[f"{metric} std"] = statistics.stdev(values) if len(values) > 1 else None
        row |= {f"{metric} seed {run.seed}": found.get(metric) for run, found in zip(runs, results, strict=True)}
    found = cost(runs[0].cfg) if any(results) else None
    times = [seconds for run in runs if (seconds := run.step_time()) is not None]
    memories = [memory for run in runs if (memory := run.peak_memory()) is not None]
    return row | {
        "parameters, training (M)": found and found.training_parameters / 1e6,
        "parameters, inference (M)": found and found.inference_parameters / 1e6,
        "operations (1e9)": found and found.operations / 1e9,
        "step (s)": statistics.median(times) if times else None,
        "memory (GiB)": max(memories, default=None),
    }


def _draw(rows: Sequence[dict], metrics: Sequence[str], seeds: Sequence[str], path: Path) -> None:
    """The mean with the standard deviation as error bar, and every seed as a dot."""
    width = max(4, 0.7 * len(rows) + 1.5)
    figure = Figure(figsize=(width * len(metrics), 3.5), layout="constrained")
    for axis, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        for x, row in enumerate(rows):
            values = [row[metric + seed] for seed in seeds if row[metric + seed] is not None]
            axis.plot([x] * len(values), values, "o", color="tab:blue", alpha=0.4)
            if values:
                axis.errorbar(x, row[metric], row[f"{metric} std"] or 0, fmt="_", color="black", ms=14, capsize=4)
        axis.set_xticks(range(len(rows)), [row["variant"] for row in rows], rotation=30)
        axis.set(title=metric, ylabel="%", xlim=(-0.5, len(rows) - 0.5))
        axis.grid(alpha=0.3)
    figure.savefig(path)
