import pytest

from dcal_reid.evaluation import FaissGallery
from dcal_reid.serve import Settings

uvicorn = pytest.importorskip("uvicorn", reason='needs pip install "dcal_reid[serve]"')
testclient = pytest.importorskip("fastapi.testclient", reason='needs pip install "dcal_reid[serve]"')


@pytest.fixture
def run(predictor, gallery_folder, monkeypatch):
    """A function (options) that returns what uvicorn would have run, and with which options."""
    from dcal_reid.serve.run import run_server

    calls = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: calls.append((app, options)))

    def run(**options):
        run_server(gallery_folder, predictor, Settings(threshold=0.1, **options))
        return calls.pop()

    return run


@pytest.mark.parametrize(("host", "warned"), [
    ("127.0.0.1", False), ("localhost", False), ("::1", False), ("192.168.1.5", True), ("fe80::1", True),
])  # fmt: skip
def test_who_can_be_reached_from_outside_is_warned(run, caplog, host, warned):
    _, options = run(host=host, port=0)
    assert (options["host"], options["port"]) == (host, 0)
    assert ("There is no password" in caplog.text) == warned
    # Otherwise the address that a proxy names would be trusted, and every response would say what runs here.
    assert options["proxy_headers"] is options["server_header"] is False


def test_changes_are_written_to_the_gallery_that_is_served(run, gallery_folder, uploads):
    app, _ = run(allow_add=True, uploads=uploads)
    with testclient.TestClient(app, base_url="http://localhost") as client:
        assert client.delete("/gallery/3").status_code == 204
    assert len(FaissGallery.open(gallery_folder)) == 39
