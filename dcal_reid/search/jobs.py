"""The jobs of ``tools/build_gallery.py`` and ``tools/search_gallery.py``."""

import argparse
import json
import os
import time

from ..data.datasets.listing import listed_lines
from ..errors import InputError
from ..evaluation import Gallery
from ..evaluation.gallery import check_fingerprint
from ..files import check_writable, written_atomically
from ..text import printable
from .gallery import add_to_gallery, build_gallery, open_gallery, remove_from_gallery
from .location import Location, gallery_location
from .lookup import look_up
from .model import feature_predictor
from .report import draw_found, found_as_dict, found_table
from .sources import image_records
from .verification import check_threshold

__all__ = ["build", "search"]


def build(args: argparse.Namespace) -> None:
    """Build a gallery, add images to one or remove some, as the command line says, and print what it then holds.

    Args:
        args: ``source``, ``index``, ``search``, ``add``, ``remove``, ``remove_list``, ``overwrite``; and the arguments
            of ``dcal_reid.search.location`` and ``dcal_reid.engine.arguments``.

    Raises:
        InputError: arguments that contradict each other, or see ``build_gallery``, ``add_to_gallery`` and
            ``remove_from_gallery``.
    """
    location = gallery_location(args)
    removing = bool(args.remove or args.remove_list)
    if removing == (args.source is not None):
        raise InputError("give SOURCE and GALLERY; or only GALLERY, with --remove or --remove-list")
    if (args.add or removing) and (args.index or args.search or args.overwrite):
        raise InputError("--index, --search and --overwrite are for a new gallery, not with --add or --remove")
    if removing:
        paths = list(args.remove)
        if args.remove_list:
            paths += _lines(args.remove_list)
        gallery = remove_from_gallery(location, paths)
        print(f"{len(set(map(os.path.abspath, paths))):,} images removed")
    else:
        gallery = _built(args, location)
    print(f"{printable(args.gallery)}: {_described(gallery)}")


def _built(args: argparse.Namespace, location: Location) -> Gallery:
    # Before the model, so that a wrong path is reported at once.
    records = image_records(args.source)
    predictor = feature_predictor(args)
    if not args.add:
        options = {"index": args.index, "search": args.search, "overwrite": args.overwrite}
        return build_gallery(predictor, records, location, **options)
    gallery, present = add_to_gallery(predictor, records, location)
    skipped = f"; {present:,} are left out, their paths are in the gallery" if present else ""
    print(f"{len(records) - present:,} of {len(records):,} images are new{skipped}")
    return gallery


def _lines(path: str) -> list[str]:
    try:
        lines = [line for _, line in listed_lines(path)]
    except OSError as error:
        raise InputError(f"--remove-list {path!r} cannot be read: {error.strerror}") from error
    if not lines:
        raise InputError(f"--remove-list {path!r} has no paths; write one per line")
    return lines


def _described(gallery: Gallery) -> str:
    text = f"{len(gallery):,} images, {gallery.dim} values each, {gallery.metric} distance, model {gallery.fingerprint}"
    recall = getattr(gallery, "recall", None)
    return text if recall is None else f"{text}; finds {100 * recall:.1f} % of the 10 nearest items of an exact search"


def search(args: argparse.Namespace) -> None:
    """Search a gallery for images as the command line says; print a table for each, and write JSON and a picture.

    Args:
        args: ``images``, ``top``, ``threshold``, ``cameras``, ``exclude_camera``, ``json``, ``picture``; and the
            arguments of ``dcal_reid.search.location`` and ``dcal_reid.engine.arguments``.

    Raises:
        InputError: there is no gallery, it is of another model, images cannot be read, the suffix of ``picture`` is not
            an image format; or see ``look_up``.
        OSError: ``json`` or ``picture`` cannot be written.
    """
    if args.top < 1:
        raise InputError(f"--top is {args.top}; at least 1 item must be asked for")
    check_threshold(args.threshold)
    if args.json:
        check_writable(args.json)
    if args.picture:
        # Imported here so that matplotlib is loaded only where pictures are drawn.
        from ..evaluation.plot import prepare_picture_path

        prepare_picture_path(args.picture)
    queries = list(dict.fromkeys(path for source in args.images for path in image_records(source).paths.tolist()))
    location = gallery_location(args)
    gallery = open_gallery(location)  # before the model, so that a wrong path is reported at once
    predictor = feature_predictor(args)
    check_fingerprint(f"gallery {str(location)!r}", gallery.fingerprint, predictor.fingerprint)
    features = predictor(queries).numpy()
    started = time.perf_counter()
    found = look_up(gallery, queries, features, args.top, cameras=args.cameras, exclude_cameras=args.exclude_camera)
    took = time.perf_counter() - started
    print(f"{printable(args.gallery)}: {_described(gallery)}; {len(queries):,} queries in {1000 * took:.0f} ms")
    for one in found:
        print("", printable(one.query), found_table(one, args.threshold), sep="\n")
    most = min(args.top, len(gallery))
    few = [one for one in found if len(one.ids) < most]
    if few and not (args.cameras or args.exclude_camera):
        print(
            f"\n{len(few):,} of {len(queries):,} have fewer than {most} items: the index is approximate and found no "
            "more; build the gallery with a larger --search, or without --index"
        )
    if args.json:
        content = {
            "gallery": str(location), "items": len(gallery), "fingerprint": gallery.fingerprint,
            "metric": gallery.metric, "threshold": args.threshold,
            "queries": [found_as_dict(one, args.threshold) for one in found],
        }  # fmt: skip
        with written_atomically(args.json) as temporary:
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    if args.picture:
        draw_found(args.picture, found, size=predictor.image_size, threshold=args.threshold)
