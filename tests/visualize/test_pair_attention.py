import pytest
import torch

from dcal_reid.errors import InputError
from dcal_reid.modeling.attention_maps import PairAttentionMaps
from dcal_reid.visualize.pair_attention import draw_pair_attention

GRID = (4, 2)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 64, 32), dtype=torch.uint8, generator=generator)
    sa = torch.rand(2, *GRID, generator=generator) / 10
    maps = [torch.rand(2, 2, *GRID, generator=generator) / 20 for _ in range(2)]
    return images, sa, PairAttentionMaps(*maps)


def test_each_image_is_the_target_of_a_row(tmp_path, drawn, assert_legible, case):
    images, sa, pwca = case
    draw_pair_attention(tmp_path / "pair.png", images, sa, pwca, names=["bus", "car"])
    (figure,) = drawn
    assert_legible(figure)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 12
    shares = [sa, pwca.last[:, 0], pwca.last[:, 1], pwca.rollout[:, 0], pwca.rollout[:, 1]]
    for target, name in enumerate(("bus", "car")):
        labels = [axes.get_xlabel() for axes in panels[6 * target : 6 * target + 6]]
        expected = [f"{100 * float(maps[target].sum()):.0f} % of the attention" for maps in shares]
        assert labels == [name, *expected]


def test_target_and_distractor_have_one_scale(tmp_path, drawn, case):
    images, sa, pwca = case
    pwca.last[0, 1] = pwca.last[0, 0] * 1e-3
    draw_pair_attention(tmp_path / "pair.png", torch.zeros_like(images), sa, pwca)
    target, distractor = (drawn[0].axes[column].images[0].get_array() for column in (2, 3))
    assert len(set(map(tuple, distractor.reshape(-1, 3).tolist()))) <= 2  # almost no attention falls on it
    assert target.astype(int).std(axis=(0, 1)).max() > 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images, sa, pwca: (images.float(), sa, pwca), "images are torch.float32"),
        (lambda images, sa, pwca: (images[:1], sa, pwca), "give a pair"),
        (lambda images, sa, pwca: (images, sa[:1], pwca), r"maps are \(1, 4, 2\)"),
        (lambda images, sa, pwca: (images, sa, PairAttentionMaps(pwca.last[:, :1], pwca.rollout)), r"\(2, 1, 4, 2\)"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, case, change, message):
    with pytest.raises(InputError, match=message):
        draw_pair_attention(tmp_path / "pair.png", *change(*case))
