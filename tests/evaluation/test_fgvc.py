import numpy as np
import pytest
import torch
from fastreid.evaluation.clas_evaluator import accuracy as fastreids_accuracy

from dcal_reid.errors import InputError
from dcal_reid.evaluation import DCALClasEvaluator

NAMES = [f"class {c}" for c in range(7)]


def batch(labels, indices):
    indices = torch.as_tensor(indices)
    return {"targets": labels[indices], "indices": indices, "img_paths": [f"{i}.jpg" for i in indices.tolist()]}


@pytest.fixture
def scores():
    return torch.rand(50, 2, 7, generator=torch.Generator().manual_seed(0)).softmax(dim=2)


@pytest.fixture
def labels():
    return torch.randint(0, 7, (50,), generator=torch.Generator().manual_seed(1))


def evaluate(scores, labels, batches, branches=("sa", "glca")):
    evaluator = DCALClasEvaluator(NAMES, branches)
    for indices in batches:
        evaluator.process(batch(labels, indices), scores[torch.as_tensor(indices)])
    return evaluator.evaluate(), evaluator.result


def test_accuracies_are_fastreids(scores, labels):
    metrics, _ = evaluate(scores, labels, [range(30), range(30, 50)])
    expected = fastreids_accuracy(scores.sum(dim=1), labels, topk=(1, 5))
    assert metrics["Top-1"] == pytest.approx(expected[0].item())
    assert metrics["Top-5"] == pytest.approx(expected[1].item())
    for branch, name in enumerate(("SA", "GLCA")):
        assert metrics[f"Top-1-{name}"] == pytest.approx(fastreids_accuracy(scores[:, branch], labels)[0].item())


def test_items_may_come_in_any_order_and_twice(scores, labels):
    expected, _ = evaluate(scores, labels, [range(50)])
    shuffled, result = evaluate(scores, labels, [range(40, 50), range(20), [0, 1, 2], range(20, 40)])
    assert shuffled == expected
    assert result.paths.tolist() == [f"{i}.jpg" for i in range(50)]


def test_one_branch(scores, labels):
    one, _ = evaluate(scores[:, :1], labels, [range(50)], ("sa",))
    assert one["Top-1"] == pytest.approx(fastreids_accuracy(scores[:, 0], labels)[0].item())
    assert "Top-1-SA" not in one


def test_the_most_probable_classes_of_each_image(scores, labels):
    _, result = evaluate(scores, labels, [range(50)])
    mean = scores.mean(dim=1)
    torch.testing.assert_close(torch.from_numpy(result.probabilities), mean.topk(5).values)
    assert np.array_equal(result.top, mean.topk(5).indices)


def test_ties_go_to_the_first_class(labels):
    metrics, result = evaluate(torch.full((50, 1, 7), 1 / 7), labels, [range(50)], ("sa",))
    assert (result.predicted == 0).all()
    assert np.array_equal(result.rank[:, 0], labels.numpy() + 1)
    assert metrics["Top-1"] == pytest.approx(100 * (labels == 0).float().mean().item())


def test_scores_that_are_no_numbers_name_the_image(scores, labels):
    scores[3, 1, 2] = float("nan")
    with pytest.raises(InputError, match=r"scores of 3\.jpg are NaN"):
        evaluate(scores, labels, [range(50)])


def test_wrong_shapes_and_no_images_are_refused(scores, labels):
    with pytest.raises(InputError, match=r"scores are \(50, 2, 6\); \(50, 2, 7\) belong"):
        evaluate(scores[:, :, :6], labels, [range(50)])
    with pytest.raises(InputError, match="no test image"):
        evaluate(scores, labels, [])


def test_the_result_is_there_only_after_evaluation():
    with pytest.raises(RuntimeError, match="only after"):
        _ = DCALClasEvaluator(NAMES, ("sa",)).result


def test_broken_images_are_counted(scores, labels, caplog):
    evaluator = DCALClasEvaluator(NAMES, ("sa", "glca"))
    evaluator.process(batch(labels, range(50)) | {"broken_paths": ["x.jpg"]}, scores)
    with caplog.at_level("WARNING", logger="dcal_reid"):
        evaluator.evaluate()
    assert caplog.messages == ["1 test images cannot be decoded and are left out: x.jpg"]
