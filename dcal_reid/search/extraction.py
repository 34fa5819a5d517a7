"""The job of ``tools/extract_features.py``: write the features of many images to one file."""

import argparse
import time
from pathlib import Path

import torch
from fastreid.utils import comm

from ..engine.launch import launch
from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation import Records
from ..files import check_writable
from ..text import printable
from .feature_file import feature_writer
from .model import feature_predictor
from .parts import extract_parts
from .sources import dataset_records, image_records

__all__ = ["extract_features", "main"]


def main(args: argparse.Namespace) -> None:
    """Extract features as the command line says, in as many processes as it asks for or ``torchrun`` has started.

    Args:
        args: ``source`` or ``dataset`` and ``split``, ``output``, ``overwrite``; and the arguments of
            ``dcal_reid.engine.arguments`` and ``dcal_reid.engine.launch``.

    Raises:
        InputError, OSError: see :func:`extract_features`, ``image_records``, ``dataset_records`` and ``Predictor``.
    """
    if not args.dataset and args.source is None:
        raise InputError("SOURCE and OUTPUT are needed, or --dataset and OUTPUT")
    _check_output(Path(args.output), args.overwrite)
    on_gpu = args.device.startswith("cuda") or (args.device == "auto" and torch.cuda.is_available())
    launch(_extract, args, device="cuda" if on_gpu else "cpu")


def _extract(args: argparse.Namespace) -> None:
    # Before the model, so that a wrong path is reported at once.
    records = None if args.dataset else image_records(args.source)
    predictor = feature_predictor(args)
    if records is None:
        records = dataset_records(args.dataset, args.split, predictor.cfg)
    extract_features(predictor, records, args.output, overwrite=args.overwrite)


def extract_features(predictor: Predictor, records: Records, output: str | Path, *, overwrite: bool = False) -> None:
    """Write the features and the records of images to one ``.npz`` or ``.parquet`` file.

    Features are first kept in OUTPUT.parts, from which an interrupted run continues. With several processes, each
    extracts a share, and the first one joins the shares. Broken images that are left out are listed in
    OUTPUT.broken.txt.

    Disk: twice the features, until the parts are joined. Memory: the list of images, about 1024 features, and what the
    model needs for a batch.

    Raises:
        InputError: the output exists, has no folder or is of another kind; OUTPUT.parts belongs to another model or
            list, or another job is at work in it; an image cannot be decoded, unless DATALOADER.BROKEN_IMAGES is skip.
        OSError: the output cannot be written.
    """
    output = Path(output)
    _check_output(output, overwrite)
    write = feature_writer(output, records.paths)
    started = time.perf_counter()
    with extract_parts(predictor, records, f"{output}.parts") as parts:
        if not comm.is_main_process():
            return
        parts.list_broken(f"{output}.broken.txt")
        write(parts, predictor.dim, output)
        count = len(parts.good())
        parts.remove()
    print(
        f"{count:,} features of {predictor.dim} values in {time.perf_counter() - started:.1f} s: "
        f"{printable(str(output))} ({output.stat().st_size / 1e6:,.1f} MB), model {predictor.fingerprint}"
    )


def _check_output(output: Path, overwrite: bool) -> None:
    feature_writer(output)
    if not output.parent.is_dir():
        raise InputError(f"folder {str(output.parent)!r} of OUTPUT not found; make it first")
    if output.exists() and not overwrite:
        raise InputError(f"{str(output)!r} exists; choose another OUTPUT, or give --overwrite")
    check_writable(output)
