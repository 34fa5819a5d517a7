"""A model's features of a test set, scored."""

from contextlib import AbstractContextManager
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.evaluation import inference_on_dataset
from torch import nn

from ..data import build_test_loader
from ..evaluation import DCALReidEvaluator

__all__ = ["autocast", "evaluate_dataset"]


def autocast(cfg: CfgNode) -> AbstractContextManager:
    """bf16 or fp16 where SOLVER.AMP says so; losses and rollout switch it off for themselves."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[cfg.SOLVER.AMP.DTYPE]
    return torch.autocast(torch.device(cfg.MODEL.DEVICE).type, dtype=dtype, enabled=cfg.SOLVER.AMP.ENABLED)


def evaluate_dataset(cfg: CfgNode, model: nn.Module, dataset_name: str) -> tuple[dict, DCALReidEvaluator]:
    """Extract the features of a registered test set and score them, as ``cfg.TEST`` says.

    Returns:
        The metrics in percent (empty but on the first process), and the evaluator, which knows every query's result.
    """
    loader, num_query = build_test_loader(cfg, dataset_name)
    folder = Path(cfg.OUTPUT_DIR, "features", dataset_name) if cfg.TEST.SAVE_FEATURES else None
    evaluator = DCALReidEvaluator(cfg, num_query, folder)
    with autocast(cfg):
        metrics = inference_on_dataset(model, loader, evaluator, flip_test=cfg.TEST.FLIP.ENABLED)
    return metrics, evaluator
