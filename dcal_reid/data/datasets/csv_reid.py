"""A dataset described by a CSV file."""

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from .csv_table import find_table, read_table
from .table import Row, TableReID, own_keys

__all__ = ["CSVReID"]


@DATASET_REGISTRY.register()
class CSVReID(TableReID):
    """Images listed in the file DATASETS.CSV.PATH: a header line with path, identity, split and, if known, camera.

    Other columns are ignored. Paths are relative to DATASETS.CSV.IMAGE_ROOT or, if it is empty, to the folder of the
    file.

    Raises:
        InputError: see ``TableReID``; also a missing file or column, a line with an empty path, identity or split or
            with too many or too few fields, and a path that leaves IMAGE_ROOT. Messages count lines from 1, the header.
    """

    dataset_name = "csv"

    def __init__(self, root: str = "datasets", *, cfg: CfgNode | None = None, **kwargs):
        keys, key_name = own_keys("CSVReID", cfg, "CSV"), "DATASETS.CSV"
        path, image_root = find_table("CSVReID", keys, key_name, root)
        rows = (
            Row(image, values["identity"], values.get("camera") or None, values["split"], where)
            for image, values, where in read_table(
                path, image_root, key_name, ("path", "identity", "split"), optional="camera"
            )
        )
        super().__init__(rows, repr(path), keys, key_name)
