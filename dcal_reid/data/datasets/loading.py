"""From names in the config to lists of images."""

import difflib
import inspect
import logging
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from fastreid.utils import comm
from tabulate import tabulate

from ...compat import registered_names
from ...errors import InputError
from ...task import is_classification
from .classification import ClassificationDataset

__all__ = ["datasets_root", "load_classes", "load_dataset", "load_test_items", "load_train_items", "without_match"]

logger = logging.getLogger(__name__)

Item = tuple[str, int | str, int | str]


def datasets_root() -> str:
    """The folder that FASTREID_DATASETS names, with ~ expanded; by default "datasets"."""
    return os.path.expanduser(os.environ.get("FASTREID_DATASETS", "datasets"))


def load_dataset(name: str, cfg: CfgNode) -> ImageDataset:
    """The registered dataset ``name`` below the folder FASTREID_DATASETS (by default "datasets").

    Returns:
        fast-reid's ``ImageDataset``: ``train``, ``query`` and ``gallery`` are lists of (path, pid, camid, ...). Further
        elements of the items of a user's data set are ignored, as in fast-reid.

    Raises:
        InputError: no dataset of this name, or its files are missing or malformed.
    """
    try:
        dataset_class = DATASET_REGISTRY.get(name)
    except KeyError:
        registered = registered_names(DATASET_REGISTRY)
        nearest = difflib.get_close_matches(name, registered, n=1, cutoff=0)
        raise InputError(
            f"dataset {name!r} is not registered; did you mean {nearest[0]}? Registered: {', '.join(registered)} "
            "(datasets/README.md tells how to use your own images)"
        ) from None
    root = datasets_root()
    options = {"cfg": cfg} if "cfg" in inspect.signature(dataset_class).parameters else {}
    # fast-reid's VehicleID draws its gallery with the global generator, so it differs between processes and runs.
    state = random.getstate()
    random.seed(0)
    try:
        return dataset_class(root=root, **options)
    except InputError:
        raise
    except Exception as error:
        missing = isinstance(error, OSError | RuntimeError)
        # fast-reid's own data sets can raise any exception on a malformed file.
        if not missing and not dataset_class.__module__.startswith("fastreid."):
            raise
        message = " ".join(str(error).split())
        if not missing:
            message = f"{type(error).__name__}: {message}".removesuffix(": ")
        module = dataset_class.__module__
        shown_in = "datasets/README.md" if module.startswith("dcal_reid.") else f"the code of {module}"
        raise InputError(
            f"dataset {name}: {message} (looked in {root!r}); set FASTREID_DATASETS, and see {shown_in} for the layout"
        ) from error
    finally:
        random.setstate(state)


def load_train_items(cfg: CfgNode) -> list[Item]:
    """The images of all DATASETS.NAMES, sorted by path, with query and gallery images if DATASETS.COMBINEALL is set.

    Identities and cameras are strings that begin with the dataset's name, so two datasets never share one by accident.

    Raises:
        InputError: no dataset, a dataset that is named twice, or one without training images.
    """
    names = tuple(cfg.DATASETS.NAMES)
    if not names or len(set(names)) < len(names):
        raise InputError(f"DATASETS.NAMES is {names}; name at least one dataset, and each once")
    items = []
    for name in names:
        dataset = load_dataset(name, cfg)
        _check_task(name, dataset, cfg)
        _log_table(name, dataset, ("train",))
        train = _named(dataset, dataset.train)
        if not train:
            raise InputError(f"dataset {name} has no training images; remove it from DATASETS.NAMES")
        items += train
        if cfg.DATASETS.COMBINEALL:
            test = [item for item in (*dataset.query, *dataset.gallery) if item[1] not in dataset._junk_pids]
            logger.warning("DATASETS.COMBINEALL adds %d query and gallery images of %s to training", len(test), name)
            items += _named(dataset, test, "" if getattr(dataset, "pids_are_global", False) else "test_")
    # An image is one item, even if both query and gallery contain it.
    return sorted({item[0]: item for item in items}.values())


def _named(dataset: ImageDataset, items: Iterable[Item], pid_prefix: str = "") -> list[Item]:
    """Identity 7 and camera 0 become market1501_7 and market1501_0; in most datasets training items already have this
    form."""
    prefix = getattr(dataset, "dataset_name", type(dataset).__name__) + "_"

    def name(value: int | str, inner: str = "") -> str:
        return value if isinstance(value, str) and value.startswith(prefix) else f"{prefix}{inner}{value}"

    return [(path, name(pid, pid_prefix), name(camid)) for path, pid, camid, *_ in items]


