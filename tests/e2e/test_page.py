"""The page in a real browser, used by mouse, touch, keyboard, and dropped files."""

import io
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeline.core.reports import Metrics
from pipeline.core.workspace import Workspace
from pipeline.inference import Classifier
from pipeline.registry import acts
from pipeline.service.app import create_app
from pipeline.service.pool import ModelPool
from pipeline.service.sources import open_model
from tests.checkout import MODEL, PROJECT, needs_model
from tests.digits import Images
from tests.releases import make_release, make_workspace
from tests.reports import SUBJECT
from tests.services import listening, make_app, metric
from tests.templates import draw as render
from tests.templates import write_model

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    needs_model,
    pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed"),
]
QUIET = ["--no-sandbox", "--disable-quic", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip
REFUSED = re.compile(r"40[01] \(|413 \(|ERR_")  # logged by the browser itself
Stroke = list[tuple[float, float]]


def arc(x: float, y: float, wide: float, high: float, start: int, end: int) -> Stroke:
    """An arc of an ellipse around (x, y) between two angles, in degrees."""
    angles = np.radians(np.linspace(start, end, 13))
    return [(x + wide * math.cos(angle), y + high * math.sin(angle)) for angle in angles]


STROKES: dict[int, list[Stroke]] = {  # hand-drawn, in a square of side 1
    0: [arc(0.5, 0.5, 0.2, 0.32, -90, 270)],
    1: [[(0.52, 0.15), (0.48, 0.85)]],
    2: [[*arc(0.5, 0.33, 0.2, 0.18, -160, 40), (0.3, 0.82), (0.72, 0.82)]],
    3: [arc(0.47, 0.33, 0.2, 0.17, -150, 90) + arc(0.47, 0.67, 0.22, 0.18, -90, 150)],
    4: [[(0.35, 0.15), (0.28, 0.55), (0.72, 0.52)], [(0.66, 0.2), (0.62, 0.85)]],
    5: [[(0.68, 0.18), (0.38, 0.18), (0.35, 0.45), *arc(0.46, 0.62, 0.22, 0.2, -110, 140)]],
    6: [[(0.6, 0.14), (0.42, 0.35), (0.33, 0.65), *arc(0.5, 0.68, 0.17, 0.17, 180, 530)]],
    7: [[(0.28, 0.2), (0.72, 0.2), (0.45, 0.85)]],
    8: [arc(0.5, 0.33, 0.15, 0.17, 90, 450) + arc(0.5, 0.68, 0.18, 0.18, -90, 270)],
    9: [[*arc(0.5, 0.35, 0.17, 0.18, 0, 360), (0.66, 0.6), (0.6, 0.86)]],
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with reports about the served model."""
    workspace = Workspace(tmp_path_factory.mktemp("page"))
    figures = shutil.ignore_patterns("*.json", "*.csv")
    for name in ("evaluation", "backprop"):
        shutil.copytree(PROJECT / "reports" / name, workspace.root / "reports" / name,
                        ignore=figures)  # fmt: skip
    numbers = dict.fromkeys(Metrics.model_fields, 0.5)
    counts = {"accuracy": 0.9962, "images": 10_000, "misclassified": 38}
    Metrics.model_validate(numbers | counts).write(workspace.metrics)
    digest = Classifier(MODEL, threads=1).sha256
    SUBJECT.model_copy(update={"model_sha256": digest}).write(workspace.subject)
    return workspace


@pytest.fixture(scope="module")
def address(reports: Workspace) -> Iterator[str]:
    """The URL of the page."""
    with listening(make_app(workspace=reports)) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        expect.set_options(timeout=60_000)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page. It must contact no other host and log no errors."""
    context = browser.new_context(viewport={"width": 1000, "height": 800}, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    faults: list[str] = []
    ours = (address, "blob:", "data:")

    def note(fault: str, *, is_one: bool) -> None:
        if is_one:
            faults.append(fault)

    page.on("pageerror", lambda error: note(str(error), is_one=True))
    page.on(
        "console",
        lambda line: note(line.text, is_one=line.type == "error" and not REFUSED.search(line.text)),
    )
    page.on("request", lambda asked: note(asked.url, is_one=not asked.url.startswith(ours)))
    page.goto(address)
    yield page
    context.close()
    assert faults == []


def draw(page: Page, strokes: list[Stroke]) -> None:
    """Draw strokes with the mouse; wait for the prediction after the last one."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=2)
        page.mouse.up()
    expect(page.locator("#verdict")).to_have_attribute("aria-busy", "false")


def test_digits_drawn_by_mouse_are_read(page: Page) -> None:
    for digit, strokes in STROKES.items():
        draw(page, strokes)
        expect(page.locator("#verdict strong")).to_have_text(str(digit))
        shares = page.locator("#bars .share").all_inner_texts()
        assert len(shares) == 10
        assert max(range(10), key=lambda n: float(shares[n].strip("> %"))) == digit
        widths = page.locator("#bars .bar span").evaluate_all(
            "bars => bars.map(bar => bar.getBoundingClientRect().width)"
        )
        assert max(range(10), key=widths.__getitem__) == digit
        seen = page.locator("#seen").evaluate(
            "canvas => [...canvas.getContext('2d').getImageData(0, 0, 28, 28).data]"
        )
        pixels = np.reshape(seen, (28, 28, 4))
        assert pixels[..., 0].max() == 255
        assert not pixels[:3, :, :3].any()  # MNIST's margin
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#verdict")).to_have_text("Draw a digit.")


def test_a_finger_draws_and_does_not_scroll(page: Page) -> None:
    session = page.context.new_cdp_session(page)
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
              for x, y in STROKES[7][0]]  # fmt: skip
    kinds = ["touchStart", *["touchMove"] * (len(points) - 1)]
    for kind, point in zip(kinds, points, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator("#verdict strong")).to_have_text("7")
    assert page.evaluate("scrollY") == 0


def test_a_palm_next_to_the_finger_draws_nothing(page: Page) -> None:
    session = page.context.new_cdp_session(page)
    box = page.locator("#canvas").bounding_box()
    assert box is not None

    def touch(kind: str, *places: tuple[int, float, float]) -> None:
        points = [{"id": n, "x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
                  for n, x, y in places]  # fmt: skip
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    palm = (1, 0.9, 0.9)
    touch("touchStart", (0, 0.5, 0.15))
    touch("touchMove", (0, 0.5, 0.3))
    touch("touchStart", (0, 0.5, 0.3), palm)
    for y in (0.4, 0.5, 0.6):
        touch("touchMove", (0, 0.5, y), (1, 0.9, y + 0.3))
    touch("touchMove", (0, 0.5, 0.6))  # the palm is lifted, the finger continues
    touch("touchMove", (0, 0.5, 0.85))
    touch("touchEnd")
    expect(page.locator("#verdict strong")).to_have_text("1")
    expect(page.locator("#verdict")).to_have_attribute("aria-busy", "false")
    columns, rows = page.locator("#canvas").evaluate(
        """canvas => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, 560, 560);
          const inked = [...Array(560 * 560).keys()].filter((n) => data[4 * n + 3]);
          const span = (places) => places.reduce(
            ([low, high], place) => [Math.min(low, place), Math.max(high, place)], [560, 0]);
          return [span(inked.map((n) => n % 560)), span(inked.map((n) => Math.floor(n / 560)))];
        }"""
    )
    assert columns[1] - columns[0] < 60  # a vertical line
    assert rows[1] > 0.8 * 560


def test_a_busy_browser_loses_no_part_of_a_stroke(page: Page) -> None:
    """It then reports several moves in one event."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    corners = [[box["x"] + x * box["width"], box["y"] + y * box["height"]]
               for x, y in STROKES[7][0]]  # fmt: skip
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.locator("#canvas").evaluate(
        """(canvas, corners) => {
          const [middle, last] = corners.map(
            ([clientX, clientY]) => ({ clientX, clientY, pointerId: 1 }));
          const coalescedEvents = [middle, last].map((at) => new PointerEvent("pointermove", at));
          canvas.dispatchEvent(new PointerEvent("pointermove", { ...last, coalescedEvents }));
        }""",
        corners[1:],
    )
    page.mouse.up()
    expect(page.locator("#verdict strong")).to_have_text("7")


