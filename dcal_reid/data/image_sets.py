"""Images with their labels, one at a time and collated into batches."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from fastreid.data.common import CommDataset
from torch.utils.data import get_worker_info

from ..errors import InputError
from ..text import first_few, natural_key
from .images import read_image

__all__ = ["EvaluationImages", "TrainImages", "collate"]

Transform = Callable[[torch.Tensor], torch.Tensor]


class TrainImages(CommDataset):
    """Images to train on, with identities (or classes) numbered 0 ... num_classes - 1 and cameras from 0.

    Both are numbered in natural order. (fast-reid sorts them as strings: camera 10 before camera 2.)

    Args:
        img_items: (path, pid, camid); pid and camid are strings.
        transform: (3, H, W) uint8 to (3, H', W') uint8. Its random numbers come from torch's generator.
        skip_broken: replace an image that cannot be decoded by another image of the same identity.

    ``train_images[index, seed]`` returns a dict with ``images``, ``targets`` (identity), ``camids``, ``img_paths`` and
    ``broken_paths``, augmented with ``seed``; or an ``InputError``, which the loader raises in the main process. (If a
    worker raised it, the one-line message would arrive inside a page of traceback.)
    """

    def __init__(self, img_items: Sequence[tuple[str, str, str]], transform: Transform, skip_broken: bool):
        super().__init__(img_items, transform, relabel=True)
        self.skip_broken = skip_broken
        self.pids.sort(key=natural_key)
        self.cams.sort(key=natural_key)
        self.pid_dict = {pid: label for label, pid in enumerate(self.pids)}
        self.cam_dict = {cam: label for label, cam in enumerate(self.cams)}
        self.labels = [self.pid_dict[pid] for _, pid, _ in img_items]
        self.camera_labels = [self.cam_dict[cam] for _, _, cam in img_items]

    def digest(self) -> str:
        """A digest of file names and labels; it does not depend on the folder of the files."""
        lines = sorted(
            f"{os.path.basename(path)} {label}" for (path, *_), label in zip(self.img_items, self.labels, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()

    def __getitem__(self, key: tuple[int, int]) -> dict | InputError:
        index, seed = key
        broken = []
        for candidate in self._candidates(index, seed):
            path = self.img_items[candidate][0]
            try:
                image = read_image(path)
            except InputError as error:
                if not self.skip_broken:
                    return error
                broken.append(path)
                continue
            with _torch_seed(seed):
                image = self.transform(image)
            return {
                "images": image,
                "targets": self.labels[candidate],
                "camids": self.camera_labels[candidate],
                "img_paths": path,
                "broken_paths": broken,
            }
        return InputError(
            f"none of the {len(broken)} images of identity or class {self.img_items[index][1]!r} can be decoded: "
            f"{first_few(broken)}; repair them, or leave it out of the dataset"
        )

    def _candidates(self, index: int, seed: int) -> Iterator[int]:
        """The requested image, then the others of its identity in an order given by ``seed``."""
        yield index
        others = np.flatnonzero(np.asarray(self.labels) == self.labels[index])
        yield from np.random.default_rng(seed).permutation(others[others != index]).tolist()


class EvaluationImages(CommDataset):
    """Test images with the identities (or class labels) and cameras of the data set, not renumbered.

    ``images[index]`` returns a dict as ``TrainImages`` does, plus ``indices``, the position. With ``skip_broken``, the
    dict of an image that cannot be decoded has only ``broken_paths``.

    Raises:
        InputError: an identity or a camera that is not an integer.
    """

    def __init__(self, img_items: Sequence[tuple[str, int, int]], transform: Transform, skip_broken: bool):
        for path, *numbers in img_items:
            if not all(isinstance(number, int | np.integer) for number in numbers):
                raise InputError(f"test image {path!r} has identity and camera {numbers}; both must be integers")
        super().__init__(img_items, transform, relabel=False)
        self.skip_broken = skip_broken

    def __getitem__(self, index: int) -> dict | InputError:
        path, pid, camid = self.img_items[index]
        try:
            image = read_image(path)
        except InputError as error:
            return {"broken_paths": [path]} if self.skip_broken else error
        return {
            "images": self.transform(image),
            "targets": pid,
            "camids": camid,
            "indices": index,
            "img_paths": path,
            "broken_paths": [],
        }


def collate(samples: list[dict | InputError], image_size: tuple[int, int], numbers: Sequence[str]) -> dict | InputError:
    """Collate the samples that could be decoded into a batch, or return the first error among them.

    Args:
        samples: items of a ``TrainImages`` or ``EvaluationImages``.
        image_size: height and width, for a batch without images.
        numbers: the keys that become int64 tensors.

    Returns:
        ``images`` (B, 3, H, W) uint8, each of ``numbers`` (B,) int64, ``img_paths`` list of B strings,
        ``broken_paths``.
    """
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    good = [sample for sample in samples if "images" in sample]
    images = [sample["images"] for sample in good]
    batch = {"images": torch.stack(images) if images else torch.empty((0, 3, *image_size), dtype=torch.uint8)}
    for key in numbers:
        batch[key] = torch.tensor([sample[key] for sample in good], dtype=torch.int64)
    batch["img_paths"] = [sample["img_paths"] for sample in good]
    batch["broken_paths"] = [path for sample in samples for path in sample["broken_paths"]]
    return batch


@contextmanager
def _torch_seed(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator; restore it afterwards, except in a worker, where nothing else draws from it.

    ``torch.manual_seed`` would also seed CUDA's generator. The block runs on one thread, as in a worker, because sums
    depend on the number of threads.
    """
    if get_worker_info() is not None:
        torch.default_generator.manual_seed(seed)
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