def load_test_items(cfg: CfgNode, name: str) -> tuple[list[Item], int]:
    """Query images and then gallery images of one dataset, and the number of query images.

    Raises:
        InputError: no query or no gallery images, or no query whose identity is in the gallery from another camera.
    """
    dataset = load_dataset(name, cfg)
    _check_task(name, dataset, cfg)
    _log_table(name, dataset, ("query", "gallery"))
    query, gallery = ([tuple(item[:3]) for item in items] for items in (dataset.query, dataset.gallery))
    for subset, items in (("query", query), ("gallery", gallery)):
        if not items:
            raise InputError(f"dataset {name} has no {subset} images, so it cannot be tested on; see DATASETS.TESTS")
    _check_protocol(name, query, gallery)
    return query + gallery, len(query)


def load_classes(cfg: CfgNode, name: str) -> ClassificationDataset:
    """A data set for classification. A class has the same label in training and test.

    With DATASETS.HOLD_OUT, the images that are held out of training replace the test images.

    Raises:
        InputError: the data set is not for classification, or its files are missing or malformed.
    """
    dataset = load_dataset(name, cfg)
    _check_task(name, dataset, cfg)
    if cfg.DATASETS.HOLD_OUT:
        dataset.hold_out(cfg.DATASETS.HOLD_OUT)
    _log_table(name, dataset, ("train", "test"))
    return dataset


def _check_task(name: str, dataset: ImageDataset, cfg: CfgNode) -> None:
    tasks = ("re-identification", "classification")
    is_for, head_is_for = isinstance(dataset, ClassificationDataset), is_classification(cfg)
    if is_for != head_is_for:
        raise InputError(
            f"dataset {name} is for {tasks[is_for]}, but MODEL.HEADS.NAME {cfg.MODEL.HEADS.NAME} is for "
            f"{tasks[head_is_for]}; use a config that is based on configs/Base-{'fgvc' if is_for else 'reid'}.yml"
        )


def _check_protocol(name: str, query: list[Item], gallery: list[Item]) -> None:
    unanswerable = without_match(query, gallery)
    if unanswerable == len(query):
        pids, gallery_pids = ({pid for _, pid, _ in items} for items in (query, gallery))
        raise InputError(
            f"dataset {name}: none of the {len(query)} query images can be found in the gallery: of {len(pids)} query "
            f"identities {len(pids & gallery_pids)} are among the {len(gallery_pids)} gallery identities, and none "
            "from another camera; check how query, gallery and cameras are chosen"
        )
    if unanswerable:
        logger.warning(
            "%s: %d of %d query images have no image of their identity from another camera in the gallery; they do not "
            "count in the metrics.",
            *(name, unanswerable, len(query)),
        )
    shared = len({path for path, _, _ in query} & {path for path, _, _ in gallery})
    if shared:
        logger.info("%s: %d images are query and gallery; no query finds itself.", name, shared)


def without_match(query: Sequence[Item], gallery: Sequence[Item]) -> int:
    """The number of queries whose identity is not in the gallery from another camera."""
    cameras_of = defaultdict(set)
    for _, pid, camid in gallery:
        cameras_of[pid].add(camid)
    return sum(not cameras_of.get(pid, set()) - {camid} for _, pid, camid in query)


def _log_table(name: str, dataset: ImageDataset, subsets: tuple[str, ...]) -> None:
    """Log images, identities and cameras of each subset, and whether the number of images is the official one."""
    if not comm.is_main_process():
        return
    rows = []
    for_classes = isinstance(dataset, ClassificationDataset)
    for subset in subsets:
        items = getattr(dataset, subset)
        num_pids, num_cameras = dataset.parse_data(items)
        cameras = [] if for_classes else [num_cameras if getattr(dataset, "has_cameras", True) else "not known"]
        rows.append([subset, num_pids, len(items), *cameras])
        official = getattr(dataset, "official", {}).get(subset, len(items))
        if official != len(items):
            logger.warning("%s has %d %s images here, officially %d.", name, len(items), subset, official)
    headers = ["subset", "# classes", "# images"] if for_classes else ["subset", "# ids", "# images", "# cameras"]
    table = tabulate(rows, headers=headers, tablefmt="pipe", numalign="left")
    logger.info("Loaded %s:\n%s", name, table)
