"""Sphinx configuration of the documentation site, which `make docs` builds."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # document the package of this checkout

from pipeline import __version__  # noqa: E402

project = "gated-mnist"
release = version = __version__
html_title = f"{project} {version}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
    "docs.extension",
]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!pipeline\.).*")]  # types of Python and of other packages

default_role = "literal"  # docstrings write `code` as Markdown does
autoclass_content = "both"  # with the docstring of `__init__`
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

copybutton_prompt_text = "$ "
