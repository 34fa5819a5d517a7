"""The page in a real browser: what a visitor does, and that the page contacts no other host."""

import shutil
import socket
import threading
import time

import pytest

uvicorn = pytest.importorskip("uvicorn", reason='needs pip install "dcal_reid[serve]"')
playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def serve():
    """Start a server for an application, and give its address."""
    servers = []

    def start(app):
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        servers.append((server, thread))
        while not server.started:
            time.sleep(0.02)
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def page(browser):
    """A page that fails the test if it logs an error or contacts another host."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page, problems, hosts = context.new_page(), [], set()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: hosts.add(request.url.split("/")[2] if "://" in request.url else "data"))
    yield page
    context.close()
    # Chromium itself logs every error response.
    assert [text for text in problems if not text.startswith("Failed to load resource: the server responded")] == []
    assert all(host == "data" or host.startswith("127.0.0.1:") for host in hosts), hosts


def shown(page, count):
    page.wait_for_function(
        f"() => document.querySelectorAll('.card').length === {count} && "
        "document.querySelector('#grid').getAttribute('aria-busy') === 'false'"
    )
    return page.locator("#grid")


def images_loaded(page, part):
    page.wait_for_function(
        "part => [...document.querySelectorAll('.card img')].slice(0, 4)"
        ".every(image => image.complete && image.naturalWidth && image.src.includes(part))", arg=part,
    )  # fmt: skip


def test_a_visit(make_app, serve, page, paths):
    page.goto(serve(make_app(threshold=0.05)))
    page.wait_for_function("() => document.querySelector('#facts').textContent.includes('40 images')")
    assert "40 images · 2 cameras · cosine distance" in page.text_content("#facts")
    assert page.is_visible("text=Search with a picture")
    page.set_input_files("#file", str(paths[5]))
    grid = shown(page, 20)
    images_loaded(page, "/images/")
    first = grid.locator(".card").first
    assert "id1" in first.text_content() and "cam0" in first.text_content() and "0.000" in first.text_content()
    page.fill("#k", "7")
    shown(page, 7)
    page.fill("#k", "0")
    page.wait_for_selector("text=must be from 1 to 100")
    page.fill("#k", "100")
    shown(page, 40)
    page.locator("#cameras label", has_text="cam0").click()
    grid = shown(page, 19)
    assert all("cam1" in text for text in grid.locator(".where").all_text_contents())


def test_the_threshold_divides_the_results(make_app, serve, page, paths):
    page.goto(serve(make_app(threshold=0.05)))
    page.set_input_files("#file", str(paths[5]))
    grid = shown(page, 20)
    distances = [float(text) for text in grid.locator(".where b").all_text_contents()]
    middle = (distances[9] + distances[10]) / 2
    page.evaluate(
        "value => { const slider = document.querySelector('#threshold'); slider.value = value;"
        "slider.dispatchEvent(new Event('input')); }", middle,
    )  # fmt: skip
    badges = grid.locator(".badge").all_text_contents()
    assert badges == ["Match"] * 10 + ["No match"] * 10
    assert page.text_content("#summary").startswith("10 matches among 20 results")
    assert grid.locator("li").nth(10).get_attribute("class") == "divider"
    page.click("#reset")
    assert page.text_content("#threshold-value") == "0.050"
    marks = page.evaluate("[...document.querySelectorAll('#ticks i')].map(mark => parseFloat(mark.style.left))")
    assert len(marks) == 20 and max(marks) < 100  # all on the scale


def test_attention_and_one_result(make_app, serve, page, paths):
    page.goto(serve(make_app()))
    page.set_input_files("#file", str(paths[5]))
    shown(page, 20)
    assert page.get_attribute("#preview", "src").startswith("blob:")
    page.locator("#attention label", has_text="GLCA").click()
    images_loaded(page, "/attention?branch=glca")
    assert page.get_attribute("#preview", "src").startswith("data:image/jpeg")
    # With the keyboard alone: open the first result, go to the next and back to the list.
    page.locator(".card").first.focus()
    page.keyboard.press("Enter")
    assert page.is_visible("#viewer") and page.text_content("#viewer-caption") == "Result 1 of 20"
    page.keyboard.press("ArrowRight")
    assert page.text_content("#viewer-caption") == "Result 2 of 20"
    page.keyboard.press("Escape")
    assert page.is_hidden("#viewer")
    page.locator("#attention label", has_text="Off").click()
    page.wait_for_function("() => document.querySelector('#preview').src.startsWith('blob:')")


def test_what_goes_wrong_is_said(make_app, serve, page, paths):
    page.goto(serve(make_app(max_upload_bytes=20_000)))
    page.set_input_files("#file", {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff nothing"})
    page.wait_for_selector(".state.error")
    assert page.get_attribute("#state", "role") == "alert"
    assert "not an image in a known format" in page.text_content("#state-text")
    page.set_input_files("#file", {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": b"0" * 30_000})
    page.wait_for_selector("text=This image is too large")
    page.route("**/search", lambda route: route.fulfill(status=503, json={"detail": "too many requests"}))
    page.set_input_files("#file", str(paths[5]))
    page.wait_for_selector("text=Too many requests.")
    page.unroute("**/search")
    page.click("text=Try again")
    shown(page, 20)


def test_a_picture_that_has_gone(make_app, serve, page, paths):
    url = serve(make_app())
    paths[5].rename(paths[5].with_name("moved"))
    page.goto(url)
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png",
                                   "buffer": paths[5].with_name("moved").read_bytes()})  # fmt: skip
    shown(page, 20)
    page.wait_for_selector(".card .gone")
    assert page.locator(".card .gone").count() == 1


def test_add_and_remove(make_app, serve, page, paths, tmp_path):
    page.goto(serve(make_app(allow_add=True, uploads=tmp_path / "uploads")))
    page.set_input_files("#file", str(paths[5]))
    shown(page, 20)
    page.click("text=Add to gallery")
    page.fill("#identity", "<b>new</b>")
    page.fill("#camera", "cam0")
    page.click("text=Add the query image")
    page.wait_for_selector("text=Added as item 40.")
    page.wait_for_function("() => document.querySelector('#facts').textContent.startsWith('41 images')")
    card = page.locator(".card", has_text="<b>new</b>")
    card.wait_for()
    card.click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#remove")
    page.wait_for_function("() => document.querySelector('#facts').textContent.startsWith('40 images')")
    assert not list((tmp_path / "uploads").iterdir())


def test_a_file_chosen_before_the_gallery_is_known_is_searched_for(make_app, serve, page, paths):
    page.add_init_script("const ask = fetch; fetch = (...a) => new Promise(go => setTimeout(() => go(ask(...a)), 500))")
    page.goto(serve(make_app()))
    page.set_input_files("#file", str(paths[5]))
    shown(page, 20)


@pytest.mark.parametrize("width", [320, 390, 760, 1024])
def test_nothing_is_wider_than_the_screen(make_app, serve, page, paths, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(serve(make_app()))
    page.set_input_files("#file", str(paths[5]))
    shown(page, 20)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
