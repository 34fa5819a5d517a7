"""The job of ``tools/train_net.py``: train or evaluate, then log a table of results."""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from fastreid.utils import comm
from tabulate import tabulate
from torch import nn

from ..data import load_dataset
from ..errors import InputError
from ..published import published
from ..task import is_classification
from .check import check_config
from .checkpoint import Checkpointer
from .inference import evaluate_dataset
from .launch import launch
from .setup import holds_run, load_config, resolve_device, save_config, setup
from .trainer import Trainer
from .weight_file import Weights, read_weights

__all__ = ["evaluate", "evaluation_model", "main", "results_table", "train"]

logger = logging.getLogger(__name__)


def main(args: argparse.Namespace) -> None:
    """Train, or with ``--eval-only`` evaluate, in as many processes as the command line asks for."""
    cfg = load_config(args.config_file, args.opts)
    resolve_device(cfg)
    check_config(cfg)
    if args.eval_only and args.resume:
        raise InputError("--resume continues a training; to evaluate a run, give --eval-only MODEL.WEIGHTS FILE.pth")
    if args.report and not (args.eval_only and len(cfg.DATASETS.TESTS) == 1):
        raise InputError(
            f"--report {args.report!r} needs an evaluation: give --eval-only, with one data set in DATASETS.TESTS, "
            f"which is {tuple(cfg.DATASETS.TESTS)}"
        )
    _check_run_folder(args, cfg)
    launch(_run, args, device=cfg.MODEL.DEVICE.partition(":")[0])


def _check_run_folder(args: argparse.Namespace, cfg: CfgNode) -> None:
    """The config.yaml of a run stands for this run, even if its folder has been moved.

    Raises:
        InputError: --resume would start a new run elsewhere, or --eval-only would evaluate what the run started from.
    """
    folder = Path(args.config_file).parent
    if not args.config_file or not holds_run(folder):
        return
    given = args.opts[::2]
    if args.resume and "OUTPUT_DIR" not in given and not holds_run(cfg.OUTPUT_DIR):
        raise InputError(
            f"--resume: the run of {args.config_file!r} is in {str(folder)!r}, but its OUTPUT_DIR {cfg.OUTPUT_DIR!r} "
            f"holds no checkpoint; add OUTPUT_DIR {folder}"
        )
    if args.eval_only and "MODEL.WEIGHTS" not in given:
        raise InputError(
            f"--eval-only with {args.config_file!r}, the configuration of a run: add the checkpoint to evaluate, for "
            f"instance MODEL.WEIGHTS {folder / 'model_final.pth'}"
        )


def _run(args: argparse.Namespace) -> None:
    cfg = setup(args)
    figures = published(args.config_file, args.opts)  # not at the end, when the file may have changed
    if args.report:
        results = _evaluate_with_report(cfg, args.report)
    else:
        results = evaluate(cfg) if args.eval_only else train(cfg, resume=args.resume)
    if comm.is_main_process():
        rows = results if len(cfg.DATASETS.TESTS) > 1 else {cfg.DATASETS.TESTS[0]: results}
        if figures:
            rows = rows | {"paper": figures}
        logger.info("Results\n%s", results_table(rows))


def _evaluate_with_report(cfg: CfgNode, path: str) -> dict:
    # Imported here so that OpenCV and matplotlib are loaded only where pictures are drawn.
    from ..visualize.html_report import check_report_path, write_report
    from .predictor import Predictor

    check_report_path(path)
    weights = _evaluated_weights(cfg)
    predictor = Predictor.of(cfg, evaluation_model(cfg, weights), weights and weights.class_names)
    metrics, evaluator = evaluate_dataset(cfg, predictor.model, cfg.DATASETS.TESTS[0], predictor.class_names)
    if comm.is_main_process():
        write_report(predictor, path, evaluator=evaluator)
        logger.info("The report is %s", path)
    return metrics


def train(cfg: CfgNode, resume: bool = False) -> dict:
    """Train as ``cfg`` says and return the metrics of the last evaluation (empty except on the first process)."""
    given = cfg
    if cfg.MODEL.WEIGHTS or (resume and holds_run(cfg.OUTPUT_DIR)):
        cfg = without_pretrained_weights(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume)
    if comm.is_main_process():
        save_config(given)  # not before: a start that fails must not replace the file of a complete run
    results = trainer.train()
    if comm.is_main_process():
        best = trainer.best_epoch + 1 or "none evaluated"
        if trainer.broken_paths:
            logger.warning("%d training images could not be decoded and were replaced.", len(trainer.broken_paths))
        logger.info("Trained %d epochs, best epoch %s. Everything is in %s", trainer.max_epoch, best, cfg.OUTPUT_DIR)
    return results


def evaluate(cfg: CfgNode) -> dict:
    """Evaluate MODEL.WEIGHTS, or if that is empty the model before training, and return the metrics.

    Raises:
        InputError: the weights do not fit the model, or have other classes.
    """
    weights = _evaluated_weights(cfg)
    return Trainer.test(cfg, evaluation_model(cfg, weights), weights and weights.class_names)


def _evaluated_weights(cfg: CfgNode) -> Weights | None:
    """The content of MODEL.WEIGHTS; None if that is empty."""
    if not cfg.MODEL.WEIGHTS:
        logger.warning("MODEL.WEIGHTS is empty: evaluating the model before any training of its own.")
        return None
    return read_weights(cfg.MODEL.WEIGHTS)


def evaluation_model(cfg: CfgNode, weights: Weights | None = None) -> nn.Module:
    """The model for features or scores, in evaluation mode: with MODEL.WEIGHTS, or if that is empty before training.

    Args:
        weights: the content of MODEL.WEIGHTS, if it has been read already.

    Raises:
        InputError: the weights do not fit the model.
    """
    path = cfg.MODEL.WEIGHTS
    if path and weights is None:
        weights = read_weights(path)
    cfg = without_pretrained_weights(cfg) if path else cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEADS.NUM_CLASSES = weights.num_classes if path else _untrained_classes(cfg)
    model = build_model(cfg).eval()
    if path:
        Checkpointer(model).load_for_evaluation(path, weights)
    if cfg.MODEL.COMPILE:
        model.compile()
    return model


def _untrained_classes(cfg: CfgNode) -> int:
    """Features do not depend on the number of identities; scores are those of the test set's classes."""
    return len(load_dataset(cfg.DATASETS.TESTS[0], cfg).class_names) if is_classification(cfg) else 1


def without_pretrained_weights(cfg: CfgNode) -> CfgNode:
    """``cfg`` for a model whose weights come from a checkpoint: pretrained weights are not fetched first."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.freeze()
    return cfg


def results_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """One row of metrics in percent for each name. The first row has all columns."""
    columns = [name for name in next(iter(rows.values())) if name != "metric"]
    body = [[name, *(metrics.get(column) for column in columns)] for name, metrics in rows.items()]
    return tabulate(body, headers=["", *columns], floatfmt=".1f", tablefmt="github")
