"""A gallery searched by faiss: exactly, or approximately if it is large."""

import json
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import faiss
import numpy as np

from ..errors import InputError
from ..files import one_writer
from .faiss_threads import one_thread_on_macos
from .gallery import Gallery, Hits, check_fingerprint, check_k, check_one_record_each, shown_distances
from .gallery_folder import META, generation_of, remove_other_generations, resolved_folder, write_generation
from .recall import recall_at
from .records import Records, RecordStore
from .scaled import ScaledFeatures, check_metric

__all__ = ["FaissGallery"]

logger = logging.getLogger(__name__)

_VERSION = 1
# The number of features scaled and copied at a time.
_BLOCK = 2**16
# If too few of the requested items are of the wanted cameras, the next request is for this many times as many.
_GROWTH = 4


class FaissGallery(Gallery):
    """Features in a faiss index, searched on a GPU if ``faiss-gpu`` is installed and the GPU can hold such an index.

    Args:
        dim: D.
        metric: ``cosine`` or ``euclidean``.
        factory: faiss' factory string: ``Flat`` (exact), ``IVF4096,Flat``, ``HNSW32``, ``IVF4096,PQ32`` ...
        search: faiss' search parameters, such as ``nprobe=32`` or ``efSearch=64``. Empty: a 64th of the inverted lists,
            or for HNSW efSearch 128.
        fingerprint: of the model that computed the features.

    Raises:
        InputError: a metric, factory or search that does not exist.
    """

    def __init__(
        self, dim: int, metric: str = "cosine", factory: str = "Flat", search: str = "", fingerprint: str = ""
    ):
        check_metric(metric)
        self.dim, self.metric, self.factory, self.fingerprint = dim, metric, factory, fingerprint
        # Recall@10 against an exact search, measured by build; unknown (None) after a change.
        self.recall: float | None = None
        kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
        index = _or_input_error(f"an index {factory!r} of {dim} values", faiss.index_factory, dim, factory, kind)
        ivf = faiss.try_extract_index_ivf(index)
        # Inverted lists store ids themselves; other indexes only count items, including those that refine the results
        # of inverted lists.
        self._index = index if isinstance(_innermost(index), faiss.IndexIVF) else faiss.IndexIDMap2(index)
        if not search and ivf is not None:
            search = f"nprobe={max(1, ivf.nlist // 64)}"
        elif not search and "HNSW" in factory:
            search = "efSearch=128"
        if search:
            set_parameters = faiss.ParameterSpace().set_index_parameters
            _or_input_error(f"an index {factory!r} with {search!r}", set_parameters, self._index, search)
        self.search_options = search
        self._records, self._next_id = RecordStore(), 0
        self._hidden = np.empty(0, dtype=np.int64)  # removed from the records, but an HNSW index cannot drop them
        self._on_gpu = None
        self._mapped_file: Path | None = None
        self._saved_as: tuple[Path, int] | None = None  # the folder and generation opened or saved last

    @classmethod
    def build(cls, features, records: Records, **options) -> "FaissGallery":
        """A gallery of n features (n, D). If the index is not exact, its recall@10 is measured and logged.

        Args:
            options: metric, factory, search, fingerprint; see the class.

        Raises:
            InputError: see the class and :meth:`add`.
        """
        gallery = cls(np.shape(features)[-1], **options)
        gallery.add(features, records)
        if gallery.factory != "Flat":
            gallery.recall = recall_at(10, gallery, features)
            found = f"finds {100 * gallery.recall:.1f} % of the 10 nearest items of an exact search"
            logger.info(
                "%s with %s: %d items, %s", gallery.factory, gallery.search_options or "defaults", len(gallery), found
            )
        return gallery

    def __len__(self) -> int:
        return len(self._records)

    @property
    def ids(self) -> np.ndarray:
        return np.asarray(self._records.ids)

    @property
    def cameras(self) -> list[str]:
        return sorted(self._records.values("cameras").tolist())

    @one_thread_on_macos
    def add(self, features, records: Records) -> np.ndarray:
        scaled = self.scaled(features)
        check_one_record_each(scaled, records)
        self._own()
        self.recall = None
        if not self._index.is_trained:
            self._train(scaled)
        ids = np.arange(self._next_id, self._next_id + len(scaled))
        self._records.append(ids, records)
        self._next_id += len(ids)  # used up even if adding fails
        more = f"an index {self.factory!r} with {len(ids)} more items"
        try:
            for start in range(0, len(scaled), _BLOCK):
                block = slice(start, start + _BLOCK)
                _or_input_error(more, self._index.add_with_ids, scaled.single(block), ids[block])
        except BaseException:
            self._records.drop(ids)
            with suppress(InputError):  # the index cannot remove items
                self._remove_vectors(ids)
            raise
        return ids

    @one_thread_on_macos
    def remove(self, ids) -> None:
        ids = np.unique(np.asarray(ids, dtype=np.int64))
        self._own()
        self.recall = None
        self._records.rows(ids)  # refuses unknown ids
        self._remove_vectors(ids)
        self._records.drop(ids)

    def _remove_vectors(self, ids: np.ndarray) -> None:
        try:
            self._index.remove_ids(faiss.IDSelectorBatch(ids))
        except RuntimeError:
            if not isinstance(_innermost(self._index), faiss.IndexHNSW):
                raise InputError(
                    f"an index {self.factory!r} cannot remove items; build the gallery again without them"
                ) from None
            self._hidden = np.union1d(self._hidden, ids)

    @one_thread_on_macos
    def search(self, features, k: int, cameras: Sequence[str] | None = None) -> Hits:
        if cameras is not None:
            return self._search_cameras(features, k, cameras)
        parameters = None
        if len(self._hidden):
            selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(self._hidden))
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=_innermost(self._index).hnsw.efSearch)
        return self._hits(self._searcher(k), features, k, parameters)

    def _search_cameras(self, features, k: int, cameras: Sequence[str]) -> Hits:
        """Search items of these cameras; an index that can search a subset examines only those.

        The fewer such items there are, the more inverted lists are searched, because the nearest ones are further away.
        """
        innermost, ids = _innermost(self._index), self.ids[self._records.is_among("cameras", cameras)]
        if isinstance(innermost, faiss.IndexFlat):
            parameters = faiss.SearchParameters(sel=self._selector(ids))
        elif type(innermost) in _SELECTING_IVF:
            probed = min(innermost.nlist, math.ceil(innermost.nprobe * len(self) / max(1, len(ids))))
            parameters = faiss.SearchParametersIVF(sel=self._selector(ids), nprobe=probed)
        elif isinstance(innermost, faiss.IndexHNSW) and len(ids) <= _BLOCK:
            return self._hits(self._exact(ids), features, k, None)
        else:
            return self._search_on(features, k, cameras)
        return self._hits(self._index, features, k, parameters)  # on the CPU: not every index on GPUs can select

    def _selector(self, ids: np.ndarray):
        wanted = np.zeros(self._next_id, dtype=bool)
        wanted[ids] = True
        return faiss.IDSelectorBitmap(np.packbits(wanted, bitorder="little"))

    def _exact(self, ids: np.ndarray) -> faiss.Index:
        """An exact index of some items, with their vectors as stored in this index."""
        flat = faiss.IndexIDMap(faiss.IndexFlat(self.dim, self._index.metric_type))
        flat.add_with_ids(self._index.reconstruct_batch(ids), ids)
        return flat

    def _search_on(self, features, k: int, cameras: Sequence[str]) -> Hits:
        """Ask for more and more items until ``k`` items of the cameras are found.

        An approximate index may find fewer: it finds no item outside the lists that it searches.
        """
        check_k(k)
        hits = Hits.none(len(features), k)
        asked, left = k, np.arange(len(features))
        while len(left):
            nearest, unfinished = self.search(features[left], asked), []
            for query, found, distances in zip(left.tolist(), nearest.ids, nearest.distances, strict=True):
                found = found[found >= 0]
                kept = np.flatnonzero(self._records.is_among("cameras", cameras, self._records.rows(found)))[:k]
                if len(kept) < k and len(found) == asked < len(self):  # there may be more
                    unfinished.append(query)
                hits.ids[query, : len(kept)], hits.distances[query, : len(kept)] = found[kept], distances[kept]
            asked, left = min(_GROWTH * asked, len(self)), np.array(unfinished, dtype=np.int64)
        return hits

    def _hits(self, index, features, k: int, parameters) -> Hits:
        scaled = self.scaled(features)
        check_k(k)
        found, ids = index.search(scaled.single(), k, params=parameters)
        return Hits(ids, np.where(ids < 0, np.float32(np.inf), shown_distances(found, self.metric)))

    def records(self, ids) -> Records:
        return self._records.take(ids)

    def is_current(self) -> bool:
        """Whether no one else has written to the gallery's folder since it was opened from or saved to it."""
        return self._saved_as is None or self._saved_as[1] == generation_of(self._saved_as[0])

    def save(self, folder) -> None:
        """See :meth:`Gallery.save`.

        Raises:
            InputError: the gallery was opened from or saved to this folder, and another process has written there
                since; the path of the folder is not UTF-8; or the index cannot be written.
        """
        folder = resolved_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with one_writer(folder):
            if self._saved_as is not None and self._saved_as[0] == folder:
                self._check_current()
            meta = {
                "version": _VERSION, "engine": "faiss", "items": len(self), "dim": self.dim, "metric": self.metric,
                "factory": self.factory, "search": self.search_options, "recall@10": self.recall,
                "fingerprint": self.fingerprint, "next_id": self._next_id,
            }  # fmt: skip
            generation = write_generation(folder, partial(self._write, folder), meta)
            self._saved_as = folder, generation
            if self._mapped_file is not None:
                self._mapped_file = folder / f"vectors-{generation}.faiss"
            remove_other_generations(folder, generation)

    def _write(self, folder: Path, generation: int) -> None:
        self._records.save(folder, str(generation))
        np.save(folder / f"hidden-{generation}.npy", self._hidden)
        _write_index(self._index, folder / f"vectors-{generation}.faiss")

    @classmethod
    def open(cls, folder, fingerprint: str | None = None) -> "FaissGallery":
        """Open what :meth:`save` wrote without reading it: vectors and records stay on disk until a search or a change
        needs them.

        Raises:
            InputError: there is no gallery, it is damaged, of another version or of another model than ``fingerprint``,
                or the path is not UTF-8.
        """
        folder = resolved_folder(folder)
        if not (folder / META).is_file():
            raise InputError(f"{folder} is not a gallery: it has no {META}")
        while True:
            generation = generation_of(folder)
            try:
                return cls._open(folder, fingerprint)
            except InputError:
                raise
            except Exception as error:  # NumPy and faiss raise almost anything on damaged files
                if generation_of(folder) != generation:
                    continue  # another process has saved and removed the files being opened
                reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
                raise InputError(f"gallery {str(folder)!r} is damaged: {reason}; build it again") from error

    @classmethod
    def _open(cls, folder: Path, fingerprint: str | None) -> "FaissGallery":
        meta = json.loads((folder / META).read_text())
        if (meta.get("version"), meta.get("engine")) != (_VERSION, "faiss"):
            raise InputError(
                f"{folder} is a gallery of {meta.get('engine')}, version {meta.get('version')}; this opens those of "
                f"faiss, version {_VERSION}: build it again"
            )
        check_fingerprint(folder, meta["fingerprint"], fingerprint)
        gallery = cls.__new__(cls)
        gallery.dim, gallery.metric, gallery.factory = meta["dim"], meta["metric"], meta["factory"]
        gallery.fingerprint, gallery.recall = meta["fingerprint"], meta["recall@10"]
        gallery.search_options, gallery._next_id = meta["search"], meta["next_id"]
        gallery._records = RecordStore.open(folder, str(int(meta["generation"])))
        if len(gallery._records) != meta["items"]:
            raise ValueError(f"{len(gallery._records)} records of {meta['items']} items")
        gallery._hidden = np.load(folder / f"hidden-{meta['generation']}.npy")
        gallery._mapped_file, gallery._on_gpu = folder / f"vectors-{meta['generation']}.faiss", None
        gallery._index = faiss.read_index(str(gallery._mapped_file), _MAPPED)
        gallery._saved_as = folder, meta["generation"]
        return gallery

    def _own(self) -> None:
        """Load the index into memory before a change: faiss aborts the process if a mapped index is changed."""
        if self._mapped_file is not None:
            self._check_current()
            self._index, self._mapped_file = faiss.read_index(str(self._mapped_file)), None
        self._on_gpu = None

    def _check_current(self) -> None:
        if not self.is_current():
            raise InputError(
                "the gallery was changed by another process after it was opened here, so it is left as it is; open it "
                "again and repeat the change"
            )

    def _train(self, scaled: ScaledFeatures) -> None:
        """Find centroids from a sample of the first items that are added."""
        ivf = faiss.try_extract_index_ivf(self._index)
        wanted = max(256, 0 if ivf is None else ivf.nlist) * _SAMPLES_PER_CENTROID
        rows = np.arange(len(scaled))
        if len(rows) > wanted:
            rows = np.sort(np.random.default_rng(0).choice(rows, wanted, replace=False))
        few = f"an index {self.factory!r} from {len(rows)} items"
        _or_input_error(few, self._index.train, scaled.single(rows))

    def _searcher(self, k: int):
        """The index, or its copy on the first GPU.

        Only one GPU is used: if it cannot hold an index, faiss raises an exception; with several, it ends the process.
        """
        if faiss.get_num_gpus() == 0 or k > _MAX_K_ON_GPU or "HNSW" in self.factory:
            return self._index
        if self._on_gpu is None:
            try:
                self._on_gpu = faiss.index_cpu_to_all_gpus(self._index, ngpu=1)
            except RuntimeError as error:
                logger.info("%s is searched on the CPU: %s", self.factory, _reason(error))
                self._on_gpu = self._index
        return self._on_gpu


_SAMPLES_PER_CENTROID = 64
# The largest k that faiss supports on a GPU.
_MAX_K_ON_GPU = 2048
# The indexes with inverted lists that can search a subset of their items; others cannot.
_SELECTING_IVF = (faiss.IndexIVFFlat, faiss.IndexIVFPQ, faiss.IndexIVFScalarQuantizer)
# Map the whole index without a copy if faiss can (1.11 and later); otherwise only inverted lists stay on disk.
_MAPPED = getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP)


def _write_index(index, path: Path) -> None:
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        raise InputError(
            f"gallery {str(path)!r} cannot be written: {_reason(error)}; make room and repeat it"
        ) from None


def _innermost(index):
    """The index itself, without its id map and transforms."""
    while isinstance(index, (faiss.IndexIDMap, faiss.IndexPreTransform)):
        index = faiss.downcast_index(index.index)
    return index


def _or_input_error(what: str, call, *arguments):
    try:
        return call(*arguments)
    except RuntimeError as error:
        raise InputError(f"faiss cannot build {what}: {_reason(error)}") from None


def _reason(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1].rpartition("Error: ")[2]
