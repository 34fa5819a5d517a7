"""Build, open, extend and reduce galleries of a user's own images, with any search engine."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation import FaissGallery, Gallery, Records
from ..evaluation.gallery_folder import resolved_folder
from ..evaluation.milvus import MilvusGallery
from .location import Location, MilvusCollection
from .parts import NothingDecoded, extract_parts

__all__ = ["add_to_gallery", "build_gallery", "open_gallery", "remove_from_gallery"]


def open_gallery(location: Location, fingerprint: str | None = None) -> Gallery:
    """The gallery at a location: a ``FaissGallery`` in a folder, or a ``MilvusGallery``.

    Args:
        location: as given to ``build_gallery``.
        fingerprint: of the model whose features will be compared; None: no features will be compared.

    Raises:
        InputError: there is no gallery, or it is of another model.
    """
    if not isinstance(location, MilvusCollection):
        return FaissGallery.open(location, fingerprint)
    return MilvusGallery.open(location.uri, location.name, fingerprint)


def build_gallery(
    predictor: Predictor,
    records: Records,
    location: Location,
    *,
    index: str = "",
    search: str = "",
    overwrite: bool = False,
) -> Gallery:
    """Build a new gallery of images, with TEST.METRIC as the distance.

    Features are first kept in LOCATION.parts, so that a build that was interrupted, or whose index could not be built,
    need not extract them again. Memory: all features, for a moment twice.

    Args:
        index, search: ``factory`` and ``search`` of ``FaissGallery``, or ``index`` of ``MilvusGallery.create``, which
            takes no search. Default: exact.
        overwrite: replace an existing gallery, once the features of the new one have been extracted.

    Raises:
        InputError: the gallery exists, its path is not UTF-8, the index does not exist or needs more images; or see
            ``extract_parts``.
    """
    records = _absolute(records)
    if isinstance(location, MilvusCollection):
        return _build_in_milvus(predictor, records, location, index or "FLAT", search, overwrite)
    _check_free(Path(location), overwrite)
    options = {"metric": predictor.cfg.TEST.METRIC, "factory": index or "Flat", "search": search}
    FaissGallery(predictor.dim, **options)  # refuses unknown options before the long work
    with _features(predictor, records, location) as (features, known):
        gallery = FaissGallery.build(features, known, fingerprint=predictor.fingerprint, **options)
        gallery.save(location)
    return gallery


def _build_in_milvus(
    predictor: Predictor, records: Records, location: MilvusCollection, index: str, search: str, overwrite: bool
) -> Gallery:
    """The same command continues an interrupted upload."""
    if search:
        raise InputError(f"--search is {search!r}, but Milvus chooses by itself how hard to search; leave it out")
    place = (location.uri, location.name)
    options = {
        "metric": predictor.cfg.TEST.METRIC, "index": index, "fingerprint": predictor.fingerprint,
        "overwrite": overwrite,
    }  # fmt: skip
    MilvusGallery.check_free(*place, **options)
    columns = {"identity": records.identities, "camera": records.cameras}
    integers = [name for name, column in columns.items() if column.dtype.kind != "U"]
    with _features(predictor, records, location) as (features, known):
        gallery = MilvusGallery.create(*place, predictor.dim, integers=integers, **options)
        gallery.add(features, known)
        gallery.finish()
    return gallery


def add_to_gallery(predictor: Predictor, records: Records, location: Location) -> tuple[Gallery, int]:
    """Add images to a gallery. Images whose path is already in it are left out, so that a folder that has grown can be
    given again; an image that has changed must be removed first. If none of the new images can be decoded, the gallery
    stays as it is.

    Returns:
        the gallery, and how many images were already in it.

    Raises:
        InputError: there is no gallery, it is of another model or has other kinds of identities; or see
            ``extract_parts``.
    """
    gallery = open_gallery(location, predictor.fingerprint)
    records = _as_in(gallery, _absolute(records))
    new = np.flatnonzero(~np.isin(records.paths, gallery.records(gallery.ids).paths))
    if len(new):
        try:
            with _features(predictor, records[new], location) as (features, known):
                gallery.add(features, known)
                gallery.save(location)
        except NothingDecoded as error:
            print(f"nothing is added: {error}")
    return gallery, len(records) - len(new)


def remove_from_gallery(location: Location, paths: Iterable[str]) -> Gallery:
    """Remove images from a gallery by their paths: all of them, or none if one of the paths is not in it.

    Raises:
        InputError: there is no gallery, or a path is not in it.
    """
    gallery = open_gallery(location)
    ids = gallery.ids
    present = gallery.records(ids).paths
    # A gallery that was not built here may have paths that are not absolute.
    names = {os.path.abspath(path): path for path in map(str, paths)}
    as_given = np.isin(list(names.values()), present)
    missing = [path for path, there in zip(names, as_given | np.isin(list(names), present), strict=True) if not there]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(names)} paths are not in gallery {str(location)!r}, the first is {missing[0]!r}; "
            "none was removed"
        )
    gallery.remove(ids[np.isin(present, [*names, *names.values()])])
    gallery.save(location)
    return gallery


def _check_free(location: Path, overwrite: bool) -> None:
    resolved_folder(location)  # refuses a path that is not UTF-8
    if not location.exists():
        return
    if not (location / "gallery.json").is_file():
        if not location.is_dir() or any(location.iterdir()):
            raise InputError(f"{str(location)!r} exists and is not a gallery; choose another GALLERY")
    elif not overwrite:
        raise InputError(f"gallery {str(location)!r} exists; --add adds to it, --overwrite replaces it")


@contextmanager
def _features(predictor: Predictor, records: Records, location: Location) -> Iterator[tuple[np.ndarray, Records]]:
    """The features (n, D) of images and their records, without broken images; kept on disk if the block fails."""
    name = os.path.normpath(str(location))
    with extract_parts(predictor, records, f"{name}.parts") as parts:
        parts.list_broken(f"{name}.broken.txt")
        good = parts.good()
        features = np.empty((len(good), predictor.dim), dtype=np.float32)
        row = 0
        for part in parts:
            features[row : row + len(part.features)] = part.features
            row += len(part.features)
        try:
            yield features, records[good]
        except InputError as error:
            raise InputError(f"{error}; the features stay in {str(parts.folder)!r} for the next attempt") from error
        parts.remove()


def _absolute(records: Records) -> Records:
    """Absolute paths, because a gallery is used from folders other than the one it was built in."""
    return Records([os.path.abspath(path) for path in records.paths], records.identities, records.cameras)


def _as_in(gallery: Gallery, records: Records) -> Records:
    """Records whose labels are texts or integers, as in the gallery; unknown labels fit either."""
    present = gallery.records(gallery.ids[:1])
    columns = {}
    for name in ("identities", "cameras"):
        column, text = getattr(records, name), getattr(present, name).dtype.kind == "U"
        if not text and (column == "").all():
            column = np.full(len(records), -1)
        if text != (column.dtype.kind == "U"):
            kinds = ("texts", "integers") if text else ("integers", "texts")
            raise InputError(
                f"{name} of the gallery are {kinds[0]}, those of the new images {kinds[1]} such as {column[0].item()!r}"
            )
        columns[name] = column
    return Records(records.paths, **columns)
