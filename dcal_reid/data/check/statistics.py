"""Statistics of a split, and faults between splits."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from ...text import first_few
from .files import ImageFile

__all__ = [
    "Image",
    "SplitStatistics",
    "Spread",
    "contradictions",
    "identical_across",
    "leaked",
    "measure_split",
]


class Image(NamedTuple):
    """One item of a split. If cameras are unknown, ``camera`` is a different number for each image."""

    path: str
    identity: int | str
    camera: int | str


class Spread(NamedTuple):
    """Smallest value, median and largest."""

    least: int
    median: float
    most: int

    @classmethod
    def of(cls, values: Iterable[int]) -> "Spread | None":
        values = list(values)
        return cls(min(values), median(values), max(values)) if values else None

    def __str__(self) -> str:
        return " / ".join(f"{value:,g}" for value in self)


@dataclass
class SplitStatistics:
    """Statistics of one split. Distractors count as images, but have no identity; None means unknown."""

    images: int
    identities: int
    cameras: int | None
    distractors: int
    images_per_identity: Spread | None
    one_camera_identities: int | None
    width: Spread | None
    height: Spread | None
    identical_files: int
    broken: dict[str, str] = field(default_factory=dict)  # path: reason
    official_images: int | None = None
    official_identities: int | None = None
    queries_without_match: int | None = None


def measure_split(
    images: list[Image], files: Mapping[str, ImageFile], *, distractor: int | None, has_cameras: bool
) -> SplitStatistics:
    """Compute the statistics of a split.

    Args:
        images: its items.
        files: what was found in their files, by path.
        distractor: the number that means "no identity"; None: there is no such number.
        has_cameras: whether cameras are known.
    """
    named = [image for image in images if image.identity != distractor]
    counts = Counter(image.identity for image in named)
    cameras = defaultdict(set)
    for image in named:
        cameras[image.identity].add(image.camera)
    sizes = [files[image.path].size for image in images if files[image.path].size]
    digests = [files[path].digest for path in {image.path for image in images} if files[path].digest]
    return SplitStatistics(
        images=len(images),
        identities=len(counts),
        cameras=len({image.camera for image in images}) if has_cameras else None,
        distractors=len(images) - len(named),
        images_per_identity=Spread.of(counts.values()),
        one_camera_identities=sum(len(seen) == 1 for seen in cameras.values()) if has_cameras else None,
        width=Spread.of(width for width, _ in sizes),
        height=Spread.of(height for _, height in sizes),
        identical_files=len(digests) - len(set(digests)),
        broken={image.path: files[image.path].error for image in images if files[image.path].error},
    )


def leaked(train: list[Image], test: list[Image], distractor: int | None) -> list[int | str]:
    """Identities that are in both the training and the test images."""
    tested = {image.identity for image in test} - {distractor}
    return sorted({image.identity for image in train} & tested, key=str)


def contradictions(images: list[Image], files: Mapping[str, ImageFile]) -> list[tuple[str, str]]:
    """Pairs of paths of files that are byte-for-byte identical but have different identities or classes."""
    first: dict[bytes, Image] = {}
    pairs = []
    for image in images:
        if files[image.path].digest:
            twin = first.setdefault(files[image.path].digest, image)
            if twin.identity != image.identity:
                pairs.append((twin.path, image.path))
    return pairs


def identical_across(
    one: tuple[str, list[Image]], other: tuple[str, list[Image]], files: Mapping[str, ImageFile]
) -> str | None:
    """A message about files of one split that are byte-for-byte copies of files of another split under other paths.

    A copy that shows the same identity from the same camera as the query is excluded from the query's ranking and does
    no harm.

    Args:
        one, other: name and items of a split.
        files: what was found in the files, by path.
    """
    (name, images), (other_name, others) = one, other
    by_digest = defaultdict(list)
    for image in images:
        if files[image.path].digest:
            by_digest[files[image.path].digest].append(image)
    pairs = {
        twin.path: image.path
        for twin in others
        for image in by_digest.get(files[twin.path].digest, ())
        if image.path != twin.path and (name == "train" or image[1:] != twin[1:])
    }
    if not pairs:
        return None
    shown = first_few(f"{twin} = {path}" for twin, path in pairs.items())
    return f"identical files in {name} and {other_name}: {len(pairs)}: {shown}"
