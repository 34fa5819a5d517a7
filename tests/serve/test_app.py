import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.serving import add, decoded, search
from PIL import Image

from dcal_reid import Predictor
from dcal_reid.engine.setup import save_config
from dcal_reid.evaluation import FaissGallery, Records
from dcal_reid.serve import Settings


def cosine_distances(predictor, query, paths):
    features = torch.nn.functional.normalize(predictor([str(query), *map(str, paths)]).double())
    return 1 - features[1:] @ features[0]


def test_search_finds_what_is_nearest(client, predictor, paths):
    expected = cosine_distances(predictor, paths[5], paths)
    found = search(client, paths[5].read_bytes(), k=7, threshold=0.05)
    order = expected.argsort()[:7]
    assert [hit["id"] for hit in found["hits"]] == order.tolist()
    assert [hit["name"] for hit in found["hits"]] == [paths[i].name for i in order]
    assert [hit["identity"] for hit in found["hits"]] == [f"id{paths[i].name[0]}" for i in order]
    np.testing.assert_allclose([hit["distance"] for hit in found["hits"]], expected[order], atol=1e-5)
    assert [hit["match"] for hit in found["hits"]] == (expected[order] < 0.05).tolist()
    assert found["hits"][0]["image"] == f"/images/{order[0]}" and found["hits"][0]["attention"] is None
    assert found["attention"] is None and found["threshold"] == 0.05 and found["seconds"] > 0


@pytest.mark.parametrize("camera", ["cam0", "cam1"])
def test_only_some_cameras(client, predictor, paths, camera):
    expected = cosine_distances(predictor, paths[5], paths)
    inside = [i for i in expected.argsort().tolist() if paths[i].name[2] == camera[-1] and i != 39]
    for k in (1, 8, 100):
        hits = search(client, paths[5].read_bytes(), k=k, camera=[camera])["hits"]
        assert [hit["id"] for hit in hits] == inside[:k]
        assert {hit["camera"] for hit in hits} == {camera}
    # An item whose camera is not known belongs to none.
    assert len(search(client, paths[5].read_bytes(), k=100, camera=["cam0", "cam1"])["hits"]) == 39
    everything = search(client, paths[5].read_bytes(), k=100)["hits"]
    assert [hit["camera"] for hit in everything if hit["id"] == 39] == [None]


@pytest.mark.parametrize("branch", ["sa", "glca"])
def test_attention_of_query_and_hits(client, predictor, paths, branch):
    found = search(client, paths[0].read_bytes(), k=2, attention=branch)
    head, data = found["attention"].split(",")
    assert head == "data:image/jpeg;base64"
    drawn = np.asarray(decoded(base64.b64decode(data)), dtype=float)
    values = getattr(predictor.attention([str(paths[0])]), branch)[0].numpy()
    heat = cv2.resize(values / values.max(), drawn.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    heat = cv2.applyColorMap((255 * heat.clip(0, 1)).round().astype(np.uint8), cv2.COLORMAP_TURBO)[:, :, ::-1]
    with Image.open(paths[0]) as image:
        under = np.asarray(image.resize(drawn.shape[1::-1], Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(drawn - (under + heat) / 2).mean() < 6  # JPEG; heat over another image is 20 off and more
    same = client.get(found["hits"][0]["attention"])
    assert found["hits"][0]["id"] == 0 and np.abs(np.asarray(decoded(same.content), dtype=float) - drawn).mean() < 1


@pytest.mark.usefixtures("fastreid_cfg")
def test_fastreids_own_network_is_served_without_attention(run_cfg, paths, picture):
    pytest.importorskip("fastapi", reason='needs pip install "dcal_reid[serve]"')
    from fastapi.testclient import TestClient

    from dcal_reid.serve.app import create_app

    Path(run_cfg.OUTPUT_DIR).mkdir()
    save_config(run_cfg)
    predictor = Predictor(config_file=f"{run_cfg.OUTPUT_DIR}/config.yaml")
    records = Records([str(path) for path in paths[:4]], np.arange(4), np.arange(4))
    gallery = FaissGallery.build(predictor(paths[:4]).numpy(), records, fingerprint=predictor.fingerprint)
    app = create_app(predictor, gallery, Settings(threshold=0.1), None)
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/gallery").json()["attention"] == []
        assert len(search(client, picture(), k=2)["hits"]) == 2


def test_pictures_are_asked_for_again_only_when_they_change(client, paths):
    first = client.get("/images/3")
    tag = first.headers["etag"]
    again = client.get("/images/3", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert len({tag, client.get("/images/4").headers["etag"], client.get("/images/3/attention").headers["etag"]}) == 3
    with Image.open(paths[3]) as image:
        image.rotate(90, expand=True).save(paths[3])
    changed = client.get("/images/3", headers={"If-None-Match": tag})
    assert changed.status_code == 200 and decoded(changed.content).size == (64, 32)


def test_gallery_and_health(client, predictor, gallery_folder):
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/gallery").json() == {
        "size": 40, "metric": "cosine", "dim": 96, "fingerprint": predictor.fingerprint, "threshold": 0.1,
        "false_positive_rate": None, "attention": ["sa", "glca"], "allow_add": False,
        "cameras": [{"name": "cam0", "items": 20}, {"name": "cam1", "items": 19}], "max_upload_bytes": 10 * 2**20,
    }  # fmt: skip


def test_the_threshold_is_found_from_the_gallery(make_client, predictor, paths):
    features = torch.nn.functional.normalize(predictor([str(path) for path in paths]).double())
    identities = np.array([path.name[0] for path in paths])
    different = torch.from_numpy(identities[:, None] != identities)
    expected = torch.quantile((1 - features @ features.T)[different], 0.01).item()
    info = make_client(threshold=None).get("/gallery").json()
    assert info["threshold"] == pytest.approx(expected, abs=1e-5) and info["false_positive_rate"] == 0.01


def test_page(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    parts = re.findall(r'(?:src|href)="(static/[^"]+)"', page.text)
    assert len(parts) >= 3
    for part in parts:
        assert client.get(f"/{part}").status_code == 200
    script = client.get("/static/app.js")
    assert script.headers["content-type"].startswith("text/javascript")
    for name in re.findall(r'from "\./(.+?)"', script.text):
        assert client.get(f"/static/{name}").status_code == 200


def test_nothing_asks_another_host(client):
    for name in ("", "static/app.js", "static/page.js", "static/results.js", "static/viewer.js", "static/app.css"):
        text = client.get(f"/{name}").text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.[a-z]|<script>|style=|\son[a-z]+=", text), name
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


def test_an_unexpected_error_tells_nothing(make_client, monkeypatch, picture):
    def fail(*_):
        raise RuntimeError("secret at /home/secret")

    client = make_client()
    monkeypatch.setattr("dcal_reid.serve.service.SearchService.search", fail)
    answer = client.post("/search", files={"image": picture()})
    assert answer.status_code == 500
    assert answer.json() == {"detail": "internal error; the server's log says more"}
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("identity", "camera"), [("", "c"), ("i", ""), ("i" * 101, "c"), ("a\nb", "c"), ("a\x00", "c")]
)
def test_labels(make_client, uploads, picture, identity, camera):
    add(make_client(allow_add=True, uploads=uploads), picture(), identity, camera, status=422)
    assert not uploads.exists()
