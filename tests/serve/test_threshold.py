import numpy as np
import pytest
import torch

from dcal_reid import Predictor
from dcal_reid.errors import InputError
from dcal_reid.evaluation import FaissGallery, Records
from dcal_reid.serve.shared import SharedGallery
from dcal_reid.serve.threshold import find_threshold


def test_one_percent_of_pairs_are_closer(run_folder, crops):
    """Of different identities; without identities, of different images."""
    predictor = Predictor(run_folder / "model_final.pth", device="cpu")
    paths = sorted(map(str, crops.glob("*.png")))
    features = predictor(paths)
    unit = torch.nn.functional.normalize(features)
    distances = (1 - unit @ unit.T).numpy()
    names = np.array([path.rpartition("/")[2][0] for path in paths])
    unknown = np.full(len(paths), -1)
    for identities, different in ((names, names[:, None] != names), (unknown, ~np.eye(len(paths), dtype=bool))):
        gallery = FaissGallery.build(features.numpy(), Records(paths, identities, unknown))
        found = find_threshold(predictor, SharedGallery(gallery, None))
        assert np.mean(distances[different] < found) == pytest.approx(0.01, abs=0.005)
    one = FaissGallery.build(features[:1].numpy(), Records.of_paths(paths[:1]))
    with pytest.raises(InputError, match="give one with --threshold"):
        find_threshold(predictor, SharedGallery(one, None))