def test_undo_removes_one_stroke(page: Page) -> None:
    draw(page, [*STROKES[1], [(0.2, 0.5), (0.8, 0.5)]])
    page.keyboard.press("Control+z")
    expect(page.locator("#verdict strong")).to_have_text("1")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#verdict")).to_have_text("Draw a digit.")


@pytest.mark.parametrize("key", ["Escape", "Control+z"])
def test_a_stroke_cleared_while_it_is_drawn_is_gone(page: Page, key: str) -> None:
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 150, steps=2)
    page.keyboard.press(key)
    page.mouse.move(box["x"] + 100, box["y"] + 300, steps=2)
    page.mouse.up()
    expect(page.locator("#verdict")).to_have_text("Draw a digit.")
    draw(page, STROKES[7])
    expect(page.locator("#verdict strong")).to_have_text("7")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#verdict")).to_have_text("Draw a digit.")  # it was the only stroke


def test_clearing_while_a_key_is_down_leaves_nothing_to_read(page: Page) -> None:
    page.locator("#canvas").focus()
    page.keyboard.down("ArrowDown")
    expect(page.locator("#verdict")).to_contain_text("blot")
    page.keyboard.press("Escape")
    page.keyboard.up("ArrowDown")
    expect(page.locator("#verdict")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#verdict")).to_have_text("Draw a digit.")


UNREADABLE = {  # how browsers or extensions interfere with reading a canvas
    "never": "() => {}",
    "null": "(take) => take(null)",
    "an exception": "() => { throw new DOMException('no', 'SecurityError'); }",
    "white": """function (take) {
      const white = Object.assign(document.createElement("canvas"), { width: 560, height: 560 });
      white.getContext("2d").fillStyle = "#fff";
      white.getContext("2d").fillRect(0, 0, 560, 560);
      real.call(white, take);
    }""",
    "noise": """function (take) {
      const noise = Object.assign(document.createElement("canvas"), { width: 560, height: 560 });
      const pixels = new ImageData(560, 560);
      pixels.data.forEach((_, n) => { pixels.data[n] = n % 4 === 3 ? 255 : 256 * Math.random(); });
      noise.getContext("2d").putImageData(pixels, 0, 0);
      real.call(noise, take);
    }""",
}


@pytest.mark.parametrize("way", UNREADABLE)
def test_an_unreadable_canvas_is_an_error_and_files_still_work(
    page: Page, tmp_path: Path, ten: Images, way: str
) -> None:
    page.evaluate(
        "() => { const real = HTMLCanvasElement.prototype.toBlob;"
        f"HTMLCanvasElement.prototype.toBlob = {UNREADABLE[way]}; }}"
    )
    if way == "never":  # shortens the page's timeout
        page.evaluate(
            "() => { const wait = setTimeout;"
            "window.setTimeout = (call, _, value) => wait(call, 100, value); }"
        )
    draw(page, STROKES[1])
    expect(page.locator("#verdict")).to_contain_text("does not let the page read its canvas")
    Image.fromarray(ten[4]).save(tmp_path / "four.png")
    page.locator("#file").set_input_files(tmp_path / "four.png")
    expect(page.locator("#verdict strong")).to_have_text("4")  # files still work


def test_a_drawing_counts_once_and_only_when_it_is_complete(page: Page, address: str) -> None:
    def counted() -> float:
        return metric(httpx.get(f"{address}metrics").text, "verdicts_total")

    before, asked = counted(), []
    page.on("request", lambda request: asked.append("preview=false" in request.url))
    with page.expect_response(re.compile("preview=false")):
        draw(page, STROKES[4])
    expect(page.locator("#verdict strong")).to_have_text("4")
    assert counted() == before + 1
    assert asked == [False] * (len(asked) - 1) + [True]
    assert len(asked) > 1  # the answers while it is drawn
    page.locator("#canvas").click()
    page.evaluate("document.querySelector('#clear').click()")  # before the drawing is complete
    page.wait_for_timeout(2000)
    expect(page.locator("#verdict")).to_have_text("Draw a digit.")
    assert counted() == before + 1


def test_the_keyboard_can_draw_clear_and_switch_views(page: Page) -> None:
    page.locator("#canvas").focus()
    for _ in range(11):
        page.keyboard.press("ArrowDown")
    expect(page.locator("#verdict strong")).to_have_text("1")
    expect(page.locator("#spot")).to_be_visible()  # marks the pen
    page.keyboard.press("Escape")
    expect(page.locator("#verdict")).to_have_text("Draw a digit.")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#verdict")).to_contain_text("blot")
    page.get_by_role("button", name="Clear").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_have_text("Draw a digit.")
    page.get_by_role("tab", name="Draw").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tabpanel", name="Model")).to_be_visible()
    expect(page.get_by_role("tabpanel", name="Draw")).to_be_hidden()


@pytest.mark.parametrize(("way", "kind"), [("chosen", "tiff"), ("dropped", "png")])
def test_a_file_is_read(page: Page, tmp_path: Path, ten: Images, way: str, kind: str) -> None:
    path = tmp_path / f"four.{kind}"
    Image.fromarray(255 - np.pad(ten[4], ((5, 60), (40, 0)))).resize((340, 460)).save(path)
    if way == "chosen":
        page.locator("#file").set_input_files(path)
    else:
        transfer = page.evaluate_handle(
            "([bytes, name]) => { const transfer = new DataTransfer();"
            "transfer.items.add(new File([new Uint8Array(bytes)], name)); return transfer; }",
            [list(path.read_bytes()), path.name],
        )
        page.dispatch_event("#canvas", "drop", {"dataTransfer": transfer})
    expect(page.locator("#verdict strong")).to_have_text("4")


@pytest.mark.parametrize(("kind", "canvas"), [("png", None), ("jpeg", None), ("png", "white")])
def test_a_large_picture_is_shrunk_before_it_is_sent(
    page: Page, tmp_path: Path, ten: Images, kind: str, canvas: str | None
) -> None:
    """Except if the browser does not let the page read its canvas."""
    shape = (5000, 4000) if canvas is None else (3000, 2400)  # the service takes 16 megapixels
    if canvas:
        page.evaluate(
            "() => { const real = HTMLCanvasElement.prototype.toBlob;"
            f"HTMLCanvasElement.prototype.toBlob = {UNREADABLE[canvas]}; }}"
        )
    path = tmp_path / f"four.{kind}"
    Image.fromarray(255 - np.pad(ten[4], 20)).resize(shape).save(path)
    page.locator("#file").set_input_files(path)
    expect(page.locator("#verdict strong")).to_have_text("4")


def test_the_ink_that_an_answer_depends_on_is_coloured(page: Page) -> None:
    def coloured() -> int:
        pixels = page.locator("#seen").evaluate(
            "canvas => [...canvas.getContext('2d').getImageData(0, 0, 28, 28).data]"
        )
        red, _, blue, _ = np.reshape(pixels, (-1, 4)).T.astype(int)
        return int((np.abs(red - blue) > 30).sum())

    draw(page, STROKES[7])
    assert coloured() == 0
    button = page.get_by_role("button", name="Explain")
    button.click()
    expect(page.locator("#verdict")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#legend")).to_be_visible()
    assert 20 < coloured() < 28 * 28
    page.keyboard.press("Control+z")
    draw(page, STROKES[1])
    assert coloured() > 20  # until the button is pressed again
    button.click()
    expect(page.locator("#verdict")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#legend")).to_be_hidden()
    assert coloured() == 0


@pytest.mark.parametrize("shown", ["letter", "unsure", "disc", "two", "nothing"])
def test_the_page_says_in_words_what_a_picture_shows(
    browser: Browser, tmp_path: Path, shown: str
) -> None:
    far = np.hypot(*np.mgrid[-80:80, -80:80])
    pictures = {
        "letter": render("E"),
        "unsure": render("F"),
        "disc": np.where(far < 40, 20, 240).astype(np.uint8),
        "two": np.concatenate([render("E"), render("H")], 1),
        "nothing": np.full((160, 160), 255, np.uint8),
    }
    picture = tmp_path / "picture.png"
    Image.fromarray(pictures[shown]).save(picture)
    path = tmp_path / "model.onnx"
    plain = Classifier(write_model(path), threads=1)
    seen = [plain.from_image(pictures[name]) for name in ("letter", "disc", "unsure")]
    found = plain.predict(np.concatenate(seen))
    model = (
        write_model(path, least_probability=float(np.sort(found.probabilities[2])[-2]))
        if shown == "unsure"
        else write_model(path, novelty_threshold=float(found.novelty[:2].mean()))
    )
    app = make_app(classifier=Classifier(model, threads=1))
    said = {
        "letter": r"^E>?\d+\.\d %$",
        "unsure": r"^F or \w>?\d+\.\d % for F$",
        "disc": r"^This does not look like a letter\.$",
        "two": "^Several letters",
        "nothing": "^No ink",
    }
    with listening(app) as port:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#file").set_input_files(picture)
        expect(page.locator("#verdict")).to_have_text(re.compile(said[shown]))
        context.close()


def test_a_file_that_is_not_a_picture_shows_the_error(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    with page.expect_response("**/predict?*") as response:
        page.locator("#file").set_input_files(tmp_path / "notes.png")
    assert response.value.status == 400
    expect(page.locator("#verdict")).to_have_text(re.compile(r"^notes\.png: [A-Z].*\.$"))


def drop(page: Page, *paths: Path) -> None:
    """Drop files on the page, as a browser does."""
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        files = [str(path) for path in paths]
        data = {"items": [], "files": files, "dragOperationsMask": 1}
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})


def test_a_dropped_folder_is_not_blamed_on_the_service(page: Page, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    drop(page, tmp_path / "scans")
    expect(page.locator("#verdict")).to_contain_text("scans: ")


def test_dropping_several_files_asks_for_one(page: Page, tmp_path: Path, ten: Images) -> None:
    paths = [tmp_path / f"{digit}.png" for digit in (3, 4)]
    for path in paths:
        Image.fromarray(ten[int(path.stem)]).save(path)
    page.get_by_role("tab", name="Model").click()
    drop(page, *paths)
    expect(page.locator("#verdict")).to_have_text(re.compile("one picture.* 2", re.IGNORECASE))
    page.get_by_role("tab", name="Model").click()
    drop(page, paths[0])
    expect(page.locator("#verdict strong")).to_contain_text("3")
    expect(page.locator("#verdict")).to_be_visible()  # switches views


@pytest.mark.parametrize(
    ("status", "said"),
    [(413, re.compile("service .*413")), (None, re.compile("service"))],
)
def test_an_error_from_a_proxy_is_shown(
    page: Page, status: int | None, said: re.Pattern[str]
) -> None:
    answer = "<html>Request Entity Too Large</html>"
    page.route(
        "**/predict*",
        lambda route: route.fulfill(status=status, body=answer) if status else route.abort(),
    )
    draw(page, STROKES[1])
    expect(page.locator("#verdict")).to_have_text(said)
    page.unroute("**/predict*")
    draw(page, STROKES[1])  # adds to the first drawing
    expect(page.locator("#verdict strong")).to_have_text("1")


def test_an_empty_file_shows_an_error(page: Page, tmp_path: Path) -> None:
    (tmp_path / "four.png").touch()
    page.locator("#file").set_input_files(tmp_path / "four.png")
    expect(page.locator("#verdict")).to_have_text(re.compile(r"^four\.png: .*empty\.$"))


def test_a_picture_without_ink_has_no_digit(page: Page, tmp_path: Path) -> None:
    Image.new("L", (280, 280), 255).save(tmp_path / "blank.png")
    page.locator("#file").set_input_files(tmp_path / "blank.png")
    expect(page.locator("#verdict")).to_have_text(re.compile("^No ink"))


def test_a_picture_can_be_pasted(page: Page, ten: Images) -> None:
    picture = io.BytesIO()
    Image.fromarray(ten[6]).save(picture, "PNG")
    page.evaluate(
        "(bytes) => { const data = new DataTransfer();"
        "data.items.add(new File([new Uint8Array(bytes)], 'image.png'));"
        "document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data })); }",
        list(picture.getvalue()),
    )
    expect(page.locator("#verdict strong")).to_have_text("6")


def test_the_second_view_shows_the_reports_of_the_model(page: Page) -> None:
    page.get_by_role("tab", name="Model").click()
    page.reload()  # the view has its own URL
    expect(page.get_by_role("tabpanel", name="Model")).to_be_visible()
    expect(page.locator("#metrics")).to_contain_text("99.62 %")
    expect(page.locator("#metrics")).to_contain_text("38 of 10,000")
    for image in page.locator("#model img").all():
        image.scroll_into_view_if_needed()
        expect(image).to_be_visible()
        page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())
    misclassified = page.get_by_role("link", name="Every misclassified test image")
    address = misclassified.get_attribute("href")  # opens full size
    assert address
    assert address.startswith("figures/misclassified.png?version=")


def test_the_page_shows_the_release_that_answers(browser: Browser, tmp_path: Path) -> None:
    """A page that was opened before a swap shows the figures of the model that answers after it."""
    workspace = make_workspace(tmp_path)
    first, second = (make_release(workspace, variation) for variation in range(2))
    model, source = open_model(None, workspace, seconds=0)
    app = create_app(ModelPool(model), None, None, workspace, None, source)
    with listening(app) as port:
        page = browser.new_page()
        curves = page.locator("img[data-of-the-model='curves.png']")
        page.goto(f"http://127.0.0.1:{port}/#model")
        expect(page.locator("#version")).to_have_text(f"{second.version} (release 2)")
        expect(curves).to_have_attribute("src", f"figures/curves.png?version={second.version}")
        expect(curves).to_be_visible()
        acts.rollback(workspace)
        app.state.service.follower.check()
        page.locator("#draw-tab").click()
        page.locator("#canvas").press("ArrowRight")
        page.locator("#canvas").press("ArrowRight")
        expect(page.locator("#version")).to_have_text(first.version)
        page.locator("#model-tab").click()
        expect(curves).to_have_attribute("src", f"figures/curves.png?version={first.version}")
        expect(curves).to_be_visible()
        expect(page.locator("#no-figures")).to_be_hidden()
        page.close()


def test_figures_of_another_model_are_not_shown(
    browser: Browser, reports: Workspace, tmp_path: Path
) -> None:
    """After a refusal, the reports next to the released model are about the refused one."""
    others = Workspace(shutil.copytree(reports.root, tmp_path / "others"))
    SUBJECT.model_copy(update={"model_sha256": "0" * 64}).write(others.subject)
    with listening(make_app(workspace=others)) as port:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/#model")
        expect(page.locator("#no-figures")).to_be_visible()
        expect(page.locator("#measured")).to_be_hidden()
        for name in ("curves", "confusion", "misclassified"):
            expect(page.locator(f"img[data-of-the-model='{name}.png']")).to_be_hidden()
        context.close()


def test_on_a_phone_the_prediction_is_visible_without_scrolling(
    browser: Browser, address: str
) -> None:
    context = browser.new_context(viewport={"width": 375, "height": 553})
    page = context.new_page()
    page.goto(address)
    draw(page, STROKES[3])
    expect(page.locator("#verdict strong")).to_have_text("3")
    for part in ("#verdict", "#canvas", "#clear"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 553
    context.close()


@pytest.mark.parametrize("width", [1000, 375])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(
    browser: Browser, address: str, tmp_path: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    """axe-core finds nothing serious and nothing overflows. Takes screenshots for manual review."""
    context = browser.new_context(viewport={"width": width, "height": 812}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    draw(page, STROKES[3])
    expect(page.locator("#verdict strong")).to_have_text("3")
    shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
    for view in ("draw", "model"):
        page.locator(f"#{view}-tab").click()
        found = Axe().run(page).response["violations"]
        assert [rule for rule in found if rule["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=shots / f"{view}-{scheme}-{width}.png", full_page=True)
    context.close()


@pytest.mark.parametrize("storage", ["allowed", "blocked with all cookies"])
def test_the_page_asks_for_a_token(browser: Browser, storage: str) -> None:
    with listening(make_app(token="open sesame")) as port:
        context = browser.new_context()
        if storage != "allowed":
            context.add_init_script(
                "Object.defineProperty(window, 'sessionStorage', "
                "{ get() { throw new DOMException('', 'SecurityError'); } })"
            )
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        draw(page, STROKES[1])
        field = page.get_by_label("This service requires a token")
        for wrong in (
            "close sesame",
            "Sésame, ouvre-toi \u20ac",
        ):  # the second cannot be sent in a header
            field.fill(wrong)
            page.get_by_role("button", name="Use token").click()
            expect(page.locator("#verdict")).to_have_text("The token is missing or wrong.")
        assert not field.evaluate("field => field.checkValidity()")
        field.fill("open sesame")
        page.get_by_role("button", name="Use token").click()
        expect(page.locator("#verdict strong")).to_have_text("1")
        context.close()


def test_the_documentation_works_behind_a_proxy_that_adds_a_prefix(browser: Browser) -> None:
    app = make_app()

    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/digits/"):
            await Response(status_code=404)(scope, receive, send)
        elif scope["type"] == "http":
            await app({**scope, "path": scope["path"].removeprefix("/digits")}, receive, send)
        else:
            await app(scope, receive, send)

    with listening(below) as port:
        context = browser.new_context()
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{port}/digits/docs/")
        page.locator("#operations-Open_Inference_Protocol-infer"
                     " .opblock-summary").click()  # fmt: skip
        with page.expect_response("**/infer") as answer:
            page.get_by_role("button", name="Execute").click()
        assert answer.value.status == 200  # the response to the example request
        ours = f"http://127.0.0.1:{port}/digits/"
        assert [url for url in asked if not url.startswith((ours, "data:", "blob:"))] == []
        context.close()
