"""A Sphinx extension with what the theme lacks: without it, each page declares an unused script of Thebe's twice."""

from __future__ import annotations

from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", without_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def without_thebe(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Leave Thebe out of a page: it would ask a third party for code, and its constants are declared twice."""
    context["script_files"] = [
        file
        for file in context.get("script_files", [])
        if "THEBE_JS_URL" not in (getattr(file, "attributes", {}).get("body") or "") and "thebe" not in str(file)
    ]
    context["css_files"] = [file for file in context.get("css_files", []) if "thebe" not in str(file)]
