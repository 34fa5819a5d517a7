"""The command-line arguments of every tool that uses a model."""

import argparse

from .predictor import Predictor

__all__ = ["add_model_arguments", "predictor_from"]


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """``--weights``, ``--config-file``, ``--device`` and KEY VALUE overrides."""
    parser.add_argument(
        "--weights", default="", metavar="FILE", help="a checkpoint of a run, or weights from tools/export.py"
    )
    parser.add_argument(
        "--config-file", default="", metavar="FILE", help="default: the configuration that comes with the weights"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...; default: %(default)s")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="of the configuration: TEST.IMS_PER_BATCH 64 ...")


def predictor_from(args: argparse.Namespace) -> Predictor:
    """The model that the command line names.

    Raises:
        InputError: see ``Predictor``.
    """
    return Predictor(args.weights, config_file=args.config_file, overrides=args.opts, device=args.device)
