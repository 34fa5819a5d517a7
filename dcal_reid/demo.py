"""The whole job on a generated dataset: train DCAL, evaluate it against the untrained model, draw two pictures."""

import argparse
import logging
import os
from pathlib import Path

from .data.demo import write_demo_dataset
from .engine import evaluate, setup, train
from .engine.inference import evaluate_dataset
from .engine.job import load_model, results_table
from .modeling.backbones import input_size
from .visualize.report import draw_attention_of, draw_rank_lists_of, spread_by_ap

__all__ = ["run_demo"]

logger = logging.getLogger(__name__)


def run_demo(args: argparse.Namespace) -> dict[str, dict]:
    """Write the dataset below FASTREID_DATASETS, then train, evaluate and draw into OUTPUT_DIR.

    Args:
        args: a command line as ``tools/train_net.py`` takes it.

    Returns:
        The metrics of the untrained and of the trained model.
    """
    cfg = setup(args)
    write_demo_dataset(os.environ.get("FASTREID_DATASETS", "datasets"))
    logger.info("Evaluating the untrained model")
    results = {"untrained": evaluate(cfg), "trained": train(cfg, resume=args.resume)}

    folder = Path(cfg.OUTPUT_DIR)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(folder / "model_final.pth")
    model = load_model(cfg)
    _, evaluator = evaluate_dataset(cfg, model, cfg.DATASETS.TESTS[0])
    draw_rank_lists_of(folder / "rank_lists.png", evaluator, input_size(cfg))
    queries = evaluator.features().paths[spread_by_ap(evaluator.result, 6)]
    draw_attention_of(folder / "attention.png", model, queries.tolist(), input_size(cfg))

    logger.info("%s: untrained and trained\n%s", cfg.DATASETS.TESTS[0], results_table(results))
    logger.info(
        "Look at %s and %s; checkpoint, config, log, metrics and TensorBoard events are beside them.",
        *(folder / name for name in ("rank_lists.png", "attention.png")),
    )
    return results
