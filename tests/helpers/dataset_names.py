"""The names that data sets are registered under."""

OURS = ["Market1501", "DukeMTMC", "MSMT17", "MSMT17TrainVal", "VeRi", "CUB200", "StanfordCars", "FGVCAircraft"]
OWN = ["CSVReID", "FolderReID", "ImageFolderFGVC", "CSVFGVC"]
