import io

import numpy as np
import pytest
from PIL import Image
from serving import add

from dcal_reid.evaluation import FaissGallery


@pytest.fixture
def client(make_client, uploads):
    return make_client(allow_add=True, uploads=uploads)


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


def test_images_that_cannot_be_used_are_not_stored(client, uploads):
    add(client, b"nothing", status=415)
    assert not uploads.exists() and client.get("/gallery").json()["size"] == 40


def test_a_file_that_has_gone(client, paths, tmp_path):
    paths[0].unlink()
    paths[1].write_text("no longer an image")
    paths[2].unlink()
    paths[2].mkdir()
    for number in range(3):
        for route in (f"/images/{number}", f"/images/{number}/attention"):
            answer = client.get(route)
            assert answer.status_code == 404
            assert answer.json()["detail"].startswith(f"the image of item {number} cannot be read any more")
