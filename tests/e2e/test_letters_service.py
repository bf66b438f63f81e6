"""The same code serves a task other than digits, with its labels, image form, and wording."""

import shutil

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from pipeline.core.workspace import Workspace
from pipeline.inference import Classifier
from tests.checkout import Checkout
from tests.letters import TASK, drawing
from tests.services import client_of, images_input, listening, make_app, png

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
Q = TASK.labels.index("Q")


@pytest.fixture(scope="module")
def classifier(letters: Checkout) -> Classifier:
    return Classifier(Workspace(letters.path).released_model, threads=1)


def test_letters_are_read_by_http(classifier: Classifier) -> None:
    images, labels = drawing.draw(520, seed=3)
    with client_of(make_app(classifier=classifier)) as client:
        read = [client.post("/predict", png(image)).json() for image in images[labels == Q]]
        assert all("digit" not in answer for answer in read)
        assert np.mean([answer["label"] == "Q" for answer in read]) >= 0.7
        assert np.shape(read[0]["image"]) == (32, 32)
        described = client.get("/v2/models/letters-cnn").json()
        assert described["inputs"][0]["shape"] == [-1, 32, 32]
        assert described["outputs"][0]["shape"] == [-1, 26]
        request = {"inputs": [images_input(images[:100])]}
        answer = client.post("/v2/models/letters-cnn/infer", json=request)
        _, probabilities, _ = answer.json()["outputs"]
        found = np.reshape(probabilities["data"], (100, 26)).argmax(1)
        assert (found == labels[:100]).mean() > 0.9
        assert client.get("/v2/models/mnist-cnn").status_code == 404


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_the_page_shows_the_letters_task(letters: Checkout, classifier: Classifier) -> None:
    app = make_app(classifier=classifier, workspace=Workspace(letters.path))
    with listening(app) as port, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page).to_have_title("Letters")
        expect(page.locator("#verdict")).to_have_text("Draw a letter.")
        expect(page.locator("#bars li")).to_have_count(26)
        for key in ["ArrowDown"] * 12 + ["ArrowRight"] * 8:
            page.locator("#canvas").press(key)  # L
        expect(page.locator("#verdict strong")).to_have_text("L")
        assert page.locator("#bars .share").all_inner_texts()[TASK.labels.index("L")] != "0.0 %"
        page.get_by_role("tab", name="Model").click()
        expect(page.locator("#metrics")).to_contain_text("of 520")
        browser.close()
