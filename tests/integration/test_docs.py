"""The documentation site: an error in a page fails the build, and the pages require no network."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a4944415478da63680000008200817b3d1c4f0000000049454e44ae426082"
)
OF_A_WORKFLOW = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_SHA")
ELSEWHERE = re.compile(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?:https?:)?//')
PAGE = """# Page

[next](other.md#part) [file](../reports/one.txt) [folder](../reports/) $a^2$

![figure](../reports/figure.png)
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A three-page site with the project's settings."""
    docs, reports = tmp_path / "docs", tmp_path / "reports"
    shutil.copytree(PROJECT / "docs/_static", docs / "_static")
    shutil.copy(PROJECT / "docs/conf.py", docs)
    reports.mkdir()
    (reports / "figure.png").write_bytes(PIXEL)
    (reports / "one.txt").write_text("1")
    (docs / "index.md").write_text("# Site\n\n```{toctree}\npage\nother\n```\n")
    (docs / "page.md").write_text(PAGE)
    (docs / "other.md").write_text("# Other\n\n## Part\n\nText.\n")
    return docs


def build(docs: Path) -> subprocess.CompletedProcess[str]:
    """Build a site with the options of `make docs`."""
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"\tsphinx-build (.*?)docs docs/_build/html", makefile, re.DOTALL)
    assert recipe is not None
    options = recipe[1].replace("\\\n", " ").split()
    command = [sys.executable, "-m", "sphinx", *options, str(docs), str(docs / "_build/html")]
    variables = {**os.environ, "PYTHONPATH": str(PROJECT)}
    for name in OF_A_WORKFLOW:
        variables.pop(name, None)
    return subprocess.run(command, check=False, capture_output=True, text=True, env=variables)


def test_built_pages_require_no_network_and_link_into_the_checkout(site: Path) -> None:
    result = build(site)
    assert result.returncode == 0, result.stderr
    html = (site / "_build/html/page.html").read_text(encoding="utf-8")
    assert 'href="../../../reports/one.txt"' in html
    assert "<math" in html
    assert (site / "_build/html/_images/figure.png").exists()
    for page in (site / "_build/html").rglob("*.html"):
        assert not ELSEWHERE.search(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("page", "old", "new"),
    [
        ("page.md", "other.md#part", "missing.md"),
        ("page.md", "other.md#part", "other.md#missing"),
        ("page.md", "../reports/one.txt", "../reports/missing.txt"),
        ("page.md", "reports/figure.png", "reports/missing.png"),
        ("page.md", "a^2", r"\missing{a}"),
        ("index.md", "\nother\n", "\n"),
        ("index.md", "\nother\n", "\nother\nmissing\n"),
    ],
    ids=["link", "anchor", "file", "figure", "formula", "orphan", "page"],
)
def test_an_error_in_a_page_fails_the_build(site: Path, page: str, old: str, new: str) -> None:
    text = (site / page).read_text()
    assert old in text
    (site / page).write_text(text.replace(old, new))
    result = build(site)
    assert result.returncode == 1
    assert "WARNING" in result.stderr
