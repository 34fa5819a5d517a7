import numpy as np
import pytest
import torch

from dcal_reid import Predictor
from dcal_reid.errors import InputError
from dcal_reid.evaluation import FaissGallery, Records
from dcal_reid.serve.shared import SharedGallery
from dcal_reid.serve.threshold import find_threshold


def test_one_percent_of_pairs_are_closer(run_folder, crops, caplog):
    """Pairs of different identities; without identities, pairs of different images."""
    predictor = Predictor(run_folder / "model_final.pth", device="cpu")
    paths = sorted(map(str, crops.glob("*.png")))
    features = predictor(paths)
    unit = torch.nn.functional.normalize(features)
    distances = (1 - unit @ unit.T).numpy()
    names = np.array([path.rpartition("/")[2][0] for path in paths])
    unknown = np.full(len(paths), -1)
    for identities, different, rate in (
        (names, names[:, None] != names, 0.01), (unknown, ~np.eye(len(paths), dtype=bool), None)
    ):  # fmt: skip
        gallery = FaissGallery.build(features.numpy(), Records(paths, identities, unknown))
        found, false_positive_rate = find_threshold(predictor, SharedGallery(gallery, None))
        assert false_positive_rate == rate and ("is a guess" in caplog.text) == (rate is None)
        assert np.mean(distances[different] < found) == pytest.approx(0.01, abs=0.005)
    one = FaissGallery.build(features[:1].numpy(), Records(paths[:1], [-1], [-1]))
    with pytest.raises(InputError, match="give one with --threshold"):
        find_threshold(predictor, SharedGallery(one, None))


@pytest.mark.parametrize("text", [True, False])
def test_only_known_identities_are_compared(predictor, paths, text):
    """Otherwise an image and its copy without an identity would count as two identities, and the threshold be 0."""
    paths = list(map(str, paths))
    known = np.array([path.rpartition("/")[2][0] if text else ord(path.rpartition("/")[2][0]) for path in paths])
    nothing = np.full(len(paths), "" if text else -1)
    features = predictor(paths).numpy()

    def found(paths, identities):
        gallery = FaissGallery.build(np.resize(features, (len(paths), 96)), Records(paths, identities, identities))
        return find_threshold(predictor, SharedGallery(gallery, None))

    expected = found(paths, known)
    assert found(2 * paths, np.concatenate([nothing, known])) == expected
    # One identity alone has no such pair.
    one = np.where(known == known[0], known, nothing)
    assert found(paths, one)[1] is None
    # Without any identity, copies are not taken for two identities.
    threshold, rate = found(2 * paths, np.concatenate([nothing, nothing]))
    assert rate is None and threshold == pytest.approx(found(paths, nothing)[0], rel=0.1) and threshold > 1e-4
    with pytest.raises(InputError, match="give one with --threshold"):
        found(2 * paths[:1], nothing[:2])


def test_copies_under_two_identities_are_no_pair(predictor, paths):
    """Otherwise the threshold would be 0, which nothing can match."""
    paths = list(map(str, paths))
    names = np.array(["a"] * len(paths) + ["b"] * len(paths))
    unknown = np.full(2 * len(paths), -1)
    gallery = FaissGallery.build(np.tile(predictor(paths).numpy(), (2, 1)), Records(2 * paths, names, unknown))
    threshold, rate = find_threshold(predictor, SharedGallery(gallery, None))
    assert threshold > 1e-4 and rate == 0.01


def test_a_rare_identity_is_in_the_sample(predictor, paths):
    names = np.full(400, "a")
    names[202] = "b"
    copies = [str(paths[0])] * 400
    copies[202] = str(paths[-1])
    gallery = FaissGallery.build(np.ones((400, 96), np.float32), Records(copies, names, names))
    threshold, rate = find_threshold(predictor, SharedGallery(gallery, None))
    distance = (1 - torch.cosine_similarity(*predictor([str(paths[0]), str(paths[-1])]), dim=0)).item()
    assert threshold == pytest.approx(distance, abs=1e-5) and rate == 0.01
