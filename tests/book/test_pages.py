"""Every page of the built book in a real browser: nothing broken, nothing from elsewhere, readable anywhere."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from built import HTML, NEEDED, ROOT, elsewhere, watched

from padim_nb.util.files import whole_file

sys.path.insert(0, str(ROOT / "book"))

pytestmark = NEEDED
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


# WCAG's contrast of every piece of text with the ground it stands on; pictures and formulas are left out.
CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(node).backgroundColor);
      if (a > 0.5) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = [];
  const walk = document.createTreeWalker(document.querySelector("article.bd-article"), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    const box = node.getBoundingClientRect();
    if (!walk.currentNode.textContent.trim() || !box.width) continue;
    if (node.closest("mjx-container, script, style, noscript, .headerlink")) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 3) found.push([walk.currentNode.textContent.trim().slice(0, 40), Math.round(ratio * 100) / 100]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def shown(browser):
    """One page that all pages of the book are opened in, one after the other."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield watched(context)
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_wide_and_light_and_on_a_phone_in_the_dark(shown, address, name):
    shown.wrong.clear()
    shown.asked.clear()
    shown.set_viewport_size({"width": 1280, "height": 900})
    shown.emulate_media(color_scheme="light")
    shown.goto(f"{address}/{name}.html", wait_until="load")
    shown.evaluate("document.querySelectorAll('img').forEach((each) => { each.loading = 'eager'; })")
    shown.wait_for_function("[...document.images].every((each) => each.complete)")
    broken = "[...document.images].filter((each) => !each.naturalWidth).map((each) => each.src)"
    assert shown.evaluate(broken) == []
    assert shown.evaluate("[...document.querySelectorAll('article img')].filter((each) => !each.alt).length") == 0
    lost = """[...document.querySelectorAll('article a[href^="#"]')].map((each) => each.getAttribute("href").slice(1))
      .filter((id) => id && !document.getElementById(decodeURIComponent(id)))"""
    assert shown.evaluate(lost) == []
    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for theme, width in (("light", 1280), ("dark", 390)):
        shown.set_viewport_size({"width": width, "height": 900})
        shown.emulate_media(color_scheme=theme)
        shown.wait_for_function("theme => document.documentElement.dataset.theme == theme", arg=theme)
        assert shown.evaluate(over) <= 0, "the page scrolls sideways"
        assert shown.evaluate(CONTRAST) == []
    assert shown.wrong == []
    assert elsewhere(shown, address) == []


