"""The report of monitoring in a real browser."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from pipeline.core.task import LabelledImages
from pipeline.inference.classifier import Classifier
from pipeline.monitoring.baseline import make_baseline
from pipeline.monitoring.reference import make_reference
from pipeline.monitoring.report import report
from pipeline.monitoring.thresholds import calibrate
from pipeline.monitoring.watch import look
from tests.checkout import MODEL
from tests.digits import Images
from tests.e2e.test_page import browser, pytestmark  # noqa: F401
from tests.journals import START, add_votes
from tests.monitored import add_answers

WINDOW = 50  # images


@pytest.fixture(scope="module")
def page_file(mnist: tuple[Images, Images], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on quiet windows, then other images and wrong answers."""
    folder = tmp_path_factory.mktemp("report")
    classifier = Classifier(MODEL, threads=1)
    images, labels = (part[:400] for part in mnist)
    reference = make_reference(classifier, LabelledImages(images[:200], labels[:200]))
    baseline = make_baseline(classifier.sha256, reference, calibrate(reference, WINDOW, 1000))
    shown = np.concatenate([images[200:350], 255 - images[350:]])
    known = add_answers(folder / "journal", classifier, shown, random=[True] * len(shown))
    wrong = [str((label + 1) % 10) for label in labels[200:]]
    voted = [(each, "reviewer:ann", label) for each, label in zip(known, wrong, strict=True)]
    add_votes(folder / "journal", voted)
    state, window = look(folder / "journal", baseline, None, now=START + timedelta(days=1))
    assert window is not None
    assert state.drift
    assert state.fell
    path = folder / "report.html"
    path.write_text(report(state, baseline, window), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1000, 375])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_is_accessible_and_fits(
    browser: Browser,  # noqa: F811
    page_file: Path,
    scheme: Literal["light", "dark"],
    width: int,
) -> None:
    viewport = {"width": width, "height": 800}
    page = browser.new_page(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(page_file.as_uri())
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for image in page.locator("img").all():
        assert image.evaluate("image => image.naturalWidth") > 0
    page.close()
