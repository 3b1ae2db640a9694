"""How the site is built: `make docs` writes it to docs/_build/html."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

import daskhpc  # noqa: E402

project = "daskhpc"
author = "the daskhpc developers"
version = release = daskhpc.__version__
html_title = "daskhpc"

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "myst_parser",
    "sphinx_click",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_reredirects",
]
exclude_patterns = ["_build", "generated/README.md"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

# Markdown
myst_enable_extensions = ["colon_fence", "deflist", "attrs_block"]
myst_heading_anchors = 3

# Docstrings are numpy style and carry the types, so signatures are shown without them.
autodoc_typehints = "none"
# A default is shown as it is written: that of discover() is os.environ, whose value is nobody's business.
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
default_role = "literal"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# Pages that had another name: old name to new one.
redirects: dict[str, str] = {}

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "use_edit_page_button": False,
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
copyright = "the daskhpc developers, BSD-3-Clause"
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True


# Names of other packages are not looked up: that would need their sites while this one is built.
nitpick_ignore_regex = [("py:.*", r"(sklearn|dask|distributed|numpy|pandas|xarray|torch|matplotlib|joblib)\b.*")]


def _links(app: Sphinx, docname: str, source: list[str]) -> None:
    """Let links to the programs' folders, which work in the repository, lead to their pages here."""
    source[0] = generate.site_links(source[0], docname)


def setup(app: Sphinx) -> None:
    """Write the generated pages before Sphinx looks for pages."""
    generate.write_pages(HERE / "generated")
    app.connect("source-read", _links)
    # sphinx-click does not tell Sphinx which files its page is made from.
    app.connect("env-get-outdated", lambda *_: ["reference/commands"])
