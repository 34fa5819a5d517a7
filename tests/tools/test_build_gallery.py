import runpy
from pathlib import Path

import pytest

from dcal_reid.errors import InputError
from dcal_reid.search import open_gallery

TOOL = Path(__file__).parents[2] / "tools" / "build_gallery.py"


@pytest.fixture
def build(run_folder):
    tool = runpy.run_path(str(TOOL))

    def build(*arguments, weights=run_folder / "model_final.pth"):
        words = [*arguments, "--device", "cpu", *(["--weights", weights] if weights else [])]
        tool["build"](tool["parser"]().parse_intermixed_args([*map(str, words)]))

    return build


def test_build_add_and_remove(build, crops, tmp_path, capsys):
    location = tmp_path / "gallery"
    build(crops / "labels.csv", location, "--index", "IVF2,Flat", "--search", "nprobe=2", "TEST.IMS_PER_BATCH", "7")
    assert f"{location}: 40 images, 96 values each, cosine distance" in capsys.readouterr().out
    assert open_gallery(location).factory == "IVF2,Flat"
    build(location, "--remove", crops / "0_0_0.png", crops / "0_0_1.png", weights=None)
    (tmp_path / "gone.txt").write_text(f"{crops / '1_0_0.png'}\n\n")
    build(location, "--remove-list", tmp_path / "gone.txt", weights=None)
    output = capsys.readouterr().out
    assert "2 images removed" in output and "1 images removed" in output and "37 images" in output
    build(crops, location, "--add")
    assert "3 of 40 images are new; 37 are left out, their paths are in the gallery" in capsys.readouterr().out
    assert len(open_gallery(location)) == 40
    build(crops, location, "--overwrite", "TEST.METRIC", "euclidean")
    assert "euclidean distance" in capsys.readouterr().out


def test_wrong_input(build, crops, tmp_path):
    location = tmp_path / "gallery"
    (tmp_path / "empty.txt").touch()
    for arguments, message in [
        ([location], "give SOURCE and GALLERY; or only GALLERY, with --remove"),
        ([crops, location, "--remove", "a.jpg"], "give SOURCE and GALLERY; or only GALLERY"),
        ([crops, location, "--add"], "gallery is not a gallery"),
        ([crops, location, "--add", "--index", "Flat"], "are for a new gallery"),
        ([location, "--remove-list", tmp_path / "none.txt"], "none.txt' cannot be read: No such file"),
        ([location, "--remove-list", tmp_path / "empty.txt"], "empty.txt' has no paths"),
        ([tmp_path / "none", location], "none' not found"),
    ]:
        with pytest.raises(InputError, match=message):
            build(*arguments)
    assert not location.exists()


def test_in_milvus_with_the_same_commands(build, run_folder, crops, tmp_path, capsys, monkeypatch):
    pytest.importorskip("milvus_lite", reason='needs pip install "dcal_reid[milvus]"')
    monkeypatch.chdir(tmp_path)
    milvus = ("--backend", "milvus", "--uri", tmp_path / "gallery.db")
    build(crops / "labels.csv", "folder")
    build(crops / "labels.csv", "crops", *milvus)
    assert "crops: 40 images, 96 values each, cosine distance" in capsys.readouterr().out
    tool, query = runpy.run_path(str(TOOL.with_name("search_gallery.py"))), crops / "0_0_0.png"
    found = []
    for where in (("folder",), ("crops", *milvus)):
        words = [*where, query, "--exclude-camera", "0", "--top", "5", "--weights", run_folder / "model_final.pth"]
        tool["run"](tool["parser"]().parse_intermixed_args([*map(str, words), "--device", "cpu"]))
        out = capsys.readouterr().out
        found.append(out[out.index("| rank") :])
    assert found[0] == found[1] and found[0].count(".png") == 5
    build("crops", *milvus, "--remove", query, weights=None)
    assert "39 images" in capsys.readouterr().out
    build(crops, "crops", *milvus, "--add")
    assert "1 of 40 images are new" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"exists at .*; --add adds to it, --overwrite replaces it"):
        build(crops, "crops", *milvus)
    with pytest.raises(InputError, match="milvus needs --uri"):
        build(crops, "crops", "--backend", "milvus")
