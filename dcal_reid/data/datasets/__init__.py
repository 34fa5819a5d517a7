"""Datasets: importing this package registers them with fast-reid's ``DATASET_REGISTRY``."""

from .benchmarks import MSMT17, DemoReID, DukeMTMC, Market1501, MSMT17TrainVal, VeRi
from .classification import ClassificationDataset
from .csv_fgvc import CSVFGVC
from .csv_reid import CSVReID
from .fine_grained import CUB200, FGVCAircraft, StanfordCars
from .folder_fgvc import DemoFGVC, ImageFolderFGVC
from .folder_reid import FolderReID
from .loading import load_dataset

__all__ = [
    "CSVFGVC",
    "CUB200",
    "MSMT17",
    "CSVReID",
    "ClassificationDataset",
    "DemoFGVC",
    "DemoReID",
    "DukeMTMC",
    "FGVCAircraft",
    "FolderReID",
    "ImageFolderFGVC",
    "MSMT17TrainVal",
    "Market1501",
    "StanfordCars",
    "VeRi",
    "load_dataset",
]
