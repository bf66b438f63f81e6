"""The site's Sphinx extension: generated pages, links to files, formulas without a script."""

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from numpy.typing import ArrayLike
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.typing import stringify_annotation

logger = logging.getLogger(__name__)


def repository_url() -> str | None:
    """The URL of this commit's files on GitHub; None outside a GitHub workflow."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_SHA")
    if not all(name in os.environ for name in names):
        return None
    server, repository, commit = (os.environ[name] for name in names)
    return f"{server}/{repository}/blob/{commit}"


class RepositoryLinks(SphinxTransform):
    """Points links to repository files that are not pages to GitHub, or into the checkout."""

    default_priority = 1  # before Sphinx would copy the files

    def apply(self, **_: Any) -> None:
        """Replace each such link in the page."""
        for link in list(self.document.findall(_is_link)):
            target, _, anchor = link["reftarget"].partition("#")
            path = Path(os.path.normpath(self._folder / target))
            if link.get("refdomain") == "doc":  # MyST treats every Markdown file as a page
                path = Path(f"{self._folder / target}.md")
                anchor = link.get("reftargetid") or ""
            if path.is_relative_to(self.env.srcdir) or not target:
                continue
            if not path.exists():
                logger.warning("broken link: %s does not exist", path, location=link)
            uri = self._address(path) + (f"#{anchor}" if anchor else "")
            link.replace_self(nodes.reference("", "", *link.children, refuri=uri))

    @property
    def _folder(self) -> Path:
        return Path(self.env.doc2path(self.env.docname)).parent

    def _address(self, path: Path) -> str:
        if (url := repository_url()) is not None:
            return f"{url}/{path.relative_to(Path(self.env.srcdir).parent).as_posix()}"
        page = Path(self.app.outdir, self.env.docname)
        return Path(os.path.relpath(path, page.parent)).as_posix()


def _is_link(node: nodes.Node) -> bool:
    link = isinstance(node, addnodes.pending_xref | addnodes.download_reference)
    return link and node["reftype"] == "myst"


def _mathml(self: Any, node: nodes.Element) -> None:
    """Write a formula as MathML, which browsers render without a script."""
    block = isinstance(node, nodes.math_block)
    try:
        formula = tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        logger.warning("formula: %s", error, location=node)
        formula = self.encode(node.astext())
    name = "div" if block else "span"
    self.body.append(self.starttag(node, name, "", CLASS="math-block" if block else "math"))
    self.body.append(f"{formula}</{name}>")
    raise nodes.SkipNode


def insert_generated(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace `<!-- generated: NAME -->` with the Markdown of `docs.generated.NAME`."""

    def generate(match: re.Match[str]) -> str:
        made: str = import_module(f"docs.generated.{match[1]}").page()
        return made

    source[0] = re.sub(r"<!-- generated: (\w+) -->", generate, source[0])


def shorten_types(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, arguments: str | None, returns: str
) -> tuple[str | None, str]:
    """Write ArrayLike and NDArray by their names, not as the types that they stand for."""
    union = stringify_annotation(ArrayLike, "smart")
    arguments = arguments and _name_arrays(arguments.replace(union, "ArrayLike"))
    return arguments, returns and _name_arrays(returns)


def drop_boilerplate(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Leave out what Python writes about a named tuple."""
    boilerplate = re.compile(r"Alias for field number \d+|Create new instance of .*")
    lines[:] = [line for line in lines if not boilerplate.fullmatch(line)]


def shorten_attributes(app: Sphinx, doctree: nodes.document) -> None:
    """The same for the types of attributes."""
    for annotation in doctree.findall(addnodes.desc_annotation):
        shown = annotation.astext()
        if (short := _name_arrays(shown)) != shown:
            annotation.children = [nodes.Text(short)]


def _name_arrays(types: str) -> str:
    shape, dtype = (
        r"tuple\[~?(?:typing\.)?Any, \.\.\.\]",
        r"~?(?:numpy\.)?dtype\[~?(?:\w+\.)?(\w+)\]",
    )
    return re.sub(rf"~?(?:numpy\.)?ndarray\[{shape}, {dtype}\]", r"NDArray[\1]", types)


def make_focusable(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Make scrollable elements (tables, code, formulas) reachable by keyboard."""
    if "body" in context:
        scrolling = r'<(?=pre>|div class="table-wrapper|div class="math-block)(\w+)'
        context["body"] = re.sub(scrolling, r'<\1 tabindex="0"', context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("source-read", insert_generated)
    app.connect("autodoc-process-signature", shorten_types)
    app.connect("autodoc-process-docstring", drop_boilerplate)
    app.connect("doctree-read", shorten_attributes)
    app.connect("html-page-context", make_focusable)
    app.add_transform(RepositoryLinks)
    app.add_html_math_renderer("mathml", (_mathml, None), (_mathml, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
