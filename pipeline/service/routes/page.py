"""The page and its figures."""

import json
from html import escape
from pathlib import Path
from string import Template

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response

from pipeline.service import figures
from pipeline.service.pool import ServedModel
from pipeline.service.routes.static_files import NamedFiles
from pipeline.service.state import ServiceState, require_journal

FOLDER = Path(__file__).parents[1] / "page"
PAGE, REVIEW_PAGE = (
    Template((FOLDER / name).read_text(encoding="utf-8")) for name in ("index.html", "review.html")
)
FILES = ("app.js", "feedback.js", "labels.js", "paper.js", "review.js", "token.js",
         "style.css", "icon.svg")  # fmt: skip
router = APIRouter(include_in_schema=False)


@router.get("/")
async def page(service: ServiceState) -> Response:
    """The page for the champion."""
    kept = service.journal.notice if service.journal else ""
    return HTMLResponse(_fill(PAGE, service.pool.champion, kept=kept))


@router.get("/review")
async def review_page(service: ServiceState) -> Response:
    """The page on which reviewers label images of the journal."""
    require_journal(service)
    return HTMLResponse(_fill(REVIEW_PAGE, service.pool.champion))


@router.get("/figures/{name}")
async def figure(name: str, service: ServiceState, version: str | None = None) -> Response:
    """A figure or report of a model, by default of the champion."""
    champion = service.pool.champion
    model = service.pool.get(champion.name, version)
    path = figures.find_figure(service.workspace, name, model)
    if path is None:
        raise HTTPException(404, f"no figure {name!r} of this model")
    return FileResponse(path)


router.mount("/page", NamedFiles(FOLDER, *FILES))


def _fill(template: Template, model: ServedModel, **others: str) -> str:
    signature = model.signature
    values = {
        "version": model.version,
        "model": model.label,
        "title": signature.subject,
        "data_set": signature.data_set,
        "noun": signature.noun,
        "a_noun": signature.a_noun,
        "labels": json.dumps(signature.labels),
        "height": signature.height,
        "width": signature.width,
        "ink": signature.ink,
        "foreign": signature.foreign,
        **others,
    }
    return template.substitute({key: escape(str(value)) for key, value in values.items()})
