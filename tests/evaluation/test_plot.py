import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dcal_reid.errors import InputError
from dcal_reid.evaluation.distances import FeatureDistances
from dcal_reid.evaluation.matches import find_matches
from dcal_reid.evaluation.plot import PairSample, draw_curves, prepare_picture_path, sample_pairs
from dcal_reid.evaluation.ranking import rank

FPRS = (0.0, 1e-2, 0.1, 1.0)


def case(metric="cosine", fprs=()):
    """Twenty queries, a gallery of seventy: distances, matches, result, and all features and labels."""
    rng = np.random.default_rng(0)
    pids, cams = rng.integers(0, 6, 90), rng.integers(0, 3, 90)
    features = (rng.standard_normal((6, 12))[pids] + rng.standard_normal((90, 12))).astype(np.float32)
    distances = FeatureDistances(features[:20], features[20:], metric)
    matches = find_matches(pids[:20], pids[20:], cams[:20], cams[20:])
    return distances, matches, rank(distances, matches, fprs=fprs), features, pids, cams


def all_pairs(features, pids, cams, metric):
    """Every pair on its own."""
    positive, negative = [], []
    for i in range(20):
        for j in range(20, 90):
            a, b = features[i].astype(float), features[j].astype(float)
            cosine = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            distance = cosine if metric == "cosine" else np.linalg.norm(a - b)
            if pids[i] != pids[j]:
                negative.append(distance)
            elif cams[i] != cams[j]:
                positive.append(distance)
    return np.sort(positive), np.sort(negative)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_small_set_is_taken_whole_without_junk(metric):
    distances, matches, _, *data = case(metric)
    pairs = sample_pairs(distances, matches)
    positive, negative = all_pairs(*data, metric)
    np.testing.assert_allclose(pairs.positive, positive)
    np.testing.assert_allclose(pairs.negative, negative)
    assert (pairs.num_positive, pairs.num_negative) == (len(positive), len(negative))


def test_a_sample_is_of_the_pairs_and_always_the_same():
    distances, matches, _, *data = case()
    positive, negative = all_pairs(*data, "cosine")
    pairs, again = (sample_pairs(distances, matches, most=120) for _ in range(2))
    assert len(pairs.positive) == 120 and 80 < len(pairs.negative) < 120
    for some, every in ((pairs.positive, positive), (pairs.negative, negative)):
        assert len(np.unique(some)) == len(some) and np.isclose(some[:, None], every).any(axis=1).all()
    assert (pairs.num_positive, pairs.num_negative) == (len(positive), len(negative))
    np.testing.assert_array_equal(pairs.negative, again.negative)
    other = sample_pairs(distances, matches, most=120, seed=1)
    assert not np.array_equal(pairs.positive, other.positive)


def test_the_roc_of_all_pairs_is_the_exact_one():
    distances, matches, result, *_ = case(fprs=FPRS)
    np.testing.assert_allclose(sample_pairs(distances, matches).tpr(FPRS), result.roc.tpr)


def test_tpr_by_hand():
    pairs = PairSample(np.array([0.1, 0.2, 0.25, 0.4]), np.array([0.25, 0.5]), 4, 2)
    assert pairs.tpr([0, 0.49, 0.5, 1]).tolist() == [0.5, 0.5, 1, 1]


@pytest.mark.parametrize(("fprs", "pairs", "titles"), [
    ((), False, ["CMC", "AP"]),
    (FPRS, False, ["CMC", "AP", "ROC"]),
    ((), True, ["CMC", "AP", "ROC", "distances"]),
    (FPRS, True, ["CMC", "AP", "ROC", "distances"]),
])  # fmt: skip
def test_curves_say_what_they_show(tmp_path, monkeypatch, fprs, pairs, titles):
    figures, write = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *args, **kw: (figures.append(figure), write(figure, *args, **kw))
    )
    distances, matches, result, *data = case(fprs=fprs)
    sample = sample_pairs(distances, matches, most=120 if fprs else 10_000)
    draw_curves(result, tmp_path / "curves.png", sample if pairs else None)
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 500
    axes = figures[0].axes
    assert [axis.get_title().split(",")[0] for axis in axes] == titles
    first_ranks = result.first_rank[result.answered]
    for first_rank, cmc in axes[0].lines[0].get_xydata()[[0, 1, 2]]:
        assert cmc == pytest.approx(100 * np.mean(first_ranks <= first_rank))
    assert axes[1].lines[0].get_ydata().tolist() == sorted(100 * result.ap[result.answered], reverse=True)
    if pairs:
        positive, negative = all_pairs(*data, "cosine")
        labels = [text.get_text() for text in axes[3].get_legend().get_texts()]
        shown = [f"{len(some)} of " if fprs else "" for some in (sample.positive, sample.negative)]
        assert labels == [
            f"positive, {shown[0]}{len(positive):,} pairs", f"negative, {shown[1]}{len(negative):,} pairs",
        ]  # fmt: skip
        assert sum(bar.get_height() for bar in axes[3].patches) == pytest.approx(200)


def test_curves_without_negative_pairs(tmp_path):
    features = np.eye(6, dtype=np.float32)
    distances, matches = FeatureDistances(features[:2], features[2:]), find_matches([1, 1], [1] * 4)
    draw_curves(rank(distances, matches, fprs=FPRS), tmp_path / "curves.png", sample_pairs(distances, matches))
    assert (tmp_path / "curves.png").is_file()


def test_a_picture_needs_a_format_and_gets_its_folder(tmp_path):
    with pytest.raises(InputError, match=r"'curves' is not the name of a picture; end it in \.png"):
        prepare_picture_path("curves")
    prepare_picture_path(tmp_path / "new" / "curves.PNG")
    assert (tmp_path / "new").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        prepare_picture_path(tmp_path / "file" / "curves.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder\.png"):
        prepare_picture_path(tmp_path / "folder.png")
