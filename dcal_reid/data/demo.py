"""A small generated re-ID dataset in Market-1501's layout, for trying the whole pipeline without a download.

Everybody wears the same uniform. Identities differ only in small marks: the kind and colour of the hat, the emblem
(shape, colour and place), an armband, a bag, a knee patch and the shoes. They come in families that share most of these
marks. The four cameras differ in background, light, colour cast, blur and noise, so two images of one camera are more
alike than two images of one identity until a model has learned where to look.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from .demo_figures import CAMERAS, CHOICES, Marks, render
from .generated import check_at_least, write_once

__all__ = ["write_demo_dataset"]

# Increase it with every change that alters an image, so that existing datasets are regenerated.
VERSION = 1
# Images of one identity in one camera.
TRAIN_SHOTS, QUERY_SHOTS, GALLERY_SHOTS = 2, 1, 2
# Identities that share most of their marks.
FAMILY = 5


def write_demo_dataset(
    root: str | Path,
    *,
    seed: int = 0,
    train_identities: int = 100,
    test_identities: int = 45,
    distractors: int = 100,
    junk: int = 50,
) -> Path:
    """Write the dataset to ``root/demo-reid`` unless it is already there. This takes a few seconds.

    ``bounding_box_train``, ``query`` and ``bounding_box_test`` hold files named as in Market-1501, for instance
    ``0002_c1s1_000050_00.jpg``: identity, camera, frame. Identities 1 ... ``train_identities`` are for training, the
    next ``test_identities`` for testing. The gallery also holds ``distractors`` (identity 0000: other people, one image
    each) and ``junk`` (identity -1: bad detections of the test identities). The folder appears complete or not at
    all, even if several processes call this at once.

    Returns:
        The folder of the dataset.

    Raises:
        InputError: a count or the seed is too small, or ``root/demo-reid`` holds something else.
    """
    least = {"seed": 0, "train_identities": 1, "test_identities": 1, "distractors": 0, "junk": 0}
    contents = {
        "seed": seed,
        "train_identities": train_identities,
        "test_identities": test_identities,
        "distractors": distractors,
        "junk": junk,
    }
    check_at_least(least, contents)
    return write_once(Path(root) / "demo-reid", {"version": VERSION, **contents}, _images(**contents))


def _images(
    *, seed: int, train_identities: int, test_identities: int, distractors: int, junk: int
) -> Iterator[tuple[str, Image.Image]]:
    """Every image with its path inside the dataset."""
    people = _people(train_identities + test_identities + distractors, np.random.default_rng([seed, 0]))
    testees = people[train_identities : train_identities + test_identities]

    def crop(folder: str, pid: int, marks: Marks, camera: int, frame: int) -> tuple[str, Image.Image]:
        # A generator per image: an image does not depend on how many were drawn before it.
        rng = np.random.default_rng([seed, 1, pid + 1, camera, frame])
        name = f"{pid:04d}" if pid >= 0 else str(pid)
        image = render(marks, CAMERAS[camera], rng, cut_off=pid < 0)
        return f"{folder}/{name}_c{camera + 1}s1_{frame:06d}_00.jpg", image

    for camera in range(len(CAMERAS)):
        for pid, marks in enumerate(people[:train_identities], start=1):
            for shot in range(TRAIN_SHOTS):
                yield crop("bounding_box_train", pid, marks, camera, 25 * pid + shot)
        for pid, marks in enumerate(testees, start=train_identities + 1):
            for shot in range(QUERY_SHOTS + GALLERY_SHOTS):
                folder = "query" if shot < QUERY_SHOTS else "bounding_box_test"
                yield crop(folder, pid, marks, camera, 25 * pid + shot)
    for i, marks in enumerate(people[train_identities + test_identities :]):
        yield crop("bounding_box_test", 0, marks, i % len(CAMERAS), 25 * i)
    for i in range(junk):
        yield crop("bounding_box_test", -1, testees[i % test_identities], i % len(CAMERAS), 25 * i)


def _people(count: int, rng: np.random.Generator) -> list[Marks]:
    """``count`` identities in families of look-alikes; any two identities differ in at least two marks."""
    people: list[Marks] = []
    while len(people) < count:
        marks = Marks(*(str(rng.choice(choices)) for choices in CHOICES))
        if len(people) % FAMILY:
            # A look-alike: all but three marks are those of the family's first member.
            first = people[len(people) // FAMILY * FAMILY]
            kept = rng.permutation(len(CHOICES))[3:]
            marks = marks._replace(**{Marks._fields[i]: first[i] for i in kept})
        if all(sum(a != b for a, b in zip(marks, other, strict=True)) >= 2 for other in people):
            people.append(marks)
    return people
