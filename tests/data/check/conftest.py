import pytest


@pytest.fixture
def dogs(root, cfg, write_image):
    """FolderReID: 3 identities to train on, 2 to find, two cameras, an image each."""
    for number, (split, identity) in enumerate(
        [("train", "ace"), ("train", "bob"), ("train", "cat"), ("query", "rex"), ("query", "zoe")]
    ):
        for camera in (1, 2):
            folder = "gallery" if split == "query" and camera == 2 else split
            write_image(root / "dogs" / folder / identity / f"c{camera}_1.jpg", 10 * number + camera, (16, 32 + camera))
    cfg.DATASETS.FOLDER.PATH = "dogs"
    cfg.DATASETS.FOLDER.CAMERA_PATTERN = r"c(\d+)_"
    return root / "dogs"
