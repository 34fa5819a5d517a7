"""From the command line to a checked configuration, a run folder, a log and seeded generators."""

import argparse
import difflib
import logging
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import timm
import torch
import yaml
from fastreid.config import CfgNode
from fastreid.engine.defaults import default_argument_parser
from fastreid.utils import comm
from fastreid.utils.env import seed_all_rng
from fastreid.utils.logger import setup_logger

from .. import __version__
from ..config import get_cfg, value_of
from ..errors import InputError
from ..files import check_writable, written_atomically
from ..task import is_classification
from .check import check_config
from .inference import uses_half_precision

__all__ = [
    "argument_parser",
    "config_keys",
    "holds_run",
    "load_config",
    "parse_config",
    "resolve_device",
    "save_config",
    "setup",
    "use_device",
    "with_num_classes",
]

logger = logging.getLogger(__name__)


def argument_parser() -> argparse.ArgumentParser:
    """fast-reid's command line: --config-file, --eval-only, --resume, --num-gpus, ... and KEY VALUE overrides."""
    parser = default_argument_parser()
    parser.description = "Train or evaluate DCAL."
    # fast-reid's default is one port per user, on which a second job with several processes fails.
    parser.set_defaults(dist_url="auto")
    parser.add_argument("--report", default="", metavar="FILE", help="write an HTML report to FILE; needs --eval-only")
    return parser


def load_config(config_file: str, overrides: Sequence[str] = ()) -> CfgNode:
    """Merge the defaults, the file and its bases, and ``KEY VALUE ...``, in this order; not yet checked or frozen.

    Raises:
        InputError: no such file, not YAML, an unknown key (the nearest known one is named), or a value that is None or
            of the wrong type.
    """
    if config_file and not Path(config_file).is_file():
        raise InputError(f"--config-file {config_file!r} not found; see the folder configs/")
    cfg = get_cfg()
    with _input_errors(cfg, config_file):
        if config_file:
            cfg.merge_from_file(config_file)
        _override(cfg, overrides)
    _check_given(cfg)
    return cfg


def parse_config(text: str, source: str, overrides: Sequence[str] = ()) -> CfgNode:
    """``load_config`` for the output of ``cfg.dump()``.

    Args:
        text: YAML, complete: without _BASE_.
        source: its name in error messages.
        overrides: KEY VALUE ...

    Raises:
        InputError: as ``load_config``.
    """
    cfg = get_cfg()
    with _input_errors(cfg, source):
        cfg.merge_from_other_cfg(CfgNode(yaml.safe_load(text)))
        _override(cfg, overrides)
    _check_given(cfg)
    return cfg


def _override(cfg: CfgNode, overrides: Sequence[str]) -> None:
    for key in overrides[::2]:
        node, _, name = key.rpartition(".")
        if node == "MODEL.BACKBONE.TIMM_KWARGS":  # the one node whose keys are not known in advance
            cfg.MODEL.BACKBONE.TIMM_KWARGS.setdefault(name, None)
    cfg.merge_from_list(list(overrides))


def _check_given(cfg: CfgNode) -> None:
    """yacs accepts None for a value of any type."""
    for key in config_keys(cfg):
        if value_of(cfg, key) is None and not key.startswith("MODEL.BACKBONE.TIMM_KWARGS."):
            raise InputError(f"{key} is None; give a value, or leave the key out")


@contextmanager
def _input_errors(cfg: CfgNode, source: str) -> Iterator[None]:
    """Turn errors from merging a source into ``cfg`` into InputErrors of one line."""
    try:
        yield
    except RecursionError as error:
        raise InputError(f"{source} is its own _BASE_, or nested too deeply") from error
    except (KeyError, AssertionError) as error:
        raise InputError(_unknown_key(cfg, str(error.args[0]))) from error
    except FileNotFoundError as error:
        raise InputError(f"{source}: its _BASE_ {error.filename!r} not found") from error
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error
    except (ValueError, TypeError, AttributeError) as error:
        message = " ".join(str(error).split())
        # A single name instead of a tuple, the most common mistake with yacs.
        if message.startswith("Type mismatch (<class 'tuple'> vs. <class 'str'>)"):
            message += "; write names in brackets with a comma and in quotes: \"('CSVReID',)\""
        raise InputError(f"configuration: {message}") from error


def _unknown_key(cfg: CfgNode, message: str) -> str:
    """yacs says "Non-existent config key: A.B" for a file and "Non-existent key: A.B" for an override."""
    message = " ".join(message.split())
    kind, _, key = message.rpartition(":")
    key = key.strip()
    if key.startswith("--") or "odd length" in message:
        return "configuration: overrides are KEY VALUE pairs, after all options such as --eval-only; " + message
    if not kind.startswith("Non-existent"):
        return f"configuration: {message}"
    near = difflib.get_close_matches(key, config_keys(cfg), n=1, cutoff=0.5)
    return f"configuration: there is no key {key}" + (f"; did you mean {near[0]}?" if near else "")


def config_keys(node: CfgNode | None = None, prefix: str = "") -> list[str]:
    """Every key below ``node``, by default of the whole configuration: MODEL, MODEL.DEVICE, ..."""
    keys = []
    for name, value in (get_cfg() if node is None else node).items():
        keys.append(prefix + name)
        if isinstance(value, CfgNode):
            keys += config_keys(value, f"{prefix}{name}.")
    return keys


