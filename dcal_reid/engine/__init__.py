"""Training, checkpoints, and the command-line code around them."""

from .checkpoint import Checkpointer
from .job import evaluate, main, train
from .setup import argument_parser, load_config, setup
from .trainer import Trainer

__all__ = [
    "Checkpointer",
    "Trainer",
    "argument_parser",
    "evaluate",
    "load_config",
    "main",
    "setup",
    "train",
]
