"""Training, checkpoints and what a command line needs around them."""

from .checkpoint import Checkpointer
from .job import evaluate, exit_on_input_error, main, train
from .setup import argument_parser, load_config, setup
from .trainer import Trainer

__all__ = [
    "Checkpointer",
    "Trainer",
    "argument_parser",
    "evaluate",
    "exit_on_input_error",
    "load_config",
    "main",
    "setup",
    "train",
]
