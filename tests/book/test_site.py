"""What a built page says of the book itself: where it comes from, how to launch it, under which license."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
LOCAL = ("logo", "bibtex_bibfiles")  # of the book's own files, which this small book lacks


def built(folder: Path) -> str:
    """The page of a notebook in a book of two pages, built with the settings of the real one."""
    from build import configuration

    config = {key: value for key, value in configuration("off").items() if key not in LOCAL}
    del config["html"]["favicon"], config["sphinx"]["config"]["bibtex_reference_style"]
    config["sphinx"]["config"] |= {"html_static_path": [], "html_css_files": [], "html_js_files": []}
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    (folder / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: notebooks/chapter\n")
    (folder / "index.md").write_text("# A book\n")
    (folder / "notebooks").mkdir()
    cells = [nbformat.v4.new_markdown_cell("# A chapter"), nbformat.v4.new_code_cell("1 + 1")]
    metadata = {"language_info": {"name": "python"}, "kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), folder / "notebooks" / "chapter.ipynb")
    tool = Path(sys.executable).parent / "jupyter-book"
    command = [tool, "build", folder, "-q", "-W", "--keep-going"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "_build" / "html" / "notebooks" / "chapter.html").read_text()


def test_a_page_links_to_the_repository_that_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("BOOK_BRANCH", raising=False)
    monkeypatch.setenv("BOOK_REPOSITORY", "https://github.com/reader/copy")
    monkeypatch.setenv("BOOK_URL", "https://reader.github.io")
    page = built(tmp_path)
    assert set(re.findall(r'href="([^"]*)"', page)) >= {
        "https://mybinder.org/v2/gh/reader/copy/main?urlpath=lab/tree/notebooks/chapter.ipynb",
        "https://colab.research.google.com/github/reader/copy/blob/main/notebooks/chapter.ipynb",
        "https://github.com/reader/copy",
    }
    assert "https://github.com/reader/copy/issues/new" in page
    assert 'property="og:url" content="https://reader.github.io/notebooks/chapter.html"' in page
    assert 'property="og:site_name" content="padim-nb"' in page
    assert "Code: MIT. Text: CC BY 4.0." in re.search(r"<footer.*</footer>", page, flags=re.S)[0]
    assert "THEBE_JS_URL" not in page


def test_every_page_of_the_real_book_has_its_license_and_name():
    pages = [
        *(ROOT / "_build" / "html" / "book").glob("*.html"),
        *(ROOT / "_build" / "html" / "notebooks").glob("*.html"),
    ]
    if not pages:
        pytest.skip("the book is not built: `make book`")
    for path in pages:
        page = path.read_text()
        assert "Code: MIT. Text: CC BY 4.0." in page, path.name
        assert 'property="og:site_name" content="padim-nb"' in page, path.name
        assert "BOOK_REPOSITORY" in os.environ or "mybinder.org" not in page, path.name
