"""A Sphinx extension that removes Thebe, which the theme adds to every page twice although no page uses it."""

from __future__ import annotations

from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", remove_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def remove_thebe(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Remove Thebe's scripts and styles from a page: they would load code from a third party."""
    context["script_files"] = [
        file
        for file in context.get("script_files", [])
        if "THEBE_JS_URL" not in (getattr(file, "attributes", {}).get("body") or "") and "thebe" not in str(file)
    ]
    context["css_files"] = [file for file in context.get("css_files", []) if "thebe" not in str(file)]
