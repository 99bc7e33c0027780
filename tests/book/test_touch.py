"""What one can touch: the page that learns a part, the interactive figures, the quizzes; in a real browser."""

import base64
import json
import re
import shutil

import numpy as np
import pytest
from built import HTML, NEEDED, ROOT, elsewhere, watched
from PIL import Image

from padim_nb import recipe
from padim_nb.data.images import Frame, load_image
from padim_nb.data.mvtec import Sample

pytestmark = NEEDED
LEARN = HTML / "_static" / "learn"
MODEL = "padimLearn.state.model !== null"


# The page that learns


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder of ten photographs of good parts, and of something else that lies there too."""
    folder = tmp_path_factory.mktemp("part") / "good"
    folder.mkdir()
    for path in LEARN.glob("good-*.jpg"):
        shutil.copy(path, folder)
    (folder / "notes.txt").write_text("lamp on the left")
    return folder


@pytest.fixture(scope="module")
def detector(good):
    """What Python makes of the same ten photographs."""
    samples = [Sample(path, 0, "good") for path in sorted(good.glob("*.jpg"))]
    return recipe("padim-lite0", device="cpu").fit(samples, false_alarm=0.05)


def opened(page, address):
    if not (HTML / "_static" / "live" / "ort").is_dir():
        pytest.skip("no runtime for the learning page: npm was not there when the book was built")
    page.goto(f"{address}/book/learn.html")
    page.wait_for_function("window.padimLearn && (padimLearn.state.ready || padimLearn.state.error)", timeout=60000)
    assert page.evaluate("padimLearn.state.error ?? null") is None
    return page


def idle(page):
    """Wait until the page has done everything that was asked of it."""
    page.wait_for_timeout(50)
    page.wait_for_function("document.getElementById('learn').getAttribute('aria-busy') !== 'true'", timeout=60000)
    return page


def problem(page):
    return idle(page).locator("#learn-problem").inner_text()


@pytest.fixture(scope="module")
def learned(browser, address, good):
    """The page once it has learned the folder: one fit for all tests."""
    context = browser.new_context()
    page = opened(watched(context), address)
    page.locator("#learn-folder").set_input_files(good)
    idle(page).wait_for_function(MODEL)
    yield page
    context.close()


@pytest.fixture(scope="module")
def other(browser, address):
    context = browser.new_context()
    yield opened(watched(context), address)
    context.close()


@pytest.fixture
def fresh(other):
    """The page with nothing learned."""
    if idle(other).locator("#learn-forget").is_enabled():
        other.locator("#learn-forget").click()
    return idle(other)


def test_ten_photographs_of_a_folder_are_learned_as_in_python(learned, detector):
    assert learned.locator("#learn-count").inner_text() == "10 good images"
    assert problem(learned) == ""
    limit = learned.evaluate("padimLearn.state.threshold.value")
    assert limit == pytest.approx(detector.threshold_.value, rel=1e-2)
    assert "10 images attain one in 11 (one in 20 would need 19)" in learned.locator("#learn-status").inner_text()
    scores = learned.evaluate("padimLearn.state.threshold.scores")
    samples = [Sample(path, 0, "good") for path in sorted(LEARN.glob("good-*.jpg"))]
    assert scores == pytest.approx(list(detector.held_out_scores(samples)), rel=1e-2)
    assert learned.locator("#learn-good small").count() == 10


@pytest.mark.parametrize(("number", "stopped"), [(0, False), (1, True)], ids=["good", "broken"])
def test_the_next_photograph_gets_pythons_map_score_and_verdict(learned, detector, number, stopped):
    path = LEARN / f"new-{number}.jpg"
    wanted = detector.score([Sample(path, number, "new")])
    learned.locator("#learn-new").set_input_files(path)
    idle(learned)
    map_ = np.array(learned.evaluate("Array.from(padimLearn.state.map)")).reshape(256, 256)
    assert np.abs(map_ - wanted[0]).max() < 1e-2 * wanted[0].max()
    assert learned.evaluate("padimLearn.state.score") == pytest.approx(float(wanted.scores[0]), rel=1e-2)
    verdict = learned.locator("#learn-verdict").inner_text()
    assert verdict.startswith("Stopped" if stopped else "Passes")
    p = detector.p_values([Sample(path, number, "new")])[0]
    assert learned.evaluate("padimLearn.state.p") == pytest.approx(p, abs=1e-2)
    assert (p <= 1 / 11 + 1e-9) == stopped
    assert "at most one good part in 11" in learned.locator("#learn-score").inner_text()


def test_nothing_leaves_the_machine(learned, address):
    assert elsewhere(learned, address) == []
    assert learned.wrong == []


def test_a_saved_model_is_read_back_by_the_page_and_by_python(learned, fresh, detector, tmp_path, monkeypatch):
    with learned.expect_download() as download:
        learned.locator("#learn-save").click()
    path = tmp_path / "part.safetensors"
    download.value.save_as(path)
    fresh.locator("#learn-load").set_input_files(path)
    idle(fresh).wait_for_function(MODEL)
    same = "padimLearn.state.threshold.value"
    assert fresh.evaluate(same) == learned.evaluate(same)
    assert fresh.locator("#learn-good li").count() == 10

    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(re.search(r"```python\n(.*?)```", (ROOT / "book" / "learn.md").read_text(), flags=re.S)[1], names)
    sample = [Sample(LEARN / "new-1.jpg", 1, "broken")]
    assert names["detector"].score(sample).scores == pytest.approx(detector.score(sample).scores, rel=1e-2)

    whole = path.read_bytes()
    named = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + named])
    for change, message in (
        ({"layer0": header["layer0"] | {"shape": [10, 56, 16, 16]}}, "another size"),
        ({"__metadata__": header["__metadata__"] | {"weights": "other"}}, "another network"),
        ({"__metadata__": {}}, "not a model that this page saved"),
    ):
        text = json.dumps(header | change).encode()
        (tmp_path / "other.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + named :])
        fresh.locator("#learn-load").set_input_files(tmp_path / "other.safetensors")
        assert message in problem(fresh)
        assert fresh.locator("#learn-good li").count() == 10, "what was learned stays"


def test_what_cannot_be_learned_is_refused_with_a_reason(fresh, tmp_path):
    (tmp_path / "notes.jpg").write_text("not an image")
    fresh.locator("#learn-files").set_input_files(tmp_path / "notes.jpg")
    assert "notes.jpg is not an image that this browser can read: save it as JPEG or PNG" in problem(fresh)
    Image.new("RGB", (20000, 2)).save(tmp_path / "wide.png")
    fresh.locator("#learn-files").set_input_files(tmp_path / "wide.png")
    assert "wide.png is 20000 x 2 pixels" in problem(fresh)
    (tmp_path / "half.safetensors").write_bytes(b"\x05")
    fresh.locator("#learn-load").set_input_files(tmp_path / "half.safetensors")
    assert "not a model that this page saved" in problem(fresh)
    fresh.locator("#learn-files").set_input_files([LEARN / "good-0.jpg", LEARN / "good-1.jpg"])
    assert problem(fresh) == ""
    assert fresh.locator("#learn-count").inner_text() == "2 good images"
    assert "of at least 3" in fresh.locator("#learn-status").inner_text()
    assert fresh.locator("#learn-new").is_disabled()
    fresh.locator("#learn-files").set_input_files(LEARN / "good-0.jpg")
    assert "good-0.jpg is here already" in problem(fresh)
    fresh.get_by_role("button", name="remove good-0.jpg").press("Enter")
    assert idle(fresh).locator("#learn-count").inner_text() == "1 good image"


def test_after_an_unreadable_photograph_nothing_of_the_one_before_is_shown(learned, tmp_path):
    learned.locator("#learn-new").set_input_files(LEARN / "new-0.jpg")
    assert idle(learned).locator("#learn-verdict").inner_text() == "Passes."
    (tmp_path / "broken.jpg").write_bytes((LEARN / "new-1.jpg").read_bytes()[:200])
    learned.locator("#learn-new").set_input_files(tmp_path / "broken.jpg")
    assert "broken.jpg is not an image" in problem(learned)
    assert not learned.locator("#learn-result").is_visible()
    assert learned.locator("#learn-verdict").text_content() == learned.locator("#learn-score").text_content() == ""
    assert "looking" not in learned.locator("#learn-status").inner_text()
    assert learned.evaluate("padimLearn.state.map") is None


def test_a_photograph_unlike_the_others_is_pointed_out_before_it_is_learned(fresh, good, twin_cache, tmp_path):
    from padim_nb import load_category

    other = tmp_path / "other-part.png"
    shutil.copy(load_category("cable", "twin:lite").train[0].image, other)
    nine = sorted(good.glob("*.jpg"))[:9]
    count = fresh.locator("#learn-count")
    fresh.locator("#learn-files").set_input_files([*nine[:4], other, *nine[4:]])
    assert "other-part.png: its score is" in idle(fresh).locator("#learn-doubtful").inner_text()
    for name in [path.name for path in nine]:  # one of the good ones may be asked about as well: this is one
        if (asked := fresh.get_by_role("button", name=f"learn it too: {name}")).count():
            asked.click()
            idle(fresh)
    assert count.inner_text() == "9 good images"
    assert fresh.locator("#learn-doubtful li").count() == 1
    assert all(float(text) > 0 for text in fresh.locator("#learn-good small").all_inner_texts()), "held-out scores"
    limit = fresh.evaluate("padimLearn.state.threshold.value")
    fresh.get_by_role("button", name="leave it out: other-part.png").click()
    assert not idle(fresh).locator("#learn-doubt").is_visible()
    assert fresh.evaluate("padimLearn.state.threshold.value") == limit

    fresh.locator("#learn-files").set_input_files(other)
    assert idle(fresh).locator("#learn-doubtful li").count() == 1 and count.inner_text() == "9 good images"
    fresh.get_by_role("button", name="learn it too: other-part.png").press("Enter")
    assert idle(fresh).locator("#learn-count").inner_text() == "10 good images"
    assert fresh.evaluate("padimLearn.state.threshold.value") != limit


SCORES = """([values, score]) => padimLearn.imageScore(Float32Array.from(values), score)"""


@pytest.mark.parametrize("score", ["max", 0.01, 0.1])
def test_the_pages_image_score_is_pythons(other, score):
    import torch

    from padim_nb.padim.smoothing import image_scores

    map_ = np.random.default_rng(0).gamma(2, 3, (1, 40, 30)).astype(np.float32)
    wanted = float(image_scores(torch.from_numpy(map_), score)[0])
    assert other.evaluate(SCORES, [map_.ravel().tolist(), score]) == pytest.approx(wanted, rel=1e-5)


DROP = """async ([content, name]) => {
  const carried = new DataTransfer(), blob = await (await fetch(`data:image/png;base64,${content}`)).blob();
  carried.items.add(new File([blob], name, { type: "image/png" }));
  document.getElementById("learn-judging").dispatchEvent(
    new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));
}"""


@pytest.mark.parametrize(
    ("height", "width", "levels"),
    [(270, 411, 0), (411, 270, 1)],  # Pillow 13 shrinks a tall image's columns first, and so rounds in another order
    ids=["wide", "tall"],
)
def test_a_dropped_photograph_is_shrunk_as_pillow_does_it(learned, tmp_path, height, width, levels):
    path = tmp_path / f"{height}.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    learned.evaluate(DROP, [base64.b64encode(path.read_bytes()).decode(), path.name])
    learned.wait_for_function("name => padimLearn.state.fresh?.name === name", arg=path.name, timeout=60000)
    framed = np.array(learned.evaluate("Array.from(padimLearn.state.fresh.rgb)")).reshape(256, 256, 3)
    wanted = Frame((256, 256)).apply(load_image(path)).astype(int)
    assert np.abs(framed - wanted).max() <= levels


def test_the_camera_takes_a_photograph(fresh):
    fresh.locator("#learn-camera").press("Enter")
    idle(fresh).locator("#learn-video").wait_for(state="visible")
    fresh.wait_for_function("document.getElementById('learn-video').videoWidth > 0")
    fresh.locator("#learn-shot").press("Enter")
    assert problem(fresh) == ""
    assert fresh.locator("#learn-count").inner_text() == "1 good image"
    fresh.locator("#learn-camera").press("Enter")
    assert not idle(fresh).locator("#learn-viewer").is_visible()


# The interactive figures


def page_with(mark):
    """The page of the built book that has this in it."""
    pages = [p for p in sorted(HTML.glob("*/*.html")) if mark in p.read_text(encoding="utf-8")]
    assert pages, f"no page has {mark}"
    return pages[0].relative_to(HTML).as_posix()


@pytest.fixture
def by_finger(browser):
    context = browser.new_context(has_touch=True, viewport={"width": 390, "height": 800}, color_scheme="dark")
    yield watched(context)
    context.close()


def figure(page, address, name):
    page.goto(f"{address}/{page_with(f'touch touch-{name}')}")
    shown = page.locator(f"figure.touch-{name}")
    shown.locator(".touch-panel").wait_for()
    shown.scroll_into_view_if_needed()
    return shown


def middle(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drawn_by_finger(page, start, end):
    session = page.context.new_cdp_session(page)
    for kind, points in (("touchStart", [start]), ("touchMove", [end]), ("touchEnd", [])):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})


def test_a_patch_is_moved_by_mouse_finger_and_keyboard(page, by_finger, address):
    def far(shown):
        return float(shown.locator(".touch-handle").get_attribute("aria-valuenow"))

    shown = figure(page, address, "mahalanobis")
    shown.get_by_role("button", name="along the cloud").click()
    along, euclid = far(shown), shown.locator(".touch-key-circle").inner_text()
    shown.get_by_role("button", name="across the cloud").click()
    assert far(shown) > 2 * along
    assert shown.locator(".touch-key-circle").inner_text().split(":")[0] == euclid.split(":")[0], "as far by Euclid"

    before = far(shown)
    shown.locator(".touch-handle").press("ArrowUp")
    assert far(shown) > before
    page.mouse.move(*middle(shown.locator(".touch-handle")))
    page.mouse.down()
    page.mouse.move(*middle(shown.locator("svg")), steps=4)
    page.mouse.up()
    assert far(shown) < 0.5

    shown = figure(by_finger, address, "mahalanobis")
    before = far(shown)
    drawn_by_finger(by_finger, middle(shown.locator(".touch-handle")), middle(shown.locator("svg")))
    assert far(shown) < 0.5 < before
    assert page.wrong + by_finger.wrong == []


@pytest.mark.parametrize("name", ["threshold", "dimensions", "training"])
def test_a_slider_moves_by_mouse_finger_and_keyboard(page, by_finger, address, name):
    shown = figure(page, address, name)
    slider, readings = shown.get_by_role("slider"), [shown.locator(".touch-reading").inner_text()]
    slider.press("ArrowRight")
    readings.append(shown.locator(".touch-reading").inner_text())
    box = slider.bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    readings.append(shown.locator(".touch-reading").inner_text())
    assert len(set(readings)) == 3

    shown = figure(by_finger, address, name)
    before, box = shown.locator(".touch-reading").inner_text(), shown.get_by_role("slider").bounding_box()
    by_finger.touchscreen.tap(box["x"] + 0.95 * box["width"], box["y"] + box["height"] / 2)
    assert shown.locator(".touch-reading").inner_text() != before
    assert page.wrong + by_finger.wrong == []
    assert elsewhere(page, address) == []


def test_the_figure_of_dimensions_shows_its_record(page, address):
    rows = json.loads((ROOT / "data" / "records" / "drawn-dimensions.json").read_text())["rows"]
    shown = figure(page, address, "dimensions")
    for place, row in enumerate(rows):
        shown.get_by_role("slider").fill(str(place))
        values, text = row["image_auroc"], shown.locator(".touch-reading").inner_text()
        assert str(row["d"]) in text
        assert f"{max(values):.2f}" in text and f"{min(values):.2f}" in text


# The quizzes


def test_a_quiz_answers_by_keyboard_and_counts(page, address):
    mark = 'class="quiz"'
    page.goto(f"{address}/{page_with(mark)}")
    quiz = page.locator(".quiz").first
    questions = quiz.locator(".quiz-question")
    right, wrong = (questions.nth(0).locator(f"details.quiz-{kind}").first for kind in ("right", "wrong"))
    assert not right.locator("p").last.is_visible()
    right.locator("summary").press("Enter")
    assert "Right." in right.inner_text()
    wrong.locator("summary").press("Enter")
    assert "No." in wrong.inner_text()
    questions.nth(1).locator("details.quiz-wrong summary").first.click()
    left = questions.count() - 2
    page.wait_for_function("document.querySelector('.quiz-count').textContent !== ''")
    assert quiz.locator(".quiz-count").inner_text() == f"1 of 2 right at once ({left} to go)."
    assert page.wrong == []


def test_without_scripts_there_are_still_images_and_folded_answers(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/book/learn.html")
    assert page.locator("img.learn-fallback").is_visible()
    assert "Scripts are off here" in page.locator("#learn noscript").inner_text()
    assert not page.locator(".learn-panel").is_visible()
    for name in ("mahalanobis", "threshold", "dimensions", "training"):
        page.goto(f"{address}/{page_with(f'touch touch-{name}')}")
        assert page.locator(f"figure.touch-{name} img").is_visible()
    answer = page.locator("details.quiz-right").first
    assert not answer.locator("p").last.is_visible()
    answer.locator("summary").click()
    assert answer.locator("p").last.is_visible()
    context.close()


# Images


def test_a_contact_sheet_opens_large_by_mouse_and_keyboard(page, address):
    page.goto(f"{address}/book/twin.html")
    sheet = page.locator("article img.zoomable").first
    sheet.scroll_into_view_if_needed()
    shown = sheet.bounding_box()["width"]
    for opened in (sheet.click, lambda: sheet.press("Enter")):
        opened()
        large = page.locator("dialog.zoom img")
        assert large.is_visible()
        assert large.get_attribute("alt") == sheet.get_attribute("alt")
        assert large.bounding_box()["width"] > 1.2 * shown
        page.keyboard.press("Escape")
        assert not large.is_visible()
    assert page.wrong == []
