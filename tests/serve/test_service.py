import io
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.serving import add
from PIL import Image

from dcal_reid import Predictor
from dcal_reid.errors import InputError
from dcal_reid.evaluation import FaissGallery
from dcal_reid.serve import Settings
from dcal_reid.serve.service import SearchService
from dcal_reid.serve.shared import SharedGallery


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
    # The item is still there after a restart, with the feature of the stored file.
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
    # The server must not delete files of the gallery's owner.
    assert client.delete("/gallery/0").status_code == 204
    assert paths[0].is_file()
    info = client.get("/gallery").json()
    assert info["size"] == 39 and [camera["items"] for camera in info["cameras"]] == [19, 19]


def test_only_what_was_added_is_deleted_with_its_item(make_client, picture, paths):
    """Even if the images of the gallery are in the folder of the uploads."""
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


@pytest.fixture
def make_service(predictor, gallery_folder):
    """A service over the gallery, with some options, and possibly another model."""
    services = []

    def make(predictor=predictor, **options):
        gallery = SharedGallery(FaissGallery.open(gallery_folder), gallery_folder)
        services.append(SearchService(predictor, gallery, Settings(**{"threshold": 0.1, **options})))
        return services[-1]

    yield make
    for service in services:
        service.close()


def test_everybody_gets_the_answer_to_the_own_image(make_service, paths):
    """Even though images of several visitors go through the model together."""
    service = make_service()
    with ThreadPoolExecutor(10) as visitors:
        found = list(visitors.map(lambda path: service.search(path.read_bytes(), 1)[0][0], paths))
    assert [hit.item.name for hit in found] == [path.name for path in paths]
    assert max(hit.distance for hit in found) < 1e-5
    assert service.features.items == len(paths)


def test_a_match_is_below_the_threshold(make_service, picture):
    service = make_service()
    hits, drawn = service.search(picture(), 5)
    assert drawn is None
    for threshold in (None, hits[2].distance):
        found, _ = service.search(picture(), 5, threshold=threshold)
        limit = 0.1 if threshold is None else threshold
        assert [hit.match for hit in found] == [hit.distance < limit for hit in found]
    assert not found[2].match


def test_attention_after_a_crop_is_over_what_the_model_sees(make_service, run_folder, picture):
    overrides = ["INPUT.SIZE_TEST", "[96, 96]", "INPUT.CROP.ENABLED", "True", "INPUT.CROP.SIZE", "[64, 32]"]
    predictor = Predictor(run_folder / "model_final.pth", overrides=overrides, device="cpu")
    service = make_service(predictor)
    for data in (picture(size=(80, 80)), picture(size=(160, 40))):
        _, drawn = service.search(data, 1, branch="sa")
        with Image.open(io.BytesIO(drawn)) as image:
            assert image.size == (256, 512)
    assert Image.open(io.BytesIO(service.picture(0, "glca")[0])).size == (256, 512)
    with pytest.raises(InputError, match="this model has no attention of 'pwca'; it has sa, glca"):
        service.picture(0, "pwca")


def test_a_picture_and_its_tag_change_with_the_file_only(make_service, paths):
    service = make_service()
    data, tag = service.picture(5)
    assert service.picture(5) == (data, tag)
    paths[5].write_bytes(paths[6].read_bytes())
    os.utime(paths[5], ns=(0, 0))
    changed, other_tag = service.picture(5)
    assert changed == service.picture(6)[0] != data and other_tag != tag
    tags = {service.picture(number, branch)[1] for number in (5, 6) for branch in ("", "sa", "glca")}
    assert len(tags) == 6
