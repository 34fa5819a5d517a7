"""Market-1501, DukeMTMC-reID, MSMT17 and VeRi-776, with their files read more safely than in fast-reid.

fast-reid matches the identity pattern against the whole path (so that a folder such as ``run12_c3`` turns every image
into identity 12), lists files in the order of the disk, and fails with a bare assertion. These classes replace
fast-reid's under the same names.
"""

import logging
import os
import re
import warnings

from fastreid.data import datasets as fastreid_datasets
from fastreid.data.datasets import DATASET_REGISTRY

from ...compat import replace_registered
from ...errors import InputError
from ...text import first_few
from .listing import check_files_exist, image_names, listed_lines

__all__ = ["MSMT17", "DemoReID", "DukeMTMC", "MSMT17TrainVal", "Market1501", "VeRi"]

logger = logging.getLogger(__name__)

Item = tuple[str, int | str, int | str]


class _Benchmark:
    """The common part of the four data sets. It comes before fast-reid's class in the list of bases.

    As in fast-reid, identities and cameras of training images are strings that begin with ``dataset_name``, and those
    of query and gallery images are integers, with cameras counted from 0.
    """

    home: str  # the folder below FASTREID_DATASETS
    pattern: re.Pattern  # of file names; the groups are identity and camera
    example: str  # a file name
    last_pid: int | None = None  # None: unknown
    num_cameras: int
    official: dict[str, int]  # images in train, query and gallery
    # An identity has the same number in train, query and gallery.
    pids_are_global = True

    def __init__(self, root: str = "datasets", **kwargs):
        self.root = root
        super().__init__(root=root, **kwargs)

    def check_before_run(self, required_files) -> None:
        missing = [path for path in required_files if not os.path.exists(path)]
        if missing:
            home = os.path.join(self.root, self.home)
            looked_for = missing[0] if os.path.isdir(home) else home
            raise InputError(
                f"dataset {type(self).__name__}: {looked_for!r} not found; put the dataset there, or set "
                "FASTREID_DATASETS to the folder above it (datasets/README.md shows the layout)"
            )

    def process_dir(self, dir_path: str, is_train: bool = True) -> list[Item]:
        """The images of one folder, in the order of their names. Junk (-1) is left out."""
        names = image_names(dir_path)
        matches = {name: self.pattern.match(name) for name in names}
        unmatched = [name for name in names if not matches[name]]
        if unmatched:
            logger.warning(
                "%s: %d images in %s are left out, because their names are not like %s: %s",
                *(type(self).__name__, len(unmatched), dir_path, self.example, first_few(unmatched)),
            )
        found = [(os.path.join(dir_path, name), *map(int, match.groups())) for name, match in matches.items() if match]
        if not found:
            raise InputError(f"dataset {type(self).__name__}: no image with a name like {self.example} in {dir_path!r}")
        return [self.item(*image, is_train) for image in found if image[1] != -1]

    def item(self, path: str, pid: int, camera: int, is_train: bool) -> Item:
        """Check the numbers parsed from a file name; ``camera`` counts from 1."""
        if self.last_pid is not None and pid > self.last_pid:
            raise InputError(f"{path!r}: identity {pid}, but {type(self).__name__} has 0 to {self.last_pid}")
        if not 1 <= camera <= self.num_cameras:
            raise InputError(f"{path!r}: camera {camera}, but {type(self).__name__} has 1 to {self.num_cameras}")
        if is_train:
            return path, f"{self.dataset_name}_{pid}", f"{self.dataset_name}_{camera - 1}"
        return path, pid, camera - 1


