import argparse

import pytest

from dcal_reid.errors import InputError
from dcal_reid.search.location import MilvusCollection, add_gallery_arguments, gallery_location


def location(*words):
    parser = argparse.ArgumentParser()
    add_gallery_arguments(parser)
    return gallery_location(parser.parse_args(words))


def test_a_folder_or_a_collection():
    assert location("galleries/veri") == "galleries/veri"
    found = location("veri", "--backend", "milvus", "--uri", "http://host:19530")
    assert found == MilvusCollection("veri", "http://host:19530") and str(found) == "veri"


@pytest.mark.parametrize("words", [["--uri", "gallery.db"], ["--backend", "milvus"], ["--backend", "milvus", "--uri="]])
def test_half_of_what_milvus_needs(words):
    with pytest.raises(
        InputError, match=r"--backend is (faiss|milvus) and --uri '.*'; milvus needs --uri, faiss takes"
    ):
        location("veri", *words)
