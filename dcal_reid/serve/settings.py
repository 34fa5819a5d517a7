"""Options that the person who starts the server chooses."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..errors import InputError
from ..search.verification import check_threshold

__all__ = ["LOCAL_HOSTS", "Settings"]

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_EVERY_INTERFACE = ("0.0.0.0", "::", "")
_MOST_PIXELS = 2 * Image.MAX_IMAGE_PIXELS  # Pillow opens no larger image


@dataclass(frozen=True)
class Settings:
    """Options of the server.

    Raises:
        InputError: options that do not fit together.
    """

    host: str = "127.0.0.1"  # address to listen on
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()  # names that requests may be addressed to, besides localhost and host
    threshold: float | None = None  # distance below which a hit is a match; None: derived from the gallery
    allow_add: bool = False
    uploads: Path | None = None  # where added images are stored
    max_upload_bytes: int = 10 * 2**20  # of a whole request
    max_pixels: int = 25_000_000
    max_requests: int = 128  # with an image, at one time

    def __post_init__(self):
        if self.host in _EVERY_INTERFACE and not self.allowed_hosts:
            raise InputError(
                f"--host {self.host!r} listens on every interface; name what browsers will call this server with "
                "--allowed-hosts, such as --allowed-hosts gallery.example.org"
            )
        if not 0 <= self.port < 2**16:
            raise InputError(f"--port {self.port} is not a port; give 0 (any free one) to 65535")
        if self.allow_add != (self.uploads is not None):
            raise InputError("--allow-add and --uploads DIR go together: give both or none")
        if self.max_upload_bytes < 1 or self.max_pixels < 1:
            raise InputError("the limits of an upload must be at least 1 byte and 1 pixel")
        if self.max_pixels > _MOST_PIXELS:
            raise InputError(f"--max-pixels is {self.max_pixels:,}; Pillow opens images of {_MOST_PIXELS:,} at most")
        check_threshold(self.threshold)
        for name in self.allowed_hosts:
            if "/" in name or "*" in name.removeprefix("*."):
                raise InputError(
                    f"--allowed-hosts {name!r} is not the name of a host; give example.org or *.example.org"
                )

    @property
    def hosts(self) -> list[str]:
        """Every name that requests may be addressed to."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return list(dict.fromkeys([*LOCAL_HOSTS, *self.allowed_hosts, *([own] if self.host else [])]))
