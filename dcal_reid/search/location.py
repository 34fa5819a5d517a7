"""Where a gallery is: in a folder, or in Milvus."""

import argparse
import os
from dataclasses import dataclass

from ..errors import InputError

__all__ = ["Location", "MilvusCollection", "add_gallery_arguments", "gallery_location"]


@dataclass(frozen=True)
class MilvusCollection:
    """A gallery in Milvus: the name of a collection, and a file (Milvus Lite) or the address of a cluster."""

    name: str
    uri: str

    def __str__(self) -> str:
        return self.name


# A folder, or a collection.
Location = str | os.PathLike | MilvusCollection


def add_gallery_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``GALLERY``, ``--backend`` and ``--uri``."""
    parser.add_argument("gallery", metavar="GALLERY", help="gallery folder; with --backend milvus, a collection name")
    parser.add_argument(
        "--backend", choices=("faiss", "milvus"), default="faiss", help="search engine; default: %(default)s"
    )
    parser.add_argument(
        "--uri",
        default="",
        help="address of Milvus: a file such as gallery.db, or http://host:19530 (token: MILVUS_TOKEN)",
    )


def gallery_location(args: argparse.Namespace) -> Location:
    """The location that the command line names.

    Raises:
        InputError: --uri without --backend milvus, or the other way round.
    """
    if (args.backend == "milvus") != bool(args.uri):
        raise InputError(f"--backend is {args.backend} and --uri {args.uri!r}; milvus needs --uri, faiss takes none")
    return MilvusCollection(args.gallery, args.uri) if args.uri else args.gallery
