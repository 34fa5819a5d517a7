"""Which images make up a training batch.

A sampler yields endless global batches: lists of SOLVER.IMS_PER_BATCH positions in the training set. They depend only
on the seed, not on the number of processes or on a shared random number generator. Every process iterates over the same
global batches and takes its contiguous part of each, so an identity's images stay together.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from fastreid.config import CfgNode
from torch.utils.data import Sampler

from ..errors import InputError

__all__ = [
    "SAMPLERS",
    "BalancedIdentitySampler",
    "NaiveIdentitySampler",
    "RankBatches",
    "TrainingSampler",
    "build_sampler",
]

# Two independent streams of random numbers derived from one seed.
_BATCHES, _IMAGES = 0, 1


class GlobalBatchSampler(Sampler[list[int]]):
    """Base of the samplers: endless global batches.

    Args:
        pids: identity label of each image.
        camids: camera label of each image.
        batch_size: number of images in a global batch.
        num_instance: K, the number of images of one identity in a batch.
        seed: 0 or more.
    """

    def __init__(self, pids: Sequence[int], camids: Sequence[int], batch_size: int, num_instance: int, seed: int):
        self.pids = np.asarray(pids)
        self.camids = np.asarray(camids)
        self.batch_size = batch_size
        self.num_instance = num_instance
        self.seed = seed

    @property
    def inseparable(self) -> int:
        """How many consecutive images must stay in one process."""
        return self.num_instance

    def epochs(self) -> Iterator[np.random.Generator]:
        """A private generator for each epoch."""
        for epoch in itertools.count():
            yield np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(_BATCHES, epoch)))


class TrainingSampler(GlobalBatchSampler):
    """Every image once per epoch, in random order. A batch may hold the end of one epoch and the start of the next."""

    inseparable = 1

    def __iter__(self) -> Iterator[list[int]]:
        images = itertools.chain.from_iterable(rng.permutation(len(self.pids)).tolist() for rng in self.epochs())
        while True:
            yield list(itertools.islice(images, self.batch_size))


class _IdentitySampler(GlobalBatchSampler):
    """P identities x K images, P = batch_size / K. The images of an identity are consecutive."""

    def __init__(self, pids: Sequence[int], camids: Sequence[int], batch_size: int, num_instance: int, seed: int):
        super().__init__(pids, camids, batch_size, num_instance, seed)
        if num_instance < 1:
            raise InputError(f"DATALOADER.NUM_INSTANCE is {num_instance}; it is the images per identity, 1 or more")
        if batch_size % num_instance:
            raise InputError(
                f"SOLVER.IMS_PER_BATCH {batch_size} is not a multiple of DATALOADER.NUM_INSTANCE {num_instance}"
            )
        self.num_pids = batch_size // num_instance
        self.images = [np.flatnonzero(self.pids == pid) for pid in np.unique(self.pids)]
        if len(self.images) < self.num_pids:
            raise InputError(
                f"SOLVER.IMS_PER_BATCH {batch_size} / DATALOADER.NUM_INSTANCE {num_instance} makes {self.num_pids} "
                f"identities in a batch, but the training set has {len(self.images)}; use a smaller batch"
            )


class NaiveIdentitySampler(_IdentitySampler):
    """Random identities, and for each of them K images not yet used in this epoch.

    An identity takes part until fewer than K of its images are left; one with fewer than K images takes part once,
    with images drawn with replacement. The epoch ends when fewer than P identities are left.
    """

    def __iter__(self) -> Iterator[list[int]]:
        k = self.num_instance
        groups = np.array([max(len(images) // k, 1) for images in self.images])
        for rng in self.epochs():
            left = groups.copy()
            shuffled: dict[int, np.ndarray] = {}
            while len(available := np.flatnonzero(left)) >= self.num_pids:
                batch = []
                for pid in rng.choice(available, self.num_pids, replace=False).tolist():
                    if pid not in shuffled:
                        images = self.images[pid]
                        shuffled[pid] = rng.permutation(images) if len(images) >= k else rng.choice(images, k)
                    start = (groups[pid] - left[pid]) * k
                    batch += shuffled[pid][start : start + k].tolist()
                    left[pid] -= 1
                yield batch


class BalancedIdentitySampler(_IdentitySampler):
    """Every identity once per epoch: one of its images at random, and K - 1 from other cameras where there are any.

    An identity with only one camera gets other images of that camera. Images are drawn with replacement only where
    there are fewer than K - 1. The last identities of an epoch that do not fill a batch are left out.
    """

    def __iter__(self) -> Iterator[list[int]]:
        for rng in self.epochs():
            order = rng.permutation(len(self.images))
            for first in range(0, len(order) - self.num_pids + 1, self.num_pids):
                yield [i for pid in order[first : first + self.num_pids] for i in self.choose(self.images[pid], rng)]

    def choose(self, images: np.ndarray, rng: np.random.Generator) -> list[int]:
        first = rng.choice(images)
        others = images[self.camids[images] != self.camids[first]]
        if not len(others):
            others = images[images != first] if len(images) > 1 else images
        rest = rng.choice(others, self.num_instance - 1, replace=len(others) < self.num_instance - 1)
        return [int(first), *rest.tolist()]


SAMPLERS = {sampler.__name__: sampler for sampler in (TrainingSampler, NaiveIdentitySampler, BalancedIdentitySampler)}


def build_sampler(cfg: CfgNode, pids: Sequence[int], camids: Sequence[int]) -> GlobalBatchSampler:
    """The sampler that DATALOADER.SAMPLER_TRAIN names.

    Raises:
        InputError: an unknown name, an empty batch or one that is not a multiple of NUM_INSTANCE, too few identities,
            or a negative SEED.
    """
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if name not in SAMPLERS:
        raise InputError(f"DATALOADER.SAMPLER_TRAIN is {name!r}; choose one of {', '.join(SAMPLERS)}")
    if cfg.SOLVER.IMS_PER_BATCH < 1:
        raise InputError(f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}; it must be 1 or more")
    if cfg.SEED < 0:
        raise InputError(f"SEED is {cfg.SEED}: the loader needs the seed itself, 0 or more, the same in every process")
    return SAMPLERS[name](pids, camids, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE, cfg.SEED)


class RankBatches(Sampler[list[tuple[int, int]]]):
    """One process's part of the batches of ``sampler``, starting at iteration ``start`` (default 0).

    Yields:
        For each iteration a list of (position in the training set, seed of this image's augmentation). The seed depends
        on the sampler's seed, the iteration and the position in the global batch.

    Raises:
        InputError: the batch cannot be divided among the processes without splitting the images of an identity.
    """

    def __init__(self, sampler: GlobalBatchSampler, rank: int, world_size: int):
        if sampler.batch_size % (world_size * sampler.inseparable):
            raise InputError(
                f"SOLVER.IMS_PER_BATCH {sampler.batch_size} is not a multiple of {world_size} processes x "
                f"{sampler.inseparable} images of one identity, so it cannot be divided; choose another batch size"
            )
        self.sampler = sampler
        self.start = 0
        share = sampler.batch_size // world_size
        self.mine = slice(rank * share, (rank + 1) * share)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        batches = itertools.islice(self.sampler, self.start, None)
        for iteration, batch in enumerate(batches, self.start):
            sequence = np.random.SeedSequence(self.sampler.seed, spawn_key=(_IMAGES, iteration))
            seeds = sequence.generate_state(len(batch), np.uint64).tolist()
            yield list(zip(batch[self.mine], seeds[self.mine], strict=True))
