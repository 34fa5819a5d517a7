import json

import numpy as np
from PIL import Image

from dcal_reid.evaluation import Records
from dcal_reid.search import Found
from dcal_reid.search.report import draw_found, found_as_dict, found_table

# Exactly the distance of the second item, which is therefore not below it.
THRESHOLD = float(np.float32(0.4))


def found(paths=("a.jpg", "b.jpg"), identities=("car_1", ""), cameras=(-1, -1), query="q.jpg"):
    distances = np.array([0.1, 0.4], dtype=np.float32)
    return Found(query, np.array([7, 3]), distances, Records(list(paths), list(identities), list(cameras)))


def test_table():
    lines = found_table(found(), threshold=THRESHOLD).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["rank", "path", "identity", "distance", "match"]
    assert cells[2:] == [["1", "a.jpg", "car_1", "0.1000", "match"], ["2", "b.jpg", "", "0.4000", ""]]
    assert "match" not in found_table(found())
    assert "identity" not in found_table(found(identities=(-1, -1)))


def test_json():
    content = json.loads(json.dumps(found_as_dict(found(cameras=(0, -1)), threshold=THRESHOLD)))
    first, second = content["hits"]
    assert content["path"] == "q.jpg"
    assert {**first, "distance": round(first["distance"], 4)} == {
        "rank": 1, "id": 7, "path": "a.jpg", "identity": "car_1", "camera": 0, "distance": 0.1, "match": True,
    }  # fmt: skip
    assert (second["identity"], second["camera"], second["match"]) == (None, None, False)
    assert found_as_dict(found())["hits"][0]["match"] is None


def test_picture_frames_matches_in_green_and_others_in_red(make_images, tmp_path):
    folder = make_images("a.jpg", "b.jpg", "q.jpg")
    one = found(paths=[str(folder / "a.jpg"), str(folder / "b.jpg")], query=str(folder / "q.jpg"))
    pixels = {}
    for name, threshold in (("with", THRESHOLD), ("without", None)):
        draw_found(tmp_path / f"{name}.png", [one, one], size=(64, 32), threshold=threshold)
        image = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")).reshape(-1, 3)
        colours = ((31, 95, 180), (26, 150, 65), (215, 25, 28), (85, 85, 85))
        pixels[name] = [np.count_nonzero((image == colour).all(1)) for colour in colours]
    assert all(count > 1000 for count in pixels["with"][:3]) and pixels["with"][3] < 100
    assert max(pixels["without"][1:3]) < 100 and pixels["without"][3] > 2000


def test_names_that_are_not_utf8(make_images, tmp_path):
    folder = make_images("a.jpg")
    name = f"{folder}/\udcff.jpg"
    (folder / "a.jpg").rename(name)
    one = found(paths=[name, name], query=name)
    assert "/?.jpg" in found_table(one)
    assert json.loads(json.dumps(found_as_dict(one)))["path"] == name
    draw_found(tmp_path / "found.png", [one], size=(64, 32))
    assert (tmp_path / "found.png").is_file()
