"""Join parts of features into one file, with one part in memory at a time."""

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import written_atomically
from ..text import check_utf8
from .parts import Parts

__all__ = ["feature_writer"]

Writer = Callable[[Parts, int, Path], None]


def feature_writer(path: str | Path, paths: Iterable[str] = ()) -> Writer:
    """A function that joins parts into a file with this suffix; it takes the parts, D and the path.

    Args:
        paths: of the images.

    Raises:
        InputError: the suffix is neither .npz nor .parquet, pyarrow is missing, or .parquet cannot hold the paths.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".npz", ".parquet"):
        raise InputError(f"features are written as .npz or .parquet, not as {str(path)!r}")
    if suffix == ".npz":
        return _write_npz
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise InputError('.parquet needs pyarrow; pip install "dcal_reid[parquet]", or write an .npz') from None
    check_utf8(paths, ".parquet", "write an .npz")
    return _write_parquet


def _write_npz(parts: Parts, dim: int, path: Path) -> None:
    """``features`` (n, D) float32, ``paths``, ``identities`` and ``cameras`` (n,), and the model's ``fingerprint``."""
    good = parts.good()
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(good), dim)}
    columns = vars(parts.records[good]) | {"fingerprint": np.array(parts.fingerprint)}
    with written_atomically(path) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as file:
        with file.open("features.npy", "w", force_zip64=True) as array:
            np.lib.format.write_array_header_2_0(array, header)
            for part in parts:
                array.write(np.ascontiguousarray(part.features, dtype="<f4").data)
        for name, column in columns.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as array:
                np.lib.format.write_array(array, column)


def _write_parquet(parts: Parts, dim: int, path: Path) -> None:
    """Columns ``path``, ``identity``, ``camera`` and ``feature`` (a list of D); the fingerprint is metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = [pa.int64() if column.dtype.kind in "iu" else pa.string() for column in vars(parts.records).values()]
    schema = pa.schema(
        [*zip(("path", "identity", "camera"), types, strict=True), ("feature", pa.list_(pa.float32(), dim))],
        metadata={"fingerprint": parts.fingerprint},
    )
    with (
        written_atomically(path) as temporary,
        pq.ParquetWriter(temporary, schema, use_dictionary=["identity", "camera"]) as file,
    ):
        for part in parts:
            features = pa.FixedSizeListArray.from_arrays(pa.array(part.features.reshape(-1)), dim)
            columns = [pa.array(column) for column in vars(parts.records[part.indices]).values()]
            file.write_table(pa.Table.from_arrays([*columns, features], schema=schema))
