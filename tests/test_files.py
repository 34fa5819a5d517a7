import errno
import os
import pickle
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dcal_reid.errors import InputError
from dcal_reid.files import check_writable, one_writer, read_tensors, sync, written_atomically


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("owned"),)


def test_reads_tensors_numbers_and_strings(tmp_path):
    content = {"model": {"w": torch.ones(2)}, "epoch": 3, "name": "x", "list": [1.5, (2,)]}
    torch.save(content, tmp_path / "a.pth")
    read = read_tensors(tmp_path / "a.pth")
    assert torch.equal(read.pop("model")["w"], content.pop("model")["w"]) and read == content
    save_file({"w": torch.ones(2)}, tmp_path / "a.safetensors")
    assert torch.equal(read_tensors(tmp_path / "a.safetensors")["w"], torch.ones(2))


@pytest.mark.parametrize("save", [torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj))])
def test_never_runs_code_from_a_file(tmp_path, monkeypatch, save):
    monkeypatch.chdir(tmp_path)
    save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match=r"evil.pth"):
        read_tensors(tmp_path / "evil.pth")
    assert not Path("owned").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_damaged_file_is_one_line(tmp_path, content, suffix):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_tensors(path)
    assert "damaged" in str(error.value) and "\n" not in str(error.value)


def test_a_truncated_file_is_damaged(tmp_path):
    torch.save({"w": torch.ones(1000)}, tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        (tmp_path / "a.pth").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match="damaged"):
            read_tensors(tmp_path / "a.pth")


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="not found"):
        read_tensors(tmp_path / "nothing.pth")
    with pytest.raises(InputError, match=r"is a folder; give a file in it, such as model_best\.pth$"):
        read_tensors(tmp_path)


def test_nobody_is_told_to_run_what_is_in_a_file(tmp_path):
    (tmp_path / "config.yaml").write_text("MODEL:\n  DEVICE: cpu\n")
    with pytest.raises(InputError, match=r"config\.yaml' is damaged or not a checkpoint") as error:
        read_tensors(tmp_path / "config.yaml")
    assert "weights_only" not in str(error.value)


def test_whether_a_file_can_be_written(tmp_path):
    (tmp_path / "there.json").write_text("old")
    (tmp_path / "folder.json").mkdir()
    before = sorted(tmp_path.iterdir())
    check_writable(tmp_path / "there.json")
    check_writable(tmp_path / "new.json")
    for path, kind in ((tmp_path / "folder.json", IsADirectoryError), (tmp_path / "no" / "a", FileNotFoundError)):
        with pytest.raises(kind) as error:
            check_writable(path)
        assert error.value.filename == str(path)
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "there.json").read_text() == "old"


def test_a_list_is_not_a_checkpoint(tmp_path):
    torch.save([torch.ones(1)], tmp_path / "a.pth")
    with pytest.raises(InputError, match="holds a list"):
        read_tensors(tmp_path / "a.pth")


def test_writes_the_whole_or_nothing(tmp_path):
    path = tmp_path / "file"
    with written_atomically(path) as temporary:
        temporary.write_text("old")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), written_atomically(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_windows_syncs_is_open_for_writing(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="asks how a file was opened")
    synced = []

    def fsync(descriptor):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        synced.append(descriptor)

    (tmp_path / "file").write_text("content")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(sys, "platform", "win32")
    sync(tmp_path / "file")
    assert len(synced) == 1 and (tmp_path / "file").read_text() == "content"


def test_one_writer_at_a_time(tmp_path):
    pytest.importorskip("fcntl", reason="locks of files are POSIX")
    seen = []

    def write(name):
        with one_writer(tmp_path):
            seen.append(name)

    second = threading.Thread(target=write, args=("second",))
    with one_writer(tmp_path):
        second.start()
        time.sleep(0.1)
        seen.append("first")
    second.join()
    assert seen == ["first", "second"] and not list(tmp_path.iterdir())
