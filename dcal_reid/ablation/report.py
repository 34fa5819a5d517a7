"""One table of the results of an ablation and of what each variant costs."""

import csv
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from scipy import stats
from tabulate import tabulate

from ..benchmark.operations import count_operations
from ..data.transforms import output_size
from ..engine.job import without_pretrained_weights
from ..files import written_atomically
from .plots import draw_curves, draw_metrics
from .runs import Run, ordered

__all__ = ["Cost", "cost", "report"]

_Metrics = dict[str, float]  # in percent, by name; empty for a run that is not complete

_CLASSIFIER = re.compile(r"heads\.(\w+\.)?weight")
_CAPTION = (
    "std is the sample standard deviation. Parameters exclude the classifiers. Operations are multiplications and "
    "additions for one image at inference. The step is the median of the training runs, the memory their maximum."
)
_DIFFERENCE = (
    "The difference is from {baseline} with the same seed: its mean, and the limits of its 95 % confidence interval "
    "(Student's t).\n"
)


@dataclass(frozen=True)
class Cost:
    """What a variant costs. Classifiers are not among the parameters, because their size depends on the data set."""

    training_parameters: int
    inference_parameters: int  # those that the result depends on
    operations: int  # of one image at inference


def cost(cfg: CfgNode) -> Cost:
    """The cost of the model that ``cfg`` builds, counted on the CPU with one image."""
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


def report(runs: Sequence[Run], title: str, folder: Path, baseline: str = "") -> None:
    """Print the table, and write it as table.md and table.csv, with plot.png and curves.png beside them.

    Args:
        runs: of all variants, complete or not.
        title: above the table.
        folder: where the files go.
        baseline: the variant that every other is compared with, run by run. The name of a config from which --vary made
            several variants stands for the best of them. Empty: nothing is compared.
    """
    of_variant: dict[str, list[Run]] = {}
    for run in runs:
        of_variant.setdefault(run.variant, []).append(run)
    results = {variant: [run.results() or {} for run in same] for variant, same in of_variant.items()}
    found = {name: 0.0 for same in results.values() for one in same for name in one}
    if not found:
        print("no run is complete, so there is no table")
        return
    metrics = [name for name, _ in ordered(found)]
    best = _best(results, metrics[0])
    baseline = best.get(baseline, baseline)
    rows = [
        _row(same, results[variant], metrics, [] if variant == baseline else results.get(baseline, []))
        for variant, same in of_variant.items()
    ]
    columns = [column for column in rows[0] if any(row[column] is not None for row in rows)]
    rows = [{column: row[column] for column in columns} for row in rows]
    text = f"{title}\n\n{_table(rows)}\n\n{_CAPTION}\n"
    if any(column.endswith(" difference") for column in columns):
        text += _DIFFERENCE.format(baseline=baseline)
    if len({variant.partition(",")[0] for variant in of_variant}) < len(of_variant):
        best_rows = [row for row in rows if row["variant"] in best.values()]
        text += f"\nThe best of each by {metrics[0]}:\n\n{_table(best_rows)}\n"
    print(f"\n{text}")
    folder.mkdir(parents=True, exist_ok=True)  # not there if all runs are from other groups
    with written_atomically(folder / "table.md") as temporary:
        temporary.write_text(text)
    with written_atomically(folder / "table.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    repetitions = [run.repetition for run in next(iter(of_variant.values()))]
    draw_metrics(rows, metrics, repetitions, folder / "plot.png")
    draw_curves(of_variant, metrics[0], folder / "curves.png")
    print(f"table.md, table.csv, plot.png and curves.png are in {folder}")


def _table(rows: Sequence[dict]) -> str:
    digits = [".4g" if "(" in column else ".2f" for column in rows[0]]
    return tabulate(rows, headers="keys", tablefmt="pipe", floatfmt=digits, missingval="-")


def _best(results: Mapping[str, Sequence[_Metrics]], metric: str) -> dict[str, str]:
    """By config, the variant with the largest mean; the variants of a config differ by what --vary set."""
    best: dict[str, tuple[float, str]] = {}
    for variant, same in results.items():
        values = [found[metric] for found in same if metric in found]
        config = variant.partition(",")[0]
        if values and (config not in best or statistics.fmean(values) > best[config][0]):
            best[config] = statistics.fmean(values), variant
    return {config: variant for config, (_, variant) in best.items()}


def _row(
    runs: Sequence[Run], results: Sequence[_Metrics], metrics: Sequence[str], baseline: Sequence[_Metrics]
) -> dict[str, str | float | None]:
    """The row of one variant. The columns with a unit are its costs."""
    row: dict[str, str | float | None] = {"variant": runs[0].variant}
    for metric in metrics:
        values = [found[metric] for found in results if metric in found]
        row[metric] = statistics.fmean(values) if values else None
        row[f"{metric} std"] = statistics.stdev(values) if len(values) > 1 else None
        row[f"{metric} paper"] = runs[0].published.get(metric)
        row |= _differences(results, baseline, metric)
        row |= {f"{metric} {run.repetition}": found.get(metric) for run, found in zip(runs, results, strict=True)}
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


def _differences(results: Sequence[_Metrics], baseline: Sequence[_Metrics], metric: str) -> dict[str, float | None]:
    """Differences from the baseline with the same seed and fold: mean and limits of its 95 % confidence interval."""
    columns = [f"{metric} {name}" for name in ("difference", "from", "to")]
    pairs = zip(results, baseline, strict=True) if baseline else ()
    found = [run[metric] - other[metric] for run, other in pairs if metric in run and metric in other]
    if not found:
        return dict.fromkeys(columns)
    mean = statistics.fmean(found)
    if len(found) == 1:
        return dict(zip(columns, (mean, None, None), strict=True))
    # Student's t for the mean of paired differences.
    half = stats.t.ppf(0.975, len(found) - 1) * statistics.stdev(found) / len(found) ** 0.5
    return dict(zip(columns, (mean, mean - half, mean + half), strict=True))
