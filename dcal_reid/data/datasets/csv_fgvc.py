"""A dataset for classification described by a CSV file."""

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from ...errors import InputError
from ...text import natural_key
from .classification import ClassificationDataset
from .csv_table import find_table, read_table
from .table import own_keys, rows_with

__all__ = ["CSVFGVC"]


@DATASET_REGISTRY.register()
class CSVFGVC(ClassificationDataset):
    """Images listed in the file DATASETS.CLASS_CSV.PATH: a header line with path, label and split.

    Other columns are ignored. Paths are relative to DATASETS.CLASS_CSV.IMAGE_ROOT or, if it is empty, to the folder of
    the file. Labels may be any strings; the labels of the splits in use are the classes, in natural order.

    Raises:
        InputError: see ``ClassificationDataset``; also a missing file or column, a line with an empty path, label or
            split or with too many or too few fields, a path that leaves IMAGE_ROOT, and a split that is not in the
            file.
    """

    dataset_name = "csv_fgvc"

    def __init__(self, root: str = "datasets", *, cfg: CfgNode | None = None, **kwargs):
        keys, key_name = own_keys("CSVFGVC", cfg, "CLASS_CSV"), "DATASETS.CLASS_CSV"
        path, image_root = find_table("CSVFGVC", keys, key_name, root)
        source = repr(path)
        lines = list(read_table(path, image_root, key_name, ("path", "label", "split")))
        if not lines:
            raise InputError(f"{source} holds no images")
        train, test = (
            rows_with(lines, keys[key], lambda line: line.values["split"], f"{key_name}.{key}", source)
            for key in ("TRAIN_SPLITS", "TEST_SPLITS")
        )
        class_names = sorted({line.values["label"] for line in train + test}, key=natural_key)
        label_of = {name: label for label, name in enumerate(class_names)}
        images = ([(line.image, label_of[line.values["label"]]) for line in subset] for subset in (train, test))
        super().__init__(*images, class_names, source)
