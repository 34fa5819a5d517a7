from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.serving import add

from dcal_reid.errors import InputError
from dcal_reid.evaluation import FaissGallery, Records
from dcal_reid.serve.shared import Item, NotInGallery, SharedGallery


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
    """The ids of a rebuilt gallery start from 0 again."""
    turned = [str(path) for path in [paths[0], *reversed(paths[1:])]]
    records = Records(turned, np.array(["a"] * 40), np.array(["b"] * 40))
    FaissGallery.build(np.eye(40, 96, dtype=np.float32), records, fingerprint=predictor.fingerprint).save(
        gallery_folder
    )
    answer = client.delete("/gallery/3")
    assert answer.status_code == 404 and "item 3 is another image" in answer.json()["detail"]
    assert FaissGallery.open(gallery_folder).records(range(40)).paths.tolist() == turned
    # If the id still belongs to the same image, it is removed.
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


def shared(identities, cameras, folder=None):
    """Items on the axes of a space, as many as there are cameras."""
    paths = [f"/secret/{number}.png" for number in range(len(cameras))]
    gallery = FaissGallery.build(np.eye(len(cameras), 6), Records(paths, identities, cameras))
    if folder is not None:
        gallery.save(folder)
    return SharedGallery(gallery, folder)


def test_what_is_told_of_an_item():
    gallery = shared([7, -1, 0], ["gate", "", "gate"])
    assert gallery.item(0) == Item(0, "7", "gate", "0.png")
    assert gallery.item(1) == Item(1, None, None, "1.png") and gallery.item(2).identity == "0"
    assert gallery.path(2) == Path("/secret/2.png") and gallery.cameras == {"gate": 2}
    for ask in (gallery.item, gallery.path, gallery.remove):
        with pytest.raises(NotInGallery, match="the gallery has no item 3"):
            ask(3)
    with pytest.raises(InputError, match="the gallery has no camera 'Gate'"):
        gallery.search(np.eye(1, 6), 1, ["gate", "Gate"])


@pytest.mark.parametrize(("k", "cameras", "expected"), [
    (2, (), [4, 0]), (100, (), [4, 0, 1, 2, 3]), (2, ("1",), [0, 2]), (9, ("1", "2"), [4, 0, 1, 2]), (0, (), [4]),
])  # fmt: skip
def test_search(k, cameras, expected):
    """The query is nearest to the axis of item 4, then to that of item 0, and then to the others in order."""
    gallery = shared(np.arange(5), [1, 2, 1, -1, 2])
    feature = np.array([[0.9, 0.3, 0.2, 0.1, 1, 0]], dtype=np.float32)
    found = gallery.search(feature, k, cameras)
    assert [item.id for item, _ in found] == expected
    cosines = feature[0, expected] / np.linalg.norm(feature)
    np.testing.assert_allclose([distance for _, distance in found], 1 - cosines, atol=1e-6)


@pytest.mark.parametrize("value", ["car", "", "1.5", "1e3", str(2**63), str(-(2**63) - 1)])
def test_labels_where_the_gallery_has_numbers(value):
    numbers, texts = shared([1], [2]), shared(["1"], ["2"])
    for labels, column in (((value, "2"), "identities"), (("1", value), "cameras")):
        with pytest.raises(InputError, match=f"the {column} of this gallery are numbers, not '{value}'; give a number"):
            numbers.check_labels(*labels)
        with pytest.raises(InputError, match="give a number"):
            numbers.add(np.eye(1, 6), Path("a.png"), *labels)
        texts.check_labels(*labels)
    numbers.check_labels(str(2**63 - 1), "-1")
    assert len(numbers) == 1


def test_many_at_one_time(tmp_path):
    """Every image that somebody adds gets an id of its own, and is there afterwards, on disk too."""
    gallery = shared(["a", "b"], ["gate", "gate"], tmp_path / "gallery")

    def visit(number):
        item = gallery.add(np.eye(6)[number % 6 : number % 6 + 1], Path(f"{number}.png"), "new", f"cam{number % 2}")
        found = gallery.search(np.eye(1, 6), 100)
        assert item.name == f"{number}.png" and len({hit.id for hit, _ in found}) == len(found)
        if number % 3 == 0:
            assert gallery.remove(item.id) == Path(item.name)
        return item.id

    with ThreadPoolExecutor(4) as visitors:
        ids = list(visitors.map(visit, range(8)))
    assert sorted(ids) == list(range(2, 10))
    assert gallery.cameras == {"gate": 2, "cam0": 2, "cam1": 3}  # without 0, 3 and 6
    opened = FaissGallery.open(tmp_path / "gallery")
    paths = opened.records(opened.ids).paths.tolist()
    assert paths[:2] == ["/secret/0.png", "/secret/1.png"]
    assert sorted(paths[2:]) == [f"{number}.png" for number in (1, 2, 4, 5, 7)]
