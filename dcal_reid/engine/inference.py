"""Score a model's features or predictions on a test set."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.evaluation import inference_on_dataset
from fastreid.utils import comm
from torch import Tensor, nn
from tqdm import tqdm

from ..data import build_classification_test_loader, build_test_loader
from ..errors import InputError
from ..evaluation import DCALClasEvaluator, DCALReidEvaluator
from ..task import is_classification

__all__ = [
    "autocast",
    "evaluate_dataset",
    "has_half_precision",
    "mean_over_flip",
    "score_dataset",
    "uses_half_precision",
]


def has_half_precision(device: str, dtype: str) -> bool:
    """Whether ``device`` has instructions for ``dtype``, bf16 or fp16. A CPU without them takes several times as long
    as in fp32; a GPU without bf16 (before Ampere) has no fused attention for it either."""
    kind = torch.device(device).type
    if kind != "cpu":
        return kind != "cuda" or dtype != "bf16" or torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch's own private checks; 2.10 has no public ones.
    if dtype == "bf16" and torch.cpu._is_avx512_supported() and not torch.cpu._is_avx512_bf16_supported():
        return False  # oneDNN emulates bf16, but reports that it has it
    return torch.backends.mkldnn.is_available() and getattr(torch.ops.mkldnn, f"_is_mkldnn_{dtype}_supported")()


def uses_half_precision(cfg: CfgNode) -> bool:
    """Whether SOLVER.AMP asks for half precision and MODEL.DEVICE has it; if not, the model computes in fp32."""
    return cfg.SOLVER.AMP.ENABLED and has_half_precision(cfg.MODEL.DEVICE, cfg.SOLVER.AMP.DTYPE)


def autocast(cfg: CfgNode) -> AbstractContextManager:
    """A context for bf16 or fp16 if ``uses_half_precision``; losses and rollout disable autocast for themselves."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[cfg.SOLVER.AMP.DTYPE]
    return torch.autocast(torch.device(cfg.MODEL.DEVICE).type, dtype=dtype, enabled=uses_half_precision(cfg))


def mean_over_flip(function: Callable[[Tensor], Tensor], images: Tensor, enabled: bool) -> Tensor:
    """``function(images)``, or if TEST.FLIP is ``enabled`` its mean over images (B, 3, H, W) and mirror images."""
    outputs = function(images)
    return (outputs + function(images.flip(dims=[3]))) / 2 if enabled else outputs


def evaluate_dataset(
    cfg: CfgNode, model: nn.Module, dataset_name: str, class_names: Sequence[str] | None = None
) -> tuple[dict, DCALReidEvaluator | DCALClasEvaluator]:
    """Evaluate on a registered test set, as ``cfg.TEST`` and the head say.

    Classification writes predictions, accuracies by class, confused pairs and the confusion matrix (also as a picture)
    to OUTPUT_DIR/evaluation/<dataset>.

    Args:
        class_names: of a classification model, by label, if known.

    Returns:
        The metrics in percent (empty except on the first process), and the evaluator, which has the result of every
        image.

    Raises:
        InputError: a dataset or an image that cannot be used, or classes other than the model's.
    """
    folder = Path(cfg.OUTPUT_DIR, "features", dataset_name) if cfg.TEST.SAVE_FEATURES else None
    metrics, evaluator = score_dataset(cfg, model, dataset_name, class_names, features_folder=folder)
    if is_classification(cfg) and comm.is_main_process():
        # Imported here so that matplotlib is loaded only where pictures are drawn.
        from ..visualize.confusion import draw_confusion

        folder, result = Path(cfg.OUTPUT_DIR, "evaluation", dataset_name), evaluator.result
        result.save(folder)
        draw_confusion(folder / "confusion.png", result, title=dataset_name)
    return metrics, evaluator


def score_dataset(
    cfg: CfgNode,
    model: nn.Module,
    dataset_name: str,
    class_names: Sequence[str] | None = None,
    *,
    features_folder: Path | None = None,
    progress: bool = False,
) -> tuple[dict, DCALReidEvaluator | DCALClasEvaluator]:
    """Like ``evaluate_dataset``, but without its files.

    Args:
        features_folder: where to write the features of a re-identification model; None: nowhere.
        progress: show a bar.
    """
    if is_classification(cfg):
        loader, found = build_classification_test_loader(cfg, dataset_name)
        _check_classes(class_names or [None] * len(model.heads["sa"].weight), found, dataset_name)
        evaluator = DCALClasEvaluator(found, model.inference.split("+"))
        model = _BranchScores(model)
    else:
        loader, num_query = build_test_loader(cfg, dataset_name)
        evaluator = DCALReidEvaluator(cfg, num_query, features_folder)
    if progress:
        images = loader.dataset
        loader = tqdm(loader, dataset_name, unit="batch")
        loader.dataset = images  # fast-reid counts them
    with autocast(cfg):
        metrics = inference_on_dataset(model, loader, evaluator, flip_test=cfg.TEST.FLIP.ENABLED)
    return metrics, evaluator


def _check_classes(trained: Sequence[str | None], found: Sequence[str], dataset_name: str) -> None:
    """The labels of the data set must mean what they meant in training. None stands for an unknown class name."""
    differing = [pair for pair in zip(trained, found, strict=False) if pair[0] not in (None, pair[1])]
    if differing or len(trained) != len(found):
        first = ", the first that differs is {!r} there and {!r} here".format(*differing[0]) if differing else ""
        raise InputError(
            f"the model was trained on {len(trained)} classes, dataset {dataset_name} has {len(found)}{first}; "
            "evaluate it on the data set it was trained on"
        )


class _BranchScores(nn.Module):
    """The outputs of all branches in one tensor: a batch -> (B, b, classes)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)

    def forward(self, batch: dict) -> Tensor:
        if not len(batch["images"]):  # all images are broken, and fast-reid's head cannot take an empty batch
            return torch.empty(0, len(self.model.inference.split("+")), len(self.model.heads["sa"].weight))
        return torch.stack(list(self.model.branch_outputs(batch).values()), dim=1)