AXE = "axe-core@4.10.3"
AXE_INTEGRITY = "Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg=="  # sha512
SERIOUS = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .filter(({ impact }) => impact === "critical" || impact === "serious")
  .flatMap(({ id, nodes }) => nodes.map(({ target }) => [id, target.join(" ")]))"""
THEMES = {("aria-required-children", ".citation-list")}  # Sphinx's markup of references


@pytest.fixture(scope="module")
def axe():
    """The script of axe-core, from its npm package, fetched once and checked by its hash."""
    script = ROOT / "_build" / AXE / "axe.min.js"
    if not script.is_file():
        if (npm := shutil.which("npm")) is None:
            pytest.skip("no npm here: axe-core is not to be had")
        with tempfile.TemporaryDirectory() as folder:
            command = [npm, "pack", "--silent", AXE]
            if subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=300).returncode:
                pytest.skip(f"npm did not give {AXE}")
            packed = next(Path(folder).glob("*.tgz"))
            assert base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode() == AXE_INTEGRITY
            with tarfile.open(packed) as archive:
                content = archive.extractfile("package/axe.min.js").read()
        with whole_file(script) as scratch:
            scratch.write_bytes(content)
    return script.read_text(encoding="utf-8")


def serious(page, axe):
    """What axe finds critical or serious on a page, as (rule, place), without what Sphinx and the theme leave."""
    page.evaluate(axe)
    return [finding for finding in map(tuple, page.evaluate(SERIOUS)) if finding not in THEMES]


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_critical_or_serious_of_ours(shown, address, axe, name):
    shown.set_viewport_size({"width": 390, "height": 900})
    shown.emulate_media(color_scheme="light")
    shown.goto(f"{address}/{name}.html", wait_until="load")
    assert serious(shown, axe) == []


def test_no_sentence_of_the_api_was_taken_for_a_type(page, address):
    page.goto(f"{address}/book/api.html", wait_until="load")
    types = """[...document.querySelectorAll('article dl.field-list > dt')]
        .filter((name) => name.textContent.startsWith('Type'))
        .map((name) => name.nextElementSibling.textContent.trim())"""
    shown = page.evaluate(types)
    assert shown, "the page shows the types of attributes"
    assert [text for text in shown if " " in text.replace(" | ", "").replace(", ", "")] == []


def test_links_between_pages_lead_somewhere(page, address):
    from html.parser import HTMLParser
    from urllib.parse import unquote, urldefrag

    class Links(HTMLParser):
        def __init__(self):
            super().__init__()
            self.ids, self.hrefs = set(), []

        def handle_starttag(self, tag, attributes):
            values = dict(attributes)
            self.ids.add(values.get("id"))
            if tag == "a" and values.get("href"):
                self.hrefs.append(values["href"])

    read = {}
    for path in HTML.rglob("*.html"):
        read[path.resolve()] = Links()
        read[path.resolve()].feed(path.read_text(encoding="utf-8"))
    lost = []
    for name in PAGES:
        path = (HTML / f"{name}.html").resolve()
        for href in read[path].hrefs:
            file, anchor = urldefrag(href)
            if ":" in file:
                continue
            target = (path.parent / unquote(file)).resolve() if file else path
            if not target.exists() or (anchor and target in read and unquote(anchor) not in read[target].ids):
                lost.append(f"{name}: {href}")
    assert lost == []


def test_search_finds_what_is_there(page, address):
    page.goto(f"{address}/search.html?q=Mahalanobis")
    page.wait_for_selector("#search-results ul li a", timeout=15000)
    assert "padim" in page.locator("#search-results").inner_text().lower()


@pytest.fixture
def live(page, address):
    if not (HTML / "_static" / "live" / "ort").is_dir():
        pytest.skip("no runtime for the live page: npm was not there when the book was built")
    page.goto(f"{address}/book/live.html")
    page.wait_for_function("window.padimLive && (window.padimLive.ready || window.padimLive.error)", timeout=60000)
    assert page.evaluate("window.padimLive.error") is None
    return page


def settled(page, runs):
    page.wait_for_function("n => window.padimLive.runs > n", arg=runs, timeout=30000)
    page.wait_for_timeout(1500)


def test_the_live_page_shows_pythons_map(live, twin_cache):
    from live import PARTS, detector_of

    from padim_nb import load_category

    category = load_category(PARTS[0].name, "twin:lite")
    detector = detector_of(category)
    wanted = detector.score([next(s for s in category.test if s.label == 0)])[0]
    found = np.array(live.evaluate("Array.from(window.padimLive.map)")).reshape(wanted.shape)
    assert np.abs(found - wanted).max() < 0.01 * detector.threshold_.value


@pytest.mark.parametrize("page", [(1280, "light"), (390, "dark")], indirect=True, ids=["wide", "phone"])
def test_whatever_is_chosen_the_live_page_fits_its_window_and_the_mark_its_bar(live):
    from live import PARTS

    stopped = {}
    for part in range(len(PARTS)):
        for image in range(4):  # two good ones, two defects
            runs = live.evaluate("window.padimLive.runs")
            live.locator("#live-parts button").nth(part).click()
            settled(live, runs)
            runs = live.evaluate("window.padimLive.runs")
            live.locator("#live-images button").nth(image).click()
            settled(live, runs)
            assert live.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            bar, mark = (live.locator(place).bounding_box() for place in (".live-scale", "#live-limit"))
            assert bar["x"] <= mark["x"] <= bar["x"] + bar["width"]
            stopped[PARTS[part].name, image] = "stopped" in live.locator("#live-verdict").inner_text()
    assert not any(verdict for (_, image), verdict in stopped.items() if image < 2), "no good image is stopped"
    passing = {key for key, verdict in stopped.items() if key[1] >= 2 and not verdict}
    assert passing == {("wood", 3), ("hazelnut", 2), ("hazelnut", 3)}, "the page names what passes"


@pytest.mark.parametrize("page", [(1280, "light"), (390, "dark")], indirect=True, ids=["wide", "phone"])
def test_a_stroke_changes_map_and_verdict_and_undo_takes_it_back(live):
    before, runs = live.evaluate("window.padimLive.score"), live.evaluate("window.padimLive.runs")
    assert live.locator("#live-verdict").inner_text() == "passes"
    live.locator("#live-photo").scroll_into_view_if_needed()
    box = live.locator("#live-photo").bounding_box()
    live.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.3 * box["height"])
    live.mouse.down()
    live.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"], steps=6)
    live.mouse.up()
    settled(live, runs)
    after = live.evaluate("window.padimLive.score")
    assert after > 1.5 * before
    assert "stopped" in live.locator("#live-verdict").inner_text()
    place = int(np.argmax(live.evaluate("Array.from(window.padimLive.map)")))
    row, column = divmod(place, 256)
    assert 0.25 * 256 < row < 0.75 * 256 and 0.35 * 256 < column < 0.65 * 256
    runs = live.evaluate("window.padimLive.runs")
    live.locator("#live-undo").click()
    settled(live, runs)
    assert live.evaluate("window.padimLive.score") == pytest.approx(before, rel=1e-5)
    assert live.wrong == []


def test_the_keyboard_draws_on_the_live_page(live):
    before, runs = live.evaluate("window.padimLive.score"), live.evaluate("window.padimLive.runs")
    canvas = live.locator("#live-photo")
    canvas.focus()
    for key in ("Shift+ArrowUp", "Shift+ArrowUp", "Shift+ArrowLeft"):
        canvas.press(key)
    assert live.evaluate("window.padimLive.runs") == runs, "nothing is drawn while the brush is up"
    assert "brush up at 104, 80" in live.locator("#live-keys").inner_text()
    assert live.locator("#live-brush").is_visible()
    for key in ("Space", "Shift+ArrowDown", "Shift+ArrowDown", "Shift+ArrowRight", "Shift+ArrowDown", "ArrowRight"):
        canvas.press(key)
    settled(live, runs)
    assert live.evaluate("window.padimLive.score") > 1.5 * before
    assert "stopped" in live.locator("#live-verdict").inner_text()
    canvas.press("Space")
    runs = live.evaluate("window.padimLive.runs")
    canvas.press("Control+z")
    settled(live, runs)
    assert live.evaluate("window.padimLive.score") == pytest.approx(before, rel=1e-5)
    assert live.wrong == []


def test_axe_finds_nothing_on_the_live_page_after_use(live, axe):
    runs = live.evaluate("window.padimLive.runs")
    live.locator("#live-images button").nth(2).click()
    settled(live, runs)
    live.locator("#live-photo").press("Space")
    assert serious(live, axe) == []


def test_while_a_part_loads_nothing_of_another_one_is_shown(live):
    live.route("**/wood.onnx", lambda route: (live.wait_for_timeout(1500), route.continue_()))
    assert live.locator("#live-verdict").inner_text() == "passes"
    runs = live.evaluate("window.padimLive.runs")
    live.locator("#live-parts button", has_text="wood").click()
    assert "loading" in live.locator("#live-status").inner_text()
    assert live.locator("#live-verdict").inner_text() == ""
    assert live.evaluate("document.getElementById('live-bar').style.width") == "0px"
    drawn = "[...document.getElementById('live-{}').getContext('2d').getImageData(0, 0, 256, 256).data].some(Boolean)"
    assert not live.evaluate(drawn.format("heat")) and not live.evaluate(drawn.format("photo"))
    settled(live, runs)
    assert live.locator("#live-verdict").inner_text() == "passes"


@pytest.mark.parametrize(("name", "ready"), [("live", "padimLive.ready"), ("learn", "padimLearn.state.ready")])
def test_a_second_visit_fetches_no_network_and_no_runtime(page, address, name, ready):
    if not (HTML / "_static" / "live" / "ort").is_dir():
        pytest.skip("no runtime for the live page: npm was not there when the book was built")
    for visit in range(2):
        page.asked.clear()
        page.goto(f"{address}/book/{name}.html")
        page.wait_for_function(ready, timeout=60000)
        large = [url for url in page.asked if url.endswith((".onnx", ".wasm", "parts.json", "learn.json"))]
        assert bool(large) == (visit == 0), large
    assert page.wrong == []


def test_a_book_built_anew_is_not_served_from_the_cache(page, address):
    if not (HTML / "_static" / "live" / "ort").is_dir():
        pytest.skip("no runtime for the live page: npm was not there when the book was built")
    build = {}
    page.route("**/live/sources", lambda route: route.fulfill(body=build["version"]))
    for version in ("one", "one", "two"):
        build["version"] = version
        page.asked.clear()
        page.goto(f"{address}/book/live.html")
        page.wait_for_function("padimLive.ready", timeout=60000)
        fetched = [url for url in page.asked if url.endswith("features.onnx")]
    assert fetched
    assert page.evaluate("caches.keys()") == ["padim-nb /_static/live/ two"]


def test_every_part_of_the_live_page_can_be_chosen(live):
    names = [part["name"] for part in json.loads((HTML / "_static" / "live" / "parts.json").read_text())]
    for name in names[1:]:
        runs = live.evaluate("window.padimLive.runs")
        live.locator("#live-parts button", has_text=name).click()
        settled(live, runs)
        assert live.locator("#live-verdict").inner_text() == "passes"


def test_the_live_page_has_a_picture_where_scripts_are_off(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/book/live.html")
    assert page.locator("img.live-fallback").is_visible()
    assert not page.locator(".live-panel").is_visible()
    context.close()
