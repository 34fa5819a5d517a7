"""Datasets: importing this package registers them with fast-reid's ``DATASET_REGISTRY``."""

from .benchmarks import MSMT17, DemoReID, DukeMTMC, Market1501, MSMT17TrainVal, VeRi
from .csv_reid import CSVReID
from .folder_reid import FolderReID
from .loading import load_dataset

__all__ = [
    "MSMT17",
    "CSVReID",
    "DemoReID",
    "DukeMTMC",
    "FolderReID",
    "MSMT17TrainVal",
    "Market1501",
    "VeRi",
    "load_dataset",
]
