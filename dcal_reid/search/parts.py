"""Features of many images on disk, part by part, so that a killed run can continue where it stopped."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fastreid.utils import comm
from tqdm import tqdm

from ..engine.predictor import Extracted, Predictor
from ..errors import InputError
from ..evaluation import Records
from ..files import one_writer, written_atomically
from ..text import printable

__all__ = ["NothingDecoded", "Part", "Parts", "extract_parts"]

# Approximate number of images in a part: what a kill loses, and what is held in memory.
_PART = 1024
_META = "parts.json"


class NothingDecoded(InputError):
    """None of the images can be decoded."""


class Part(NamedTuple):
    """Features of the images ``start`` to ``stop``, without the broken ones."""

    start: int
    stop: int
    indices: np.ndarray  # (n,) int64, ascending
    features: np.ndarray  # (n, D) float32


class Parts:
    """A folder of parts, each written whole or not at all, that belongs to one list of images and one model.

    Each part stores the sizes and modification times of its images; parts whose images have changed since are removed.

    Args:
        folder: must exist.
        fingerprint: of the model.
        records: the images.

    Raises:
        InputError: the folder holds features of another model or of another list, or something else.
    """

    def __init__(self, folder: str | Path, fingerprint: str, records: Records) -> None:
        self.folder, self.records, self.fingerprint = Path(folder), records, fingerprint
        digest = hashlib.blake2b(digest_size=8)
        for path in records.paths:
            digest.update(f"{path}\0".encode("utf-8", "surrogateescape"))  # a file name need not be UTF-8
        self._owner = {"version": 1, "model": fingerprint, "images": len(records), "list": digest.hexdigest()}
        self._stamps = _stamps(records.paths)  # before an image is read, so that a later change is noticed
        self._check()
        comm.synchronize()  # all processes check before the first one writes
        if comm.is_main_process():
            with written_atomically(self.folder / _META) as temporary:
                temporary.write_text(json.dumps(self._owner) + "\n")
            self._remove_outdated()
        comm.synchronize()

    def __str__(self) -> str:
        return printable(str(self.folder))

    def _check(self) -> None:
        try:
            owner = json.loads((self.folder / _META).read_text())
        except (OSError, ValueError):
            owner = None
        # If the disk was full at the start, the folder has at most the temporary file of parts.json.
        if owner == self._owner or (
            self.folder.is_dir() and all(path.match(".*.tmp") for path in self.folder.iterdir())
        ):
            return
        cure = f"delete {str(self.folder)!r}, or choose another output"
        if not isinstance(owner, dict):
            raise InputError(f"{str(self.folder)!r} is not a folder of unfinished features; {cure}")
        if owner.get("model") != self.fingerprint:
            found = f"of model {owner.get('model')}, this is {self.fingerprint}"
        else:
            found = f"of another list of {owner.get('images')} images, this one has {len(self.records)}"
        raise InputError(f"{str(self.folder)!r} holds unfinished features {found}; continue with that one, or {cure}")

    def _remove_outdated(self) -> None:
        outdated = 0
        for start, stop in self._ranges():
            path = self._file(start, stop)
            with np.load(path) as file:
                current = np.array_equal(file.get("stamps"), self._stamps[start:stop])
            if not current:
                path.unlink()
                outdated += stop - start
        if outdated:
            print(f"images have changed since their features were written to {self}: {outdated:,} are extracted again")

    def missing(self) -> list[range]:
        """The images that no part has, in order."""
        gaps, position = [], 0
        for start, stop in (*self._ranges(), (len(self.records), len(self.records))):
            if start > position:
                gaps.append(range(position, start))
            position = max(position, stop)
        return gaps

    def write(self, part: Part) -> None:
        stamps = self._stamps[part.start : part.stop]
        with written_atomically(self._file(part.start, part.stop)) as temporary, open(temporary, "wb") as file:
            np.savez(file, indices=part.indices, features=part.features, stamps=stamps)

    def __iter__(self) -> Iterator[Part]:
        """All parts in the order of the images, one in memory at a time."""
        for start, stop in self._ranges():
            with np.load(self._file(start, stop)) as file:
                yield Part(start, stop, file["indices"], file["features"])

    def good(self) -> np.ndarray:
        """Positions of the images that could be decoded, (n,) int64, ascending.

        Raises:
            InputError: the parts do not hold each image exactly once.
        """
        ranges = self._ranges()
        count = sum(stop - start for start, stop in ranges)
        if self.missing() or count != len(self.records):
            raise InputError(
                f"{str(self.folder)!r} holds features of {count} images, some perhaps twice, and the list has "
                f"{len(self.records)}: several jobs wrote there; delete it, and give the command again"
            )
        indices = [np.empty(0, dtype=np.int64)]
        for start, stop in ranges:
            with np.load(self._file(start, stop)) as file:  # the features stay on disk
                indices.append(file["indices"])
        return np.concatenate(indices)

    def list_broken(self, path: str | Path) -> None:
        """List the images that could not be decoded in a text file, one per line, and say so; without any, no file.

        Raises:
            NothingDecoded: no image could be decoded; the parts, which hold no features, are removed.
        """
        broken = np.delete(self.records.paths, self.good())
        Path(path).unlink(missing_ok=True)  # from an earlier run
        if not len(broken):
            return
        with written_atomically(path) as temporary:
            text = "".join(f"{name}\n" for name in broken)
            temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
        first = f"first {str(broken[0])!r}; see {printable(str(path))}"
        if len(broken) == len(self.records):
            self.remove()
            raise NothingDecoded(f"none of the {len(broken)} images can be decoded, {first}")
        print(f"{len(broken):,} images cannot be decoded and are left out, {first}")

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def _ranges(self) -> list[tuple[int, int]]:
        return sorted(tuple(map(int, file.stem.split("-"))) for file in self.folder.glob("[0-9]*-[0-9]*.npz"))

    def _file(self, start: int, stop: int) -> Path:
        return self.folder / f"{start:010d}-{stop:010d}.npz"


def _stamps(paths: np.ndarray) -> np.ndarray:
    """Size and modification time of files, (n, 2) int64, -1 where there is no file."""
    stamps = np.full((len(paths), 2), -1, dtype=np.int64)
    for row, path in enumerate(paths):
        with suppress(OSError):
            found = os.stat(path)
            stamps[row] = found.st_size, found.st_mtime_ns
    return stamps


@contextmanager
def _only_job_in(folder: Path) -> Iterator[None]:
    """Create a folder if needed, and keep other jobs out of it until the block ends (except on Windows).

    Raises:
        InputError: another job is in it.
    """
    with ExitStack() as stack:
        taken = False
        if comm.is_main_process():
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(one_writer(folder, wait=False))
            except BlockingIOError:
                taken = True
        if any(comm.all_gather(taken)):
            raise InputError(
                f"another job is at work in {str(folder)!r}; wait until it has ended, or choose another output"
            )
        yield


@contextmanager
def extract_parts(predictor: Predictor, records: Records, folder: str | Path) -> Iterator[Parts]:
    """Extract what is not yet in the folder; each of several processes takes a contiguous share. No other job can use
    the folder until the block ends.

    Memory: the list of images, a part of about 1024 features, and what the model needs for a batch.

    Raises:
        InputError: an image that cannot be decoded, unless DATALOADER.BROKEN_IMAGES is skip; another job is at work in
            the folder; or see ``Parts``.
    """
    with _only_job_in(Path(folder)):
        parts = Parts(folder, predictor.fingerprint, records)
        _extract_missing(predictor, parts)
        yield parts


def _extract_missing(predictor: Predictor, parts: Parts) -> None:
    gaps, processes = parts.missing(), comm.get_world_size()
    comm.synchronize()  # all processes look before the first one goes on
    done = len(parts.records) - sum(map(len, gaps))
    if done and comm.is_main_process():
        print(f"{done:,} of {len(parts.records):,} images are in {parts}, the others follow")
    # The loader gives each process its share of a gap; none is larger than the first one's.
    mine = sum(-(-len(gap) // processes) for gap in gaps)
    name = "extract" if processes == 1 else f"extract, 1 of {processes} processes"
    try:
        with tqdm(total=mine, desc=name, unit=" images", disable=not comm.is_main_process()) as progress:
            for gap in gaps:
                _extract(predictor, parts, gap, progress)
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    comm.synchronize()


def _extract(predictor: Predictor, parts: Parts, gap: range, progress: tqdm) -> None:
    """Extract this process's share of consecutive images."""
    paths = parts.records.paths[gap.start : gap.stop].tolist()
    for start, stop, indices, features in _joined(predictor.extract(paths), paths, progress):
        parts.write(Part(gap.start + start, gap.start + stop, gap.start + indices, features))


def _joined(batches: Iterable[Extracted], paths: list[str], progress: tqdm) -> Iterator[Part]:
    """Join consecutive batches into parts."""
    held: list[Extracted] = []
    start = stop = None
    for batch in batches:
        if start is None:  # where this process's share begins
            start = stop = min([*batch.indices[:1].tolist(), *map(paths.index, batch.broken)])
        held.append(batch)
        size = len(batch.indices) + len(batch.broken)
        stop += size
        progress.update(size)
        if stop - start >= _PART:
            yield _part(start, stop, held)
            held, start = [], stop
    if held:
        yield _part(start, stop, held)


def _part(start: int, stop: int, batches: list[Extracted]) -> Part:
    indices, features = (np.concatenate([batch[i] for batch in batches]) for i in (0, 1))
    return Part(start, stop, indices, features)
