"""Files of tensors, read without running any code in them, and written completely or not at all."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["check_writable", "no_such_checkpoint", "one_writer", "read_tensors", "sync", "written_atomically"]


def read_tensors(path: str | Path) -> dict:
    """Read what ``torch.save`` or safetensors wrote: tensors, numbers, strings and containers of them.

    Raises:
        InputError: the file does not exist, is damaged, or holds anything else (a pickle can run code).
    """
    path = Path(path)
    if not path.is_file():
        raise no_such_checkpoint(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise InputError(
                f"checkpoint {str(path)!r} holds more than tensors and is not loaded, because unpickling it could run "
                "code; save its state_dict again with torch.save or as .safetensors"
            ) from error
        # PyTorch's own message suggests loading the file in a way that can run code.
        raise _damaged(path, "PyTorch did not write it") from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise InputError(f"checkpoint {str(path)!r} holds a {type(content).__name__}, not a dict of tensors")
    return content


@contextmanager
def written_atomically(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces ``path`` when the block ends without an error.

    The file is synced to disk before it is renamed, so readers of ``path`` find either the old or the new content.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # safetensors writes files that only their owner can read
        sync(temporary)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: str | Path) -> None:
    """Flush a file to the disk. Windows requires it to be open for writing."""
    with open(path, "r+b" if sys.platform == "win32" else "rb") as file:
        os.fsync(file.fileno())


def check_writable(path: str | Path) -> None:
    """Check before a long computation that its result can be written to ``path``.

    Raises:
        OSError: the error that writing there would raise.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def one_writer(folder: str | Path, wait: bool = True) -> Iterator[None]:
    """Lock a folder: other processes that enter this block for it wait until it is left. On Windows they do not wait.

    Args:
        folder: an existing folder.
        wait: if False, raise an error instead of waiting for another process.

    Raises:
        BlockingIOError: another process is in the block, and ``wait`` is False.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        with suppress(OSError):  # closing is not enough if processes were forked in the block
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; not every system can open a folder."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def no_such_checkpoint(path: str | Path) -> InputError:
    """The error for a ``path`` that is not a file."""
    if Path(path).is_dir():
        return InputError(f"checkpoint {str(path)!r} is a folder; give a file in it, such as model_best.pth")
    return InputError(f"checkpoint {str(path)!r} not found; check the path")


def _damaged(path: Path, error: Exception | str) -> InputError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return InputError(f"checkpoint {str(path)!r} is damaged or not a checkpoint: {reason}")