def resolve_device(cfg: CfgNode) -> None:
    """Replace MODEL.DEVICE ``auto`` by cuda if there is a GPU, else by cpu.

    Raises:
        InputError: the GPU does not exist, or the device is of another kind. On mps (Apple's GPUs) copies with
            non_blocking lose values (pytorch/pytorch#189690), and there is no float64, which evaluation uses.
    """
    if cfg.MODEL.DEVICE == "auto":
        cfg.MODEL.DEVICE = _default_device()
    device = re.fullmatch(r"cpu|cuda(?::(0|[1-9][0-9]*))?", cfg.MODEL.DEVICE)
    if not device:
        raise InputError(f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}; use auto, cpu, cuda, or cuda:1")
    if cfg.MODEL.DEVICE == "cpu":
        return
    if not torch.cuda.is_available():
        raise InputError(f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r} but PyTorch finds no GPU; use MODEL.DEVICE cpu")
    if int(device[1] or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise InputError(f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, but the last GPU of this machine is cuda:{last}")


def use_device(cfg: CfgNode) -> None:
    """``resolve_device``, then make a GPU PyTorch's current device. With several processes each has its own GPU (see
    ``launch``), whatever MODEL.DEVICE says.

    Raises:
        InputError: see ``resolve_device``.
    """
    resolve_device(cfg)
    if cfg.MODEL.DEVICE.startswith("cuda"):
        if cfg.MODEL.DEVICE == "cuda" or comm.get_world_size() > 1:
            cfg.MODEL.DEVICE = f"cuda:{torch.cuda.current_device()}"
        torch.cuda.set_device(cfg.MODEL.DEVICE)


def _default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def with_num_classes(cfg: CfgNode, num_classes: int) -> CfgNode:
    """``cfg`` with MODEL.HEADS.NUM_CLASSES filled in where it is 0.

    Raises:
        InputError: it is set, but too small for the training identities, or not the number of classes.
    """
    given, classes = cfg.MODEL.HEADS.NUM_CLASSES, is_classification(cfg)
    if given == num_classes or (given > num_classes and not classes):
        return cfg
    if given:
        raise InputError(
            f"MODEL.HEADS.NUM_CLASSES is {given}, but there are {num_classes} "
            f"{'classes' if classes else 'training identities'}; set it to 0"
        )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEADS.NUM_CLASSES = num_classes
    cfg.freeze()
    return cfg


def setup(args: argparse.Namespace) -> CfgNode:
    """Everything before the job: checked and frozen configuration, log, seeds.

    With several processes, each gets its own device and its own seed.

    Raises:
        InputError: see ``load_config``, ``check_config`` and ``resolve_device``; OUTPUT_DIR cannot be written to.
    """
    cfg = load_config(args.config_file, args.opts)
    if cfg.SEED < 0:
        before = _seed_of_the_run(cfg) if args.resume else None
        cfg.SEED = comm.all_gather(int.from_bytes(os.urandom(3), "big") if before is None else before)[0]
    check_config(cfg)

    rank = comm.get_rank()
    _make_output_folder(cfg)
    for package in ("dcal_reid", "fastreid"):
        setup_logger(cfg.OUTPUT_DIR, rank, name=package)
    logger.info("Command line: %s", " ".join(sys.argv))
    use_device(cfg)
    logger.info(_environment(cfg))
    if cfg.SOLVER.AMP.ENABLED and not uses_half_precision(cfg):
        on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
        has, other = ("this GPU has", "; SOLVER.AMP.DTYPE fp16 is fast on it") if on_gpu else ("this processor has", "")
        logger.warning("SOLVER.AMP is left out: %s no instructions for %s%s", has, cfg.SOLVER.AMP.DTYPE, other)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    seed_all_rng(cfg.SEED + rank)
    cfg.freeze()
    return cfg


def holds_run(folder: str | Path) -> bool:
    """Whether the folder has a checkpoint from which a run can resume."""
    return Path(folder, "last_checkpoint").is_file()


def _seed_of_the_run(cfg: CfgNode) -> int | None:
    """The seed that was drawn for the run to resume in OUTPUT_DIR; None if there is no such run."""
    folder = Path(cfg.OUTPUT_DIR)
    if not (holds_run(folder) and (folder / "config.yaml").is_file()):
        return None
    return load_config(str(folder / "config.yaml")).SEED


def _make_output_folder(cfg: CfgNode) -> None:
    try:
        Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
        check_writable(Path(cfg.OUTPUT_DIR, "config.yaml"))
    except OSError as error:
        raise InputError(f"OUTPUT_DIR {cfg.OUTPUT_DIR!r} cannot be written to: {error.strerror}") from error


def save_config(cfg: CfgNode) -> None:
    """Write OUTPUT_DIR/config.yaml, from which the run can be repeated and its checkpoints evaluated, even on a machine
    without the run's GPU."""
    cfg = cfg.clone()
    cfg.defrost()
    if cfg.MODEL.DEVICE.partition(":")[0] == _default_device():
        cfg.MODEL.DEVICE = "auto"
    with written_atomically(Path(cfg.OUTPUT_DIR, "config.yaml")) as temporary:
        temporary.write_text(cfg.dump())


def _environment(cfg: CfgNode) -> str:
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    device = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} threads"
    return (
        f"dcal_reid {__version__}, PyTorch {torch.__version__}, timm {timm.__version__}, "
        f"Python {platform.python_version()}, {comm.get_world_size()} process(es) on {cfg.MODEL.DEVICE} ({device}), "
        f"seed {cfg.SEED}"
    )