class Market1501(_Benchmark, fastreid_datasets.Market1501):
    """Market-1501 (Zheng et al., ICCV 2015). Junk images (-1) are left out, distractors (0) stay in the gallery."""

    home = "Market-1501-v15.09.15"
    pattern = re.compile(r"(-1|\d+)_c(\d+)")
    example = "0002_c1s1_000451_03.jpg"
    last_pid = 1501
    num_cameras = 6
    official = {"train": 12936, "query": 3368, "gallery": 15913}

    def __init__(self, root: str = "datasets", **kwargs):
        with warnings.catch_warnings():
            # fast-reid also looks for the folders directly below the root, and warns even if they are not there.
            warnings.filterwarnings("ignore", message="The current data structure")
            super().__init__(root=root, **kwargs)


class DukeMTMC(_Benchmark, fastreid_datasets.DukeMTMC):
    """DukeMTMC-reID (Ristani et al., ECCVW 2016; Zheng et al., ICCV 2017)."""

    home = "DukeMTMC-reID"
    pattern = re.compile(r"(\d+)_c(\d+)")
    example = "0001_c2_f0046182.jpg"
    num_cameras = 8
    official = {"train": 16522, "query": 2228, "gallery": 17661}


class VeRi(_Benchmark, fastreid_datasets.VeRi):
    """VeRi-776 (Liu et al., ECCV 2016)."""

    home = "veri"
    pattern = re.compile(r"(\d+)_c(\d+)")
    example = "0001_c001_00016450_0.jpg"
    last_pid = 776
    num_cameras = 20
    official = {"train": 37778, "query": 1678, "gallery": 11579}


class MSMT17(_Benchmark, fastreid_datasets.MSMT17):
    """MSMT17 (Wei et al., CVPR 2018), with the training part of ``list_train.txt``: 30,248 images.

    Published results train on train + val: ``MSMT17TrainVal``.
    """

    home = "MSMT17_V1"
    pattern = re.compile(r"(\d+)_\d+_(\d+)_")
    example = "0000_000_01_0303morning_0008_0.jpg"
    num_cameras = 15
    official = {"train": 30248, "query": 11659, "gallery": 82161}
    # The lists number training and test identities from 0. fast-reid adds the number of training identities to the test
    # identities; with a subset of the data, the result can be a training identity's number.
    pids_are_global = False

    def __init__(self, root: str = "datasets", **kwargs):
        if not os.path.isdir(os.path.join(root, self.home)) and os.path.isdir(os.path.join(root, "MSMT17_V2")):
            self.home = "MSMT17_V2"
        self.root = root
        self.check_before_run([os.path.join(root, self.home)])  # fast-reid's own check is an assertion
        super().__init__(root=root, **kwargs)

    def process_dir(self, dir_path: str, list_path: str, is_train: bool = True) -> list[Item]:
        """Images in the order of the list, whose lines are a path below ``dir_path``, a space and an identity."""
        self.check_before_run([list_path])
        items = []
        for number, line in listed_lines(list_path):
            name, _, pid = line.rpartition(" ")
            match = self.pattern.match(os.path.basename(name))
            if not match or not pid.isdecimal():
                raise InputError(f"{list_path!r} line {number}: {line!r} is not like '0000/{self.example} 0'")
            items.append(self.item(os.path.join(dir_path, name), int(pid), int(match[2]), is_train))
        check_files_exist((path for path, _, _ in items), repr(list_path))
        return items


@DATASET_REGISTRY.register()
class MSMT17TrainVal(MSMT17):
    """MSMT17 as published results use it: training on train + val, 32,621 images of 1,041 identities."""

    official = MSMT17.official | {"train": 32621}

    def __init__(self, root: str = "datasets", **kwargs):
        super().__init__(root=root, **kwargs)
        self._train = self.train + self.process_dir(self.train_dir, self.list_val_path)


@DATASET_REGISTRY.register()
class DemoReID(Market1501):
    """The generated dataset of the demo, in Market-1501's layout in the folder ``demo-reid``."""

    dataset_dir = home = "demo-reid"
    dataset_name = "demo"
    last_pid = None  # it can be generated with any number of identities
    official = {}


for _corrected in (Market1501, DukeMTMC, MSMT17, VeRi):
    replace_registered(DATASET_REGISTRY, _corrected.__name__, _corrected)
