"""Everything that can be checked about a data set without a model."""

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from ...compat import registered_names
from ...errors import InputError
from ...files import check_writable, written_atomically
from ..datasets import ClassificationDataset, load_dataset
from ..datasets.listing import folder_names
from ..datasets.loading import datasets_root
from .comparison import compare_splits
from .files import examine_files
from .layouts import Layout, layout_of
from .report import DatasetCheck
from .statistics import Image

__all__ = ["check_dataset", "dataset_named"]


def dataset_named(name: str) -> str:
    """The registered name that matches ``name``: "market-1501" is Market1501.

    Raises:
        InputError: there is no such name; the error suggests the nearest.
    """
    registered = {_bare(known): known for known in registered_names(DATASET_REGISTRY)}
    if _bare(name) in registered:
        return registered[_bare(name)]
    near = get_close_matches(_bare(name), registered, n=1, cutoff=0.4)
    raise InputError(
        f"there is no dataset {name!r}"
        + (f"; did you mean {registered[near[0]]}?" if near else ".")
        + f" The names are {', '.join(registered.values())}"
    )


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def check_dataset(
    name: str, cfg: CfgNode, *, decode: bool = True, workers: int | None = None, json_path: str = ""
) -> DatasetCheck:
    """Load a data set as training would, examine every image, and report what is wrong.

    Args:
        name: a registered data set; case and punctuation do not matter.
        cfg: only its DATASETS are used.
        decode, workers: see ``examine_files``.
        json_path: where to write all results as JSON; empty: nowhere.

    Raises:
        InputError: no such data set, no folder to write to, or workers below 0. Faults of the data are not raised but
            listed among the problems of the result.
        OSError: ``json_path`` cannot be written.
    """
    name = dataset_named(name)
    if json_path and not Path(json_path).resolve().parent.is_dir():
        raise InputError(f"--json {json_path!r}: there is no folder {str(Path(json_path).parent)!r}; make it first")
    if json_path:
        check_writable(json_path)
    if workers is not None and workers < 0:
        raise InputError(f"--workers is {workers}; give a number of processes, or 0 for this one alone")
    root = datasets_root()
    check = DatasetCheck(name, root, is_for_classes=_is_for_classes(name))
    layout = layout_of(name, cfg, root)
    if layout:
        check.tree, check.source = layout.tree(), layout.source
    logged: list[str] = []
    with _messages_into(logged):
        splits, dataset = _load(name, cfg, check, layout)
    # Official numbers are compared below.
    check.notes += [message for message in logged if "officially" not in message]
    if splits:
        paths = list(dict.fromkeys(image.path for images in splits.values() for image in images))
        compare_splits(check, splits, dataset, layout, examine_files(paths, decode=decode, workers=workers))
    if json_path:
        with written_atomically(json_path) as temporary:
            temporary.write_text(json.dumps(check.as_dict(), indent=1) + "\n")
    return check


def _is_for_classes(name: str) -> bool:
    dataset_class = DATASET_REGISTRY.get(name)
    return isinstance(dataset_class, type) and issubclass(dataset_class, ClassificationDataset)


@contextmanager
def _messages_into(messages: list[str]) -> Iterator[None]:
    """Redirect the package's log messages to ``messages``."""
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("dcal_reid")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _load(
    name: str, cfg: CfgNode, check: DatasetCheck, layout: Layout | None
) -> tuple[dict[str, list[Image]], ImageDataset | None]:
    """The splits that can be loaded, and the data set; what cannot be loaded is added to the problems."""
    if layout:
        check.missing = layout.missing()
    try:
        dataset = load_dataset(name, cfg)
    except InputError as error:
        # If a single file is missing, the error names it.
        if layout and check.missing and len(layout.entries) > 1 and os.path.isdir(layout.home):
            check.problems.append(f"not in {layout.home!r}: {', '.join(check.missing)}")
        check.problems.append(str(error))
        if layout and not os.path.isdir(layout.home):
            check.notes += _similar_folders(layout.home)
        return {}, None
    splits = {}
    for split in ("train", "test") if check.is_for_classes else ("train", "query", "gallery"):
        try:
            items = getattr(dataset, split)
        except InputError as error:
            if str(error) not in check.problems:
                check.problems.append(str(error))
            continue
        prefix = getattr(dataset, "dataset_name", type(dataset).__name__) + "_"
        splits[split] = [Image(path, _number(pid, prefix), _number(camera, prefix)) for path, pid, camera, *_ in items]
    return splits, dataset


def _similar_folders(home: str) -> list[str]:
    """Hints at folders that may be the data set under another name."""
    parent, name = os.path.split(home.rstrip("/"))
    there = {_bare(folder): folder for folder in folder_names(parent)} if os.path.isdir(parent) else {}
    near = [there[match] for match in get_close_matches(_bare(name), there, cutoff=0.4)]
    return [f"found {os.path.join(parent, folder)!r}; if it is the data set, rename it to {name!r}" for folder in near]


def _number(label: int | str, prefix: str) -> int | str:
    """Training items have strings, "market1501_7", where query and gallery have the number 7."""
    text = str(label).removeprefix(prefix)
    return int(text) if text.isdecimal() else label
