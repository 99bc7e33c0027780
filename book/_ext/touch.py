"""A Sphinx extension that loads the interactive figures on the pages that have one, and on no others.

    :::{figure} ../book/images/touch/mahalanobis.png
    :figclass: touch touch-mahalanobis
    :alt: What the still image shows

    The caption.
    :::

`figures.js` puts the figure into the place of the still image, which stays where scripts are off, and in JupyterLab.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

FIGURES = {"touch-mahalanobis", "touch-threshold", "touch-dimensions", "touch-training"}
SCRIPTS = ("figures-data.js", "figures.js")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_scripts(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    """Load the scripts on a page with an interactive figure."""
    figures = [] if doctree is None else [f for f in doctree.findall(nodes.figure) if "touch" in f["classes"]]
    for figure in figures:
        if not FIGURES & set(figure["classes"]):
            raise ExtensionError(f"{pagename}: no interactive figure {figure['classes']}: there are {sorted(FIGURES)}")
    if figures:
        for script in SCRIPTS:
            app.add_js_file(script, loading_method="defer")
