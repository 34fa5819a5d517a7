from pathlib import Path

import pytest

from dcal_reid.errors import InputError
from dcal_reid.serve import Settings


def test_hosts():
    assert Settings().hosts == ["localhost", "127.0.0.1", "[::1]"]
    assert Settings(host="192.168.1.5").hosts[-1] == "192.168.1.5"
    assert Settings(host="fe80::1").hosts[-1] == "[fe80::1]"
    everywhere = Settings(host="0.0.0.0", allowed_hosts=("gallery.example.org", "*.example.com"))
    assert everywhere.hosts[3:5] == ["gallery.example.org", "*.example.com"]


@pytest.mark.parametrize(("options", "message"), [
    ({"host": "0.0.0.0"}, "--host '0.0.0.0' listens on every interface; name what browsers will call this server"),
    ({"host": "::"}, "listens on every interface"),
    ({"port": 70000}, "--port 70000 is not a port"),
    ({"allow_add": True}, "--allow-add and --uploads DIR go together"),
    ({"uploads": Path("added")}, "--allow-add and --uploads DIR go together"),
    ({"max_upload_bytes": 0}, "at least 1 byte"),
    ({"max_pixels": 500_000_000}, "--max-pixels is 500,000,000; Pillow opens images of 178,956,970 at most"),
    ({"threshold": float("nan")}, "--threshold is nan; it is a distance, so give a number above 0"),
    ({"threshold": 0}, "--threshold is 0; it is a distance, so give a number above 0"),
    ({"allowed_hosts": ("http://example.org",)}, "'http://example.org' is not the name of a host"),
    ({"allowed_hosts": ("*",)}, "is not the name of a host"),
])  # fmt: skip
def test_options_that_do_not_fit(options, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace("*", r"\*")):
        Settings(**options)
