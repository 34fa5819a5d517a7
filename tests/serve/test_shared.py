import numpy as np
import pytest
from serving import add

from dcal_reid.evaluation import FaissGallery, Records


@pytest.fixture
def client(make_client, uploads):
    return make_client(allow_add=True, uploads=uploads)


def test_what_another_process_adds_is_kept_and_found(client, picture, gallery_folder):
    add(client, picture(seed=1))
    other = FaissGallery.open(gallery_folder)
    other.add(np.ones((1, 96), dtype=np.float32), Records(["other.png"], np.array(["other"]), np.array(["cam8"])))
    other.remove([0])
    other.save(gallery_folder)
    add(client, picture(seed=2))
    info = client.get("/gallery").json()
    assert info["size"] == 42 and {"name": "cam8", "items": 1} in info["cameras"]
    assert client.delete("/gallery/0").status_code == 404
    assert client.delete("/gallery/41").status_code == 204
    assert len(FaissGallery.open(gallery_folder)) == 41


def test_an_id_that_has_become_another_images_is_not_removed(client, paths, predictor, gallery_folder):
    """A gallery that is built again counts from 0 again."""
    turned = [str(path) for path in [paths[0], *reversed(paths[1:])]]
    records = Records(turned, np.array(["a"] * 40), np.array(["b"] * 40))
    FaissGallery.build(np.eye(40, 96, dtype=np.float32), records, fingerprint=predictor.fingerprint).save(
        gallery_folder
    )
    answer = client.delete("/gallery/3")
    assert answer.status_code == 404 and "item 3 is another image" in answer.json()["detail"]
    assert FaissGallery.open(gallery_folder).records(range(40)).paths.tolist() == turned
    # Where the id is still the same image's, that image is meant.
    assert client.delete("/gallery/0").status_code == 204


def test_a_gallery_of_another_model_in_place_of_the_old_one_is_left_alone(client, picture, gallery_folder):
    gallery = FaissGallery(96, fingerprint="another")
    gallery.add(np.ones((1, 96), dtype=np.float32), Records(["other.png"], np.array(["other"]), np.array(["cam8"])))
    gallery.save(gallery_folder)
    assert "the server's log" in add(client, picture(), status=500)["detail"]
    assert len(FaissGallery.open(gallery_folder)) == 1


def test_a_gallery_with_numbers(make_client, uploads, picture, paths, predictor, gallery_folder):
    features = predictor([str(path) for path in paths]).numpy()
    numbers = np.arange(40)
    records = Records([str(path) for path in paths], numbers - 1, numbers % 3)
    FaissGallery.build(features, records, fingerprint=predictor.fingerprint).save(gallery_folder)
    client = make_client(allow_add=True, uploads=uploads)
    hits = client.post("/search", files={"image": picture()}, data={"k": "100", "camera": "0"}).json()["hits"]
    assert {hit["camera"] for hit in hits} == {"0"} and len(hits) == 14
    assert [hit["identity"] for hit in hits if hit["id"] == 0] == [None]
    assert "are numbers, not 'car'" in add(client, picture(), "car", "1", status=422)["detail"]
    assert "are numbers" in add(client, picture(), "9" * 30, "1", status=422)["detail"]
    assert add(client, picture(), "17", "1")["identity"] == "17"
    # -1: not known.
    assert add(client, picture(), "18", "-1")["camera"] is None
    assert len(client.get("/gallery").json()["cameras"]) == 3


def test_an_emptied_gallery(client, picture, tmp_path):
    for item in range(40):
        client.delete(f"/gallery/{item}")
    assert client.get("/gallery").json()["cameras"] == []
    assert client.post("/search", files={"image": picture()}).json()["hits"] == []
    assert add(client, picture())["id"] == 40


def test_a_change_that_cannot_be_written_is_forgotten(client, uploads, picture, gallery_folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = client.get("/gallery").json()
    with monkeypatch.context() as patch:
        patch.setattr(FaissGallery, "save", full)
        add(client, picture(seed=1), status=500)
        assert client.delete("/gallery/3").status_code == 500
    assert client.get("/gallery").json() == before and client.get("/images/3").status_code == 200
    assert not list(uploads.iterdir())
    assert add(client, picture(seed=2))["id"] == 40
    assert client.get("/gallery").json()["cameras"][-1] == {"name": "cam7", "items": 1}
    assert len(FaissGallery.open(gallery_folder)) == before["size"] + 1


def test_a_file_name_that_is_not_utf8(make_client, picture, predictor, gallery_folder, tmp_path):
    path = f"{tmp_path}/\udcff.png"
    with open(path, "wb") as file:
        file.write(picture(seed=3))
    gallery = FaissGallery.open(gallery_folder)
    gallery.add(predictor(path).numpy(), Records([path], ["a"], ["b"]))
    gallery.save(gallery_folder)
    client = make_client()
    hit = client.post("/search", files={"image": picture(seed=3)}, data={"k": "1"}).json()["hits"][0]
    assert (hit["id"], hit["name"]) == (40, "?.png") and client.get(hit["image"]).status_code == 200
