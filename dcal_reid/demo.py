"""The whole pipeline on a generated dataset: train, compare with the untrained model, draw pictures."""

import argparse
import logging
from pathlib import Path

from fastreid.config import CfgNode

from .data import load_dataset
from .data.datasets.loading import datasets_root
from .data.demo import write_demo_dataset
from .data.demo_fgvc import write_demo_fgvc
from .engine import evaluate, setup, train
from .engine.inference import evaluate_dataset
from .engine.job import evaluation_model, results_table
from .engine.predictor import Predictor
from .errors import InputError
from .task import is_classification
from .visualize.attention_grid import draw_attention_of
from .visualize.chosen import chosen_queries, mistakes_first
from .visualize.predictions import draw_predictions_of
from .visualize.rank_list import draw_rank_lists
from .visualize.ranks import rank_rows

__all__ = ["run_demo"]

logger = logging.getLogger(__name__)


def run_demo(args: argparse.Namespace) -> dict[str, dict]:
    """Write the dataset below FASTREID_DATASETS, then train, evaluate and draw into OUTPUT_DIR.

    Args:
        args: the parsed command line of ``tools/train_net.py``. Its config decides between re-identification and
            classification.

    Returns:
        The metrics of the untrained and of the trained model.

    Raises:
        InputError: an option that the demo does not support.
    """
    if args.eval_only or args.report or args.num_gpus != 1 or args.num_machines != 1:
        raise InputError(
            "the demo trains in one process; with --eval-only, --report, --num-gpus or --num-machines use "
            f"tools/train_net.py --config-file {args.config_file}"
        )
    cfg = setup(args)
    write_dataset = write_demo_fgvc if is_classification(cfg) else write_demo_dataset
    write_dataset(datasets_root())
    logger.info("Evaluating the untrained model")
    results = {"untrained": evaluate(cfg), "trained": train(cfg, resume=args.resume)}

    try:
        pictures = _draw(cfg)
    finally:  # the results of training are not lost if drawing fails
        logger.info("%s: untrained and trained\n%s", cfg.DATASETS.TESTS[0], results_table(results))
    logger.info(
        "Look at %s; checkpoint, config, log, metrics and TensorBoard events are beside them.",
        ", ".join(map(str, pictures)),
    )
    return results


def _draw(cfg: CfgNode) -> list[Path]:
    """Draw what the trained model finds, and where it looks."""
    folder, name = Path(cfg.OUTPUT_DIR), cfg.DATASETS.TESTS[0]
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(folder / "model_final.pth")
    predictor = Predictor.of(cfg, evaluation_model(cfg))
    _, evaluator = evaluate_dataset(cfg, predictor.model, name)
    attention = folder / "attention.png"
    if is_classification(cfg):
        result = evaluator.result
        pictures = [folder / "predictions.png", attention, folder / "evaluation" / name / "confusion.png"]
        draw_predictions_of(pictures[0], result, load_dataset(name, cfg), predictor.image_size)
        shown = result.paths[mistakes_first(result, 6)]
    else:
        pictures = [folder / "rank_lists.png", attention]
        chosen = chosen_queries(evaluator, order="spread", count=6)
        draw_rank_lists(pictures[0], rank_rows(evaluator, chosen, 10), size=predictor.image_size)
        shown = evaluator.features().paths[chosen]
    draw_attention_of(attention, predictor, shown.tolist())
    return pictures
