import io

import numpy as np
import pytest
from PIL import Image

from dcal_reid.evaluation import FaissGallery, Records


@pytest.fixture
def uploads(tmp_path):
    return tmp_path / "uploads"


@pytest.fixture
def client(make_client, uploads):
    return make_client(allow_add=True, uploads=uploads)


def add(client, data, identity="new", camera="cam7", status=201, name="../../evil.php"):
    answer = client.post("/gallery", files={"image": (name, data)}, data={"identity": identity, "camera": camera})
    assert answer.status_code == status, answer.text
    return answer.json()


def test_an_image_that_was_added_is_found(client, uploads, picture, gallery_folder, predictor):
    data = picture("PNG", (40, 70), seed=9)
    added = add(client, data)
    (stored,) = uploads.iterdir()
    assert added == {"id": 40, "identity": "new", "camera": "cam7", "name": stored.name, "image": "/images/40"}
    assert stored.suffix == ".png" and "evil" not in stored.name
    hit = client.post("/search", files={"image": data}, data={"k": "1", "camera": "cam7"}).json()["hits"][0]
    assert (hit["id"], hit["identity"]) == (40, "new") and hit["distance"] == pytest.approx(0, abs=1e-5)
    assert client.get("/gallery").json()["cameras"][-1] == {"name": "cam7", "items": 1}
    assert client.get("/images/40").status_code == 200
    # It is there after a restart, too, with the feature of the file that was stored.
    opened = FaissGallery.open(gallery_folder, predictor.fingerprint)
    found = opened.search(predictor(str(stored)).numpy(), 1)
    assert found.ids.tolist() == [[40]] and found.distances[0, 0] == pytest.approx(0, abs=1e-5)


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


def test_what_is_stored_has_the_pixels_and_nothing_else(client, uploads, paths):
    exif = Image.Exif()
    exif[0x010E] = "secret"
    buffer = io.BytesIO()
    with Image.open(paths[0]) as image:
        image.save(buffer, "PNG", exif=exif)
        expected = np.asarray(image)
    add(client, buffer.getvalue() + b"<?php secret")
    (stored,) = uploads.iterdir()
    assert b"secret" not in stored.read_bytes()
    with Image.open(stored) as image:
        np.testing.assert_array_equal(np.asarray(image), expected)


def test_remove(client, uploads, picture, paths):
    item = add(client, picture())["id"]
    assert client.delete(f"/gallery/{item}").status_code == 204
    assert not list(uploads.iterdir())
    assert client.delete(f"/gallery/{item}").status_code == 404
    assert client.get(f"/images/{item}").status_code == 404
    # The files of those who built the gallery are theirs.
    assert client.delete("/gallery/0").status_code == 204
    assert paths[0].is_file()
    info = client.get("/gallery").json()
    assert info["size"] == 39 and [camera["items"] for camera in info["cameras"]] == [19, 19]


def test_only_what_was_added_is_deleted_with_its_item(make_client, picture, paths):
    """Although the images of the gallery are in the folder of the uploads."""
    uploads = paths[0].parent
    client = make_client(allow_add=True, uploads=uploads)
    item = add(client, picture())
    assert (uploads / item["name"]).is_file()
    for number in (0, item["id"]):
        assert client.delete(f"/gallery/{number}").status_code == 204
    assert paths[0].is_file() and not (uploads / item["name"]).exists()


@pytest.mark.parametrize(
    ("identity", "camera"), [("", "c"), ("i", ""), ("i" * 101, "c"), ("a\nb", "c"), ("a\x00", "c")]
)
def test_labels(client, uploads, picture, identity, camera):
    add(client, picture(), identity, camera, status=422)
    assert not uploads.exists()


def test_images_that_cannot_be_used_are_not_stored(client, uploads):
    add(client, b"nothing", status=415)
    assert not uploads.exists() and client.get("/gallery").json()["size"] == 40


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
