"""A gallery in Milvus: on a cluster if one machine is not enough, or in one file with Milvus Lite."""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..text import check_utf8
from .gallery import Gallery, Hits, check_fingerprint, check_k, check_one_record_each, shown_distances
from .records import Records
from .scaled import check_metric

__all__ = ["MilvusGallery"]

logger = logging.getLogger(__name__)

_VERSION = "1"
# Items per request; Milvus refuses requests above 64 MB.
_BATCH = 1000
# The maximum number of items that Milvus returns for a query.
_MOST = 16384
_METRIC_TYPES = {"cosine": "COSINE", "euclidean": "L2"}
_COLUMNS = ("path", "identity", "camera")


class MilvusGallery(Gallery):
    """A Milvus collection. Added items are visible to all clients at once: there is nothing to save.

    The id of an item is derived from its path: adding a path again replaces the item, so that an interrupted upload can
    be repeated. A cluster's token is read from the environment variable MILVUS_TOKEN, so that it does not appear in the
    shell history.

    Args:
        uri: a file (Milvus Lite), or the address of a cluster, ``http://host:19530``.
        name: the name of the collection.

    Raises:
        InputError: pymilvus is not installed, the address does not answer, no such collection, or one that
            :meth:`create` did not make.
    """

    def __init__(self, uri: str, name: str) -> None:
        self.uri, self.name = uri, name
        self._client = _connect(uri)
        if not self._client.has_collection(name):
            raise InputError(
                f"there is no gallery {name!r} at {uri!r}; its galleries are {self._client.list_collections()}"
            )
        properties = self._client.describe_collection(name).get("properties", {})
        if properties.get("dcal_reid.version") != _VERSION:
            found = properties.get("dcal_reid.version", "none")
            raise InputError(
                f"collection {name!r} at {uri!r} is not a gallery of version {_VERSION} (found: {found}); build it "
                "again"
            )
        self.metric, self.fingerprint = properties["dcal_reid.metric"], properties["dcal_reid.fingerprint"]
        self.dim = int(properties["dcal_reid.dim"])
        self.index = properties.get("dcal_reid.index")  # None: created by an earlier version, which did not store it
        # Which columns are integers; Milvus stores all of them as strings.
        self._integers = properties["dcal_reid.integers"].split()
        self._client.load_collection(name)

    @classmethod
    def create(
        cls,
        uri: str,
        name: str,
        dim: int,
        *,
        metric: str = "cosine",
        index: str = "AUTOINDEX",
        fingerprint: str = "",
        integers: Sequence[str] = (),
        overwrite: bool = False,
    ) -> "MilvusGallery":
        """A new, empty collection, or an existing one whose upload was interrupted; see :meth:`check_free`.

        Args:
            dim: D.
            metric: cosine | euclidean.
            index: Milvus' name of an index: AUTOINDEX, FLAT (exact), HNSW, IVF_FLAT ...
            fingerprint: of the model that computed the features.
            integers: which of identity and camera are integers, not strings.
            overwrite: first remove an existing collection.

        Raises:
            InputError: a metric or an index that does not exist; also see :meth:`check_free`.
        """
        check_metric(metric)
        cls.check_free(uri, name, metric=metric, index=index, fingerprint=fingerprint, overwrite=overwrite)
        client = _connect(uri)
        from pymilvus import DataType, MilvusClient, MilvusException  # if missing, _connect says what to install

        if client.has_collection(name):
            if not overwrite:
                return cls(uri, name)
            client.drop_collection(name)
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("feature", DataType.FLOAT_VECTOR, dim=dim)
        for column in _COLUMNS:
            schema.add_field(column, DataType.VARCHAR, max_length=4096)
        indexes = client.prepare_index_params()
        indexes.add_index("feature", index_type=index, metric_type=_METRIC_TYPES[metric])
        properties = {
            "version": _VERSION, "metric": metric, "index": index, "dim": str(dim), "fingerprint": fingerprint,
            "integers": " ".join(integers),
        }  # fmt: skip
        properties = {f"dcal_reid.{key}": value for key, value in properties.items()}
        try:
            client.create_collection(name, schema=schema, index_params=indexes, properties=properties)
        except MilvusException as error:
            raise InputError(
                f"Milvus at {uri!r} cannot make a gallery with index {index!r}: {error.message}"
            ) from error
        return cls(uri, name)

    @classmethod
    def check_free(cls, uri: str, name: str, *, metric: str, index: str, fingerprint: str, overwrite: bool) -> None:
        """Check before a long extraction that :meth:`create` can use this name: it is unused, or it belongs to a
        collection whose upload was interrupted; with ``overwrite`` to any collection.

        Raises:
            InputError: the name belongs to a complete collection, or to one of another model, metric or index.
        """
        client = _connect(uri)
        if overwrite or not client.has_collection(name):
            return
        gallery = cls(uri, name)
        if gallery.is_finished:
            raise InputError(f"gallery {name!r} exists at {uri!r}; --add adds to it, --overwrite replaces it")
        interrupted = f"gallery {name!r}, whose upload was interrupted,"
        check_fingerprint(interrupted, gallery.fingerprint, fingerprint)
        for what, has, wanted in (("metric", gallery.metric, metric), ("index", gallery.index, index)):
            if has not in (None, wanted):
                raise InputError(f"{interrupted} has {what} {has}, not {wanted}; give the same, or --overwrite")

    @property
    def is_finished(self) -> bool:
        """Whether the upload that the collection was created for is complete."""
        return self._client.describe_collection(self.name)["properties"].get("dcal_reid.finished") == "yes"

    def finish(self) -> None:
        """Mark the upload that the collection was created for as complete."""
        self._client.alter_collection_properties(self.name, properties={"dcal_reid.finished": "yes"})

    def __len__(self) -> int:
        (counted,) = self._client.query(self.name, filter="", output_fields=["count(*)"])
        return counted["count(*)"]

    @property
    def ids(self) -> np.ndarray:
        return np.sort(np.array([item["id"] for item in self._all("id")], dtype=np.int64))

    @property
    def cameras(self) -> list[str]:
        return sorted({item["camera"] for item in self._all("camera")})

    def add(self, features, records: Records) -> np.ndarray:
        features = self.scaled(features).single()
        check_one_record_each(features, records)
        columns = (records.paths, records.identities, records.cameras)
        for name, column in zip(_COLUMNS, columns, strict=True):
            if (column.dtype.kind != "U") != (name in self._integers) and len(column):
                raise InputError(f"{name} of this gallery and of the new items are not both text or both integers")
        check_utf8(records.paths, "Milvus", "rename the file")
        ids = np.array([_id_of(path) for path in records.paths.tolist()], dtype=np.int64)
        rows = [
            {
                "id": int(key),
                "feature": feature,
                **{name: str(value) for name, value in zip(_COLUMNS, values, strict=True)},
            }
            for key, feature, *values in zip(ids, features, *(column.tolist() for column in columns), strict=True)
        ]
        for start in range(0, len(rows), _BATCH):
            self._client.upsert(self.name, rows[start : start + _BATCH])
        return ids

    def remove(self, ids) -> None:
        ids = np.unique(np.asarray(ids, dtype=np.int64))
        self.records(ids)  # refuses unknown ids
        for start in range(0, len(ids), _BATCH):
            self._client.delete(self.name, ids=ids[start : start + _BATCH].tolist())

    def search(self, features, k: int, cameras: Sequence[str] | None = None) -> Hits:
        features = self.scaled(features).single()
        check_k(k)
        expression = ""
        if cameras is not None:
            # Milvus Lite does not support expression parameters; Milvus quotes strings like JSON, but without \u.
            expression = f"camera in {json.dumps([str(camera) for camera in cameras], ensure_ascii=False)}"
        hits = Hits.none(len(features), k)
        for start in range(0, len(features), _BATCH):
            found = self._client.search(
                self.name,
                list(features[start : start + _BATCH]),
                filter=expression,
                limit=min(k, _MOST),
                output_fields=["id"],
                consistency_level="Strong",
            )
            for row, items in enumerate(found, start):
                hits.ids[row, : len(items)] = [item["id"] for item in items]
                distances = np.array([item["distance"] for item in items], dtype=np.float32)
                hits.distances[row, : len(items)] = shown_distances(distances, self.metric)
        return hits

    def records(self, ids) -> Records:
        ids = np.asarray(ids, dtype=np.int64)
        found = {}
        for start in range(0, len(ids), _BATCH):
            keys = ids[start : start + _BATCH].tolist()
            found |= {item["id"]: item for item in self._client.get(self.name, keys, output_fields=list(_COLUMNS))}
        missing = [key for key in ids.tolist() if key not in found]
        if missing:
            raise InputError(f"{len(missing)} ids are not in the gallery, the first {missing[0]}")
        texts = ([found[key][name] for key in ids.tolist()] for name in _COLUMNS)
        return Records(
            *(
                np.array(text, dtype=np.int64 if name in self._integers else str)
                for name, text in zip(_COLUMNS, texts, strict=True)
            )
        )

    def save(self, folder) -> None:
        """Do nothing: added items are already stored."""

    @classmethod
    def open(cls, uri: str, name: str, fingerprint: str | None = None) -> "MilvusGallery":
        """Open the gallery of this name; a warning reports an upload that was interrupted or is still running.

        Raises:
            InputError: see the class; also a gallery of another model than ``fingerprint``.
        """
        gallery = cls(uri, name)
        check_fingerprint(f"gallery {name!r}", gallery.fingerprint, fingerprint)
        if not gallery.is_finished:
            logger.warning(
                "gallery %r at %r is incomplete, its upload was interrupted or still runs: it has %d images; run "
                "the same build command again to continue", name, uri, len(gallery),
            )  # fmt: skip
        return gallery

    def _all(self, column: str):
        iterator = self._client.query_iterator(self.name, batch_size=_BATCH, filter="", output_fields=[column])
        while batch := iterator.next():
            yield from batch
        iterator.close()


def _connect(uri: str):
    try:
        from pymilvus import MilvusClient, MilvusException
    except ImportError as error:
        raise InputError('galleries in Milvus need pymilvus; pip install "dcal_reid[milvus]"') from error
    if "://" not in uri and not Path(uri).absolute().parent.is_dir():
        raise InputError(f"--uri {uri!r} is in a folder that does not exist")
    try:
        return MilvusClient(uri, token=os.environ.get("MILVUS_TOKEN", ""))
    except (MilvusException, ConnectionError) as error:
        raise InputError(f"no Milvus answers at {uri!r}: {error}; check --uri and that it runs") from error


def _id_of(path: str) -> int:
    """63 bits derived from the path."""
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big") >> 1
