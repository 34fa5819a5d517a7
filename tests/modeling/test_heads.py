import torch
from fastreid.modeling.heads import ClasHead, EmbeddingHead, build_heads

from dcal_reid.modeling.heads import DCALClassificationHead, DCALHead, running_statistics_kept


def build(cfg):
    cfg.MODEL.BACKBONE.FEAT_DIM = 16
    torch.manual_seed(0)
    return build_heads(cfg)


def test_is_fastreids_embedding_head_on_vectors(tiny_cfg):
    ours = build(tiny_cfg)
    assert isinstance(ours, DCALHead)
    tiny_cfg.MODEL.HEADS.NAME = "EmbeddingHead"
    theirs = build(tiny_cfg)
    assert type(theirs) is EmbeddingHead
    features, targets = torch.randn(8, 16), torch.arange(8) % 4
    expected = theirs(features[:, :, None, None], targets)
    for name, value in ours(features, targets).items():
        assert torch.equal(value, expected[name])
    torch.testing.assert_close(ours.eval()(features), theirs.eval()(features[:, :, None, None]))


def test_embeddings_are_concatenated(tiny_cfg):
    one, other = torch.randn(8, 16), torch.randn(8, 16)
    assert torch.equal(build(tiny_cfg).combine([one, other]), torch.cat([one, other], dim=1))


def test_classification_is_fastreids_clas_head_on_vectors(tiny_cfg):
    tiny_cfg.MODEL.HEADS.WITH_BNNECK = False
    tiny_cfg.MODEL.HEADS.NAME = "DCALClassificationHead"
    ours = build(tiny_cfg)
    assert isinstance(ours, DCALClassificationHead)
    tiny_cfg.MODEL.HEADS.NAME = "ClasHead"
    theirs = build(tiny_cfg)
    assert type(theirs) is ClasHead
    features, targets = torch.randn(8, 16), torch.arange(8) % 4
    expected = theirs(features[:, :, None, None], targets)
    for name, value in ours(features, targets).items():
        assert torch.equal(value, expected[name])
    probabilities = ours.eval()(features)
    torch.testing.assert_close(probabilities, theirs.eval()(features[:, :, None, None]).softmax(dim=1))
    torch.testing.assert_close(ours.combine([probabilities, probabilities]), 2 * probabilities)


def test_classes_are_scored_in_fp32_under_autocast(tiny_cfg):
    tiny_cfg.MODEL.HEADS.NAME = "DCALClassificationHead"
    head = build(tiny_cfg).eval()
    features = torch.randn(8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head(features), head(features.float()))
        assert head(features.bfloat16()).dtype == torch.float32


def test_triplet_features_are_before_and_logits_after_the_bnneck(tiny_cfg):
    head = build(tiny_cfg)
    features = 3 + 5 * torch.randn(64, 16)
    outputs = head(features, torch.zeros(64, dtype=torch.long))
    assert torch.equal(outputs["features"], features)
    normalised = torch.nn.functional.batch_norm(features, None, None, training=True)
    torch.testing.assert_close(outputs["cls_outputs"], normalised @ head.weight.T, rtol=1e-4, atol=1e-5)


def test_the_bnneck_has_no_bias_to_learn(tiny_cfg):
    frozen = [name for name, p in build(tiny_cfg).named_parameters() if not p.requires_grad]
    assert frozen == ["bottleneck.0.bias"]


def test_running_statistics_can_be_left_alone(tiny_cfg):
    head = build(tiny_cfg)
    norm = head.bottleneck[0]
    features, targets = 3 + torch.randn(8, 16), torch.zeros(8, dtype=torch.long)
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    with running_statistics_kept(head):
        kept = head(features, targets)
    assert all(torch.equal(v, before[k]) for k, v in norm.state_dict().items())
    moved = head(features, targets)
    assert torch.equal(kept["cls_outputs"], moved["cls_outputs"])
    assert not torch.equal(norm.running_mean, before["running_mean"])
