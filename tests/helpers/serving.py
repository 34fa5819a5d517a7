"""Requests to the search server, and what is expected of every answer."""

import io

from PIL import Image


def search(client, data, status=200, headers=None, **fields):
    answer = client.post("/search", files={"image": ("query.png", data)}, data=fields, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def post(client, data, status, headers=None, name="query.png", **fields):
    answer = client.post("/search", files={"image": (name, data)}, data=fields, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json().get("detail")


def add(client, data, identity="new", camera="cam7", status=201, name="../../evil.php"):
    answer = client.post("/gallery", files={"image": (name, data)}, data={"identity": identity, "camera": camera})
    assert answer.status_code == status, answer.text
    return answer.json()


def decoded(data):
    return Image.open(io.BytesIO(data))
