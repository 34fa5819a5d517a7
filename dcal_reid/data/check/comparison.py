"""Compare the splits of a loaded data set with the official numbers and with each other."""

from fastreid.data.datasets.bases import ImageDataset

from ...text import first_few
from ..datasets.loading import without_match
from .files import ImageFile
from .layouts import Layout
from .report import DatasetCheck
from .statistics import Image, SplitStatistics, contradictions, identical_across, leaked, measure_split

__all__ = ["compare_splits"]


def compare_splits(
    check: DatasetCheck,
    splits: dict[str, list[Image]],
    dataset: ImageDataset,
    layout: Layout | None,
    files: dict[str, ImageFile],
) -> None:
    """Fill in the statistics of the splits, and the problems within and between them.

    Args:
        check: receives ``splits``, ``problems`` and ``notes``.
        splits: the items of each split.
        dataset, layout: the data set, and its layout if known.
        files: what was found in the image files, by path.
    """
    distractor = layout.distractor if layout else None
    for split, images in splits.items():
        check.splits[split] = statistics = measure_split(
            images, files, distractor=distractor, has_cameras=getattr(dataset, "has_cameras", not check.is_for_classes)
        )
        _against_official(check, split, statistics, dataset, layout)
        if statistics.broken:
            check.problems.append(
                f"broken images in {split}: {len(statistics.broken)} of {len(images)}: "
                f"{first_few(statistics.broken.values())}"
            )
        contrary = contradictions(images, files)
        if contrary:
            check.problems.append(
                f"identical files with two {'classes' if check.is_for_classes else 'identities'} in {split}: "
                f"{len(contrary)}: {first_few(f'{other} = {path}' for path, other in contrary)}"
            )
        if not images:  # some of fast-reid's data sets are for training alone
            check.notes.append(f"there are no {split} images")
    _against_official_cameras(check, splits, dataset)

    test = [image for split, images in splits.items() if split != "train" for image in images]
    if not check.is_for_classes and getattr(dataset, "pids_are_global", False):
        both = leaked(splits.get("train", []), test, distractor)
        if both:
            names = getattr(dataset, "identity_names", None)
            shown = first_few(repr(names[identity]) if names else identity for identity in both)
            check.problems.append(f"identities in training and in test: {len(both)}: {shown}")
    if "query" in splits and "gallery" in splits:
        _check_queries(check, splits["query"], splits["gallery"])
    ordered = list(splits.items())
    for place, one in enumerate(ordered):
        for other in ordered[place + 1 :]:
            sentence = identical_across(one, other, files)
            if sentence:
                check.problems.append(sentence)


def _against_official(
    check: DatasetCheck, split: str, statistics: SplitStatistics, dataset: ImageDataset, layout: Layout | None
) -> None:
    statistics.official_images = getattr(dataset, "official", {}).get(split)
    if check.is_for_classes:
        statistics.official_identities = dataset.official_classes
    elif layout:
        statistics.official_identities = layout.identities.get(split)
    what = "classes" if check.is_for_classes else "identities"
    for figure, found, official in (
        ("images", statistics.images, statistics.official_images),
        (what, statistics.identities, statistics.official_identities),
    ):
        if official not in (None, found):
            check.problems.append(f"{found:,} {figure} in {split}, officially {official:,}")


def _against_official_cameras(check: DatasetCheck, splits: dict[str, list[Image]], dataset: ImageDataset) -> None:
    if getattr(dataset, "official", None) and hasattr(dataset, "num_cameras"):
        found = len({image.camera for images in splits.values() for image in images})
        if found != dataset.num_cameras:
            check.problems.append(f"{found} cameras, officially {dataset.num_cameras}")


def _check_queries(check: DatasetCheck, query: list[Image], gallery: list[Image]) -> None:
    lonely = without_match(query, gallery)
    check.splits["query"].queries_without_match = lonely
    sentence = f"{lonely} of {len(query)} queries have no match from another camera in the gallery"
    if query and lonely == len(query):
        check.problems.append(f"{sentence}; nothing can be evaluated")
    elif lonely:
        check.notes.append(f"{sentence}; they do not count in the metrics")
    shared = {image.path for image in query} & {image.path for image in gallery}
    if shared:
        check.notes.append(f"{len(shared)} images are query and gallery; no query finds itself")
