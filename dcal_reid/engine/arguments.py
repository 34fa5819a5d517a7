"""The command-line arguments of every tool that uses a model."""

import argparse
import os
from collections.abc import Callable, Sequence

from ..config import get_cfg
from .predictor import Predictor

__all__ = ["add_model_arguments", "images_and_overrides", "predictor_from", "values_and_rest"]


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--weights``, ``--config-file``, ``--device`` and KEY VALUE overrides."""
    parser.add_argument(
        "--weights", default="", metavar="FILE", help="checkpoint of a run, or weights from tools/export.py"
    )
    parser.add_argument(
        "--config-file", default="", metavar="FILE", help="configuration; default: the one that comes with the weights"
    )
    parser.add_argument("--device", default="auto", help="device: auto, cpu, cuda, cuda:1 ...; default: %(default)s")
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="configuration overrides: TEST.IMS_PER_BATCH 64 ..."
    )


def predictor_from(args: argparse.Namespace) -> Predictor:
    """The model that the command line names.

    Raises:
        InputError: see ``Predictor``.
    """
    return Predictor(args.weights, config_file=args.config_file, overrides=args.opts, device=args.device)


def values_and_rest(words: Sequence[str], ends: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """Split ``words`` before the first one for which ``ends`` is true.

    When overrides follow the values of an option, or images, argparse takes them for more of the same.
    """
    count = next((number for number, word in enumerate(words) if ends(word)), len(words))
    return list(words[:count]), list(words[count:])


def images_and_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split ``words`` into images and the KEY VALUE overrides that follow them, if any.

    Overrides start at the first word that begins with the name of a configuration section and is not a file.
    """
    sections = tuple(f"{name}." for name in get_cfg())
    return values_and_rest(words, lambda word: word.startswith(sections) and not os.path.exists(word))
