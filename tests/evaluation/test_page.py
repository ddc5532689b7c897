from __future__ import annotations

import json
import os
import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tweenlet.evaluation.document import document
from tweenlet.evaluation.page import FULL_ERROR, LARGEST, SampleImages, page
from tweenlet.evaluation.report import MethodInfo, Report, Score

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&|`\u2028"
MEANS = {"ours": 30.0, "dis": 28.0, "blend": 24.0}
HEIGHT, WIDTH = 180, 300


def report(sequences: int = 4, per_sequence: int = 3, name: str = "clip") -> Report:
    """Ours is the best on every sample, blend the fastest; clips become harder, samples easier one by one."""
    seconds = {"ours": 0.8, "dis": 0.2, "blend": 0.001}
    scores = []
    for number in range(sequences):
        for sample in range(per_sequence):
            where = f"{name}{number}/{sample}", f"{name}{number}", (WIDTH, HEIGHT)
            for method, mean in MEANS.items():
                values = {"psnr": mean - number + sample / 10, "flip": 3 / mean}
                scores.append(Score(method, *where, values, seconds[method], seconds[method]))
    entrants = MethodInfo("ours", 595_024, "ab", "the weights"), MethodInfo("dis"), MethodInfo("blend")
    made = "0.1.0", "a machine", "2026-11-24"
    return Report("four clips", entrants, ("psnr", "flip"), tuple(scores), *made)


def flat(red: int, green: int, blue: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return np.broadcast_to(np.array([red, green, blue], np.uint8)[:, None, None], (3, *size)).copy()


def shown(
    name: str = "clip0/0", size: tuple[int, int] = (HEIGHT, WIDTH), note: str = "frame 3 (0.12 s)"
) -> SampleImages:
    """Pictures that are told apart by their colour; ours errs in one corner."""
    truth = flat(0, 160, 0, size)
    ours = truth.copy()
    ours[0, :30, -60:] = 240
    made = {"ours": ours, "dis": flat(0, 0, 200, size), "blend": flat(200, 200, 0, size)}
    values = {method: {"psnr": mean, "flip": 0.1} for method, mean in MEANS.items()}
    return SampleImages(name, note, flat(90, 90, 90, size), flat(220, 220, 220, size), truth, made, values)


def samples_of(html: str) -> list[dict]:
    """What the page tells its script."""
    (text,) = re.findall(r'<script type="application/json" id="samples">(.*?)</script>', html, re.DOTALL)
    return json.loads(text)


def decoded(sample: dict, key: str) -> np.ndarray:
    (source,) = [picture["source"] for picture in sample["pictures"] if picture["key"] == key]
    assert source.startswith("data:image/webp;base64,")
    return np.asarray(Image.open(BytesIO(b64decode(source.partition(",")[2]))).convert("RGB")).astype(int)


def rows(html: str) -> list[list[str]]:
    """The cells of the first table, tags taken off but marks kept."""
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("</tr>") if row.strip()]
    return [[re.sub(r"<(?!/?mark)[^>]*>", "", cell) for cell in row] for row in cells]


def test_the_table_marks_the_best_of_each_column_and_what_may_be_as_good():
    ours, dis, blend = rows(page(report(), [], title="t"))
    assert ours == [
        "oursthe weights", "<mark>28.60</mark>", "<mark>0.1000</mark>", "800", "800", "595,024",
    ]  # fmt: skip
    assert dis == ["dis", "26.60", "0.1071", "200", "200", "–"]
    assert blend == ["blend", "22.60", "0.1250", "<mark>1.0</mark>", "<mark>1.0</mark>", "–"]


def test_a_difference_inside_the_noise_is_shown_as_such():
    both = report()
    noise = iter([0.3, -0.35, 0.2, -0.1, 0.05, -0.2] * 2)
    scores = [
        replace(score, values={**score.values, "psnr": 30 + next(noise)})
        if score.method == "dis"
        else replace(score, values={**score.values, "psnr": MEANS[score.method]})
        for score in both.scores
    ]
    level = page(replace(both, scores=tuple(scores)), [], title="t")
    assert rows(level)[1][1] == "≈ 29.98"
    assert "the difference may be chance" in level
    assert "≈" not in page(both, [], title="t")


def test_the_page_says_what_was_given():
    published = [("Published", "| a |\n|---|\n| b |")]
    html = page(report(), [], title="Which one?", verdict="**ours** is the best", extra_tables=published)
    assert "<h1>Which one?</h1>" in html
    assert "<p><strong>ours</strong> is the best</p>" in html
    assert '<h2>Published</h2>\n<div class="table"' in html
    assert f"{report().notes}<br>\ntweenlet 0.1.0, 2026-11-24, a machine" in html.replace("&#x27;", "'")
    assert html.count("<svg") == 2
    assert "<script" not in html  # no pictures, no viewer


def test_sequences_have_bars_and_a_single_clip_its_course():
    assert "Sequence by sequence" in page(report(), [], title="t")
    hardest = re.findall(r"<figcaption[^>]*>(.*?)</figcaption>", page(report(), [], title="t"))
    assert hardest == ["clip3", "clip2", "clip1", "clip0"]
    one = page(report(1), [], title="t")
    assert "Along the clip" in one
    assert one.count("<polyline") == 3
    singles = page(report(4, 1), [], title="t")
    assert "Sequence by sequence" not in singles
    assert "Along the clip" not in singles


def test_methods_without_parameters_need_no_chart_of_them():
    none = replace(report(), entrants=tuple(MethodInfo(name) for name in MEANS))
    assert page(none, [], title="t").count("<svg") == 1


def test_pictures_are_whole_and_errors_are_those_of_the_true_pixels():
    (sample,) = samples_of(page(report(), [shown()], title="t"))
    assert (sample["width"], sample["height"]) == (WIDTH, HEIGHT)
    made = [f"{kind} {method}" for method in MEANS for kind in ("made", "error")]
    assert [picture["key"] for picture in sample["pictures"]] == ["before", "truth", "after", *made]
    assert [picture["value"] for picture in sample["pictures"][3::2]] == ["30.00 dB", "28.00 dB", "24.00 dB"]
    for key, colour in {"truth": (0, 160, 0), "before": (90, 90, 90), "made dis": (0, 0, 200)}.items():
        picture = decoded(sample, key)
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(picture - colour).max() <= 8
    error = decoded(sample, "error ours")
    assert error.shape == (HEIGHT // 2, WIDTH // 2, 3)
    assert error[:13, -28:].min(axis=(0, 1)).sum() > 500  # 240 / 3 is above FULL_ERROR: the brightest
    assert error[30:, :100].max() < 30
    assert FULL_ERROR < 240 / 3
    x, y = sample["focus"]
    assert x > 240
    assert y <= 30


@pytest.mark.parametrize("upright", [False, True])
def test_large_pictures_are_cut_around_the_largest_error(upright):
    longer, shorter = LARGEST
    size = (longer + 200, shorter + 90) if upright else (shorter + 90, longer + 200)
    (sample,) = samples_of(page(report(), [shown(size=size)], title="t"))
    height, width = (longer, shorter) if upright else (shorter, longer)
    assert (sample["width"], sample["height"]) == (width, height)
    cut = f"cut to {width}x{height} of {size[1]}x{size[0]} pixels, around the largest error of ours"
    assert sample["note"] == f"frame 3 (0.12 s); {cut}"
    assert decoded(sample, "made dis").shape == (height, width, 3)
    assert decoded(sample, "made ours")[2, -5, 0] > 150  # the corner with the error is in


def test_shown_refuses_what_cannot_be_laid_over_each_other():
    good = shown()
    with pytest.raises(
        ValueError, match=r"expected uint8 \(3, 180, 300\) for dis of clip0/0, got uint8 \(3, 180, 299\)"
    ):
        replace(good, outputs={**good.outputs, "dis": good.truth[..., 1:]})
    with pytest.raises(ValueError, match=r"for before of clip0/0, got float32"):
        replace(good, before=good.before.astype(np.float32))
    with pytest.raises(ValueError, match="that a method made, got none"):
        replace(good, outputs={})


def hostile() -> str:
    plain = report(name=HOSTILE)
    scores = tuple(replace(s, method=s.method + HOSTILE) for s in plain.scores)
    entrants = tuple(MethodInfo(e.name + HOSTILE, e.parameters, "", HOSTILE) for e in plain.entrants)
    named = replace(
        plain,
        benchmark=HOSTILE,
        entrants=entrants,
        scores=scores,
        machine=HOSTILE,
        skipped=((HOSTILE, HOSTILE),),
    )
    one = shown(HOSTILE, note=HOSTILE)
    outputs = {name + HOSTILE: picture for name, picture in one.outputs.items()}
    values = {name + HOSTILE: values for name, values in one.values.items()}
    return page(
        named,
        [replace(one, outputs=outputs, values=values)],
        title=HOSTILE,
        verdict=HOSTILE,
        extra_tables=[(HOSTILE, HOSTILE)],
    )


def test_hostile_names_are_only_text():
    html = hostile()
    assert len(re.findall("<script", html)) == 2  # the samples and page.js
    assert "<img src" not in html
    (sample,) = samples_of(html)
    assert sample["name"] == HOSTILE
    assert sample["first"] == "made ours" + HOSTILE


def test_names_that_are_no_unicode_do_not_lose_the_page():
    html = page(report(name="clip\udcff"), [shown("clip\udcff")], title="clip\udcff")
    assert b"clip?" in html.encode(errors="replace")


# In a real browser.


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Chromium, driven by playwright; a missing one fails on CI, and skips elsewhere."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "playwright is not installed"
    else:
        missing = "" if chromium() else "no chromium on this machine"
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            f"{missing}: the page was not looked at"
        )
    with sync_playwright() as playwright:
        options = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
        ]
        running = playwright.chromium.launch(executable_path=chromium(), args=options)
        yield running
        running.close()


class Opened:
    """A page in the browser, cut off from every network, and what it complained of."""

    def __init__(self, browser, file: Path, width: int = 1280, height: int = 900, **options) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, offline=True, **options
        )
        self.tab = self.context.new_page()
        self.troubles: list[str] = []
        self.asked: list[str] = []
        self.tab.on("console", lambda message: self.troubles.append(message.text))
        self.tab.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.troubles.append(dialog.message), dialog.dismiss()))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(file.as_uri())

    def box(self, selector: str) -> SimpleNamespace:
        return SimpleNamespace(**self.tab.locator(selector).bounding_box())

    def pictures(self) -> tuple[dict, dict]:
        """Where the two pictures are, whatever of them is seen."""
        left, right = (self.tab.locator(f"#{side} img").bounding_box() for side in ("left", "right"))
        return left, right

    def colour(self, x: float, y: float = 0.5) -> tuple[int, ...]:
        """What is seen at a place of the stage, in shares of its width and height."""
        stage = self.tab.locator("#stage").screenshot()
        seen = Image.open(BytesIO(stage)).convert("RGB")
        return seen.getpixel((int(x * seen.width), int(y * seen.height)))

    def divider(self) -> float:
        """The share of the stage's width at which the divider stands."""
        stage, line = self.box("#stage"), self.box("#divider")
        return (line.x + line.width / 2 - stage.x) / stage.width


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A page with two samples; in the second the truth is red."""
    second = replace(shown("clip1/0"), truth=flat(200, 0, 0))
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(page(report(), [shown(), second], title="Which one?"), encoding="utf-8")
    return file


@pytest.fixture
def opened(browser, written) -> Iterator[Opened]:
    """The page on a wide screen; that it was silent and asked for nothing is checked in the end."""
    one = Opened(browser, written)
    yield one
    assert one.troubles == []
    assert one.asked[0] == written.as_uri()
    assert all(url.startswith("data:image/webp;") for url in one.asked[1:])
    one.context.close()


GREEN, BLUE, YELLOW, RED = (0, 160, 0), (0, 0, 200), (200, 200, 0), (200, 0, 0)


def like(seen: tuple[int, ...], colour: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(seen, colour, strict=True)) <= 12


def choose(opened: Opened, label: str, side: str) -> None:
    opened.tab.get_by_label(f"{label}, {side}", exact=True).check()


def test_all_pictures_load(opened):
    widths = opened.tab.evaluate(
        """async () => {
          const samples = JSON.parse(document.getElementById("samples").textContent);
          const sources = samples.flatMap((sample) => sample.pictures.map((picture) => picture.source));
          const load = async (source) => {
            const image = Object.assign(new Image(), { src: source });
            await image.decode();
            return image.naturalWidth;
          };
          return Promise.all(sources.map(load));
        }"""
    )
    assert len(widths) == 2 * 9
    assert set(widths) == {WIDTH, WIDTH // 2}
    seen = opened.tab.evaluate("[...document.images].map((image) => image.naturalWidth)")
    assert len(seen) == 2 + 2
    assert min(seen) > 0


def test_the_slider_moves_the_line_between_the_pictures(opened):
    choose(opened, "dis", "right")
    assert opened.divider() == pytest.approx(0.5, abs=0.005)
    assert like(opened.colour(0.4), GREEN)
    assert like(opened.colour(0.6), BLUE)
    slider = opened.box("#slider")
    opened.tab.mouse.click(slider.x + slider.width * 0.25, slider.y + slider.height / 2)
    assert opened.divider() == pytest.approx(0.25, abs=0.02)
    assert like(opened.colour(0.2), GREEN)
    assert like(opened.colour(0.3), BLUE)


def test_the_line_is_dragged_with_the_mouse(opened):
    choose(opened, "dis", "right")
    stage = opened.box("#stage")
    middle = stage.y + stage.height / 2
    opened.tab.mouse.move(stage.x + stage.width / 2, middle)
    opened.tab.mouse.down()
    opened.tab.mouse.move(stage.x + stage.width * 0.8, middle + 30, steps=4)
    opened.tab.mouse.up()
    opened.tab.mouse.move(stage.x + stage.width * 0.1, middle)
    assert opened.divider() == pytest.approx(0.8, abs=0.005)
    assert like(opened.colour(0.75), GREEN)
    assert opened.tab.locator("#slider").input_value() == "80"


def test_the_keyboard_moves_the_line(opened):
    opened.tab.locator("#slider").focus()
    for _ in range(10):
        opened.tab.keyboard.press("ArrowRight")
    assert opened.divider() == pytest.approx(0.55, abs=0.003)
    opened.tab.keyboard.press("Home")
    assert opened.divider() == pytest.approx(0, abs=0.003)
    opened.tab.locator("#stage").focus()
    opened.tab.keyboard.press("ArrowRight")
    assert opened.divider() == pytest.approx(0.02, abs=0.003)


def test_either_side_shows_what_is_chosen(opened):
    assert opened.tab.locator("#left .tag").inner_text() == "truth"
    assert opened.tab.locator("#right .tag").inner_text() == "ours  30.00 dB"
    for label, colour in {"dis": BLUE, "blend": YELLOW, "frame before": (90, 90, 90), "truth": GREEN}.items():
        for side, place in (("left", 0.4), ("right", 0.6)):
            choose(opened, label, side)
            assert like(opened.colour(place), colour), (label, side)
    choose(opened, "error of ours", "right")
    assert sum(opened.colour(0.6)) < 30  # no error there
    assert sum(opened.colour(0.95, 0.11)) > 400
    assert opened.tab.locator("#right img").get_attribute("alt") == "right: error of ours"


def test_zoom_and_move_are_the_same_for_both(opened):
    fit = opened.box("#left img").width
    assert fit == pytest.approx(
        min(opened.box("#stage").width, opened.box("#stage").height * WIDTH / HEIGHT), abs=1
    )
    for label, scale in (("1:1", 1), ("2x", 2), ("4x", 4), ("8x", 8)):
        opened.tab.get_by_label(label, exact=True).check()
        left, right = opened.pictures()
        assert left == right
        assert left["width"] == pytest.approx(scale * WIDTH, abs=0.5)
        assert left["height"] == pytest.approx(scale * HEIGHT, abs=0.5)
        rendering = opened.tab.evaluate(
            "getComputedStyle(document.querySelector('#right img')).imageRendering"
        )
        assert rendering == ("pixelated" if scale > 1 else "auto")
    opened.tab.locator("#stage").scroll_into_view_if_needed()
    before, _ = opened.pictures()
    stage = opened.box("#stage")
    assert before["width"] > stage.width
    opened.tab.mouse.move(stage.x + stage.width * 0.2, stage.y + 60)
    opened.tab.mouse.down()
    opened.tab.mouse.move(stage.x + stage.width * 0.2 + 40, stage.y + 90, steps=3)
    opened.tab.mouse.up()
    left, right = opened.pictures()
    assert left == right
    assert left["x"] - before["x"] == pytest.approx(40, abs=1)
    assert opened.divider() == pytest.approx(0.5, abs=0.005)  # it was the picture that moved
    opened.tab.keyboard.press("ArrowRight")
    assert opened.pictures()[0]["x"] < left["x"]
    opened.tab.keyboard.press("0")
    left, right = opened.pictures()
    assert left == right
    assert left["width"] == pytest.approx(opened.box("#stage").width, abs=1)


def test_a_zoom_begins_where_ours_errs_most(opened):
    opened.tab.get_by_label("8x", exact=True).check()
    stage, (left, _) = opened.box("#stage"), opened.pictures()
    assert left["x"] + left["width"] == pytest.approx(stage.x + stage.width, abs=1)  # the upper right corner
    assert left["y"] == pytest.approx(stage.y, abs=1)


def zoomed(opened: Opened) -> str:
    return opened.tab.locator("#zooms :checked").get_attribute("aria-label")


def test_the_wheel_scrolls_the_page_until_the_picture_was_clicked(opened):
    opened.tab.locator("#stage").hover()
    before = opened.box("#stage").y
    opened.tab.mouse.wheel(0, 120)
    opened.tab.wait_for_timeout(200)
    assert opened.box("#stage").y < before
    assert zoomed(opened) == "fit"


def test_the_wheel_zooms_where_it_points(opened):
    opened.tab.locator("#stage").click()
    opened.tab.get_by_label("4x", exact=True).check()
    opened.tab.locator("#stage").focus()
    stage = opened.box("#stage")
    x, y = stage.x + stage.width * 0.3, stage.y + stage.height * 0.6

    def under() -> tuple[float, float]:
        left, right = opened.pictures()
        assert left == right
        return (x - left["x"]) / left["width"], (y - left["y"]) / left["height"]

    opened.tab.mouse.move(x, y)
    place = under()
    opened.tab.mouse.wheel(0, -120)
    opened.tab.wait_for_timeout(200)
    assert zoomed(opened) == "8x"
    assert opened.box("#stage").y == stage.y
    assert under() == pytest.approx(place, abs=0.003)
    opened.tab.mouse.wheel(0, 120)
    opened.tab.wait_for_timeout(200)
    assert zoomed(opened) == "4x"


def test_one_goes_from_sample_to_sample(opened):
    choose(opened, "dis", "right")
    assert opened.tab.locator("#name").inner_text() == "clip0/0"
    opened.tab.locator("#strip label").nth(1).click()
    assert opened.tab.locator("#name").inner_text() == "clip1/0"
    assert opened.tab.locator("#note").inner_text() == "frame 3 (0.12 s)"
    assert like(opened.colour(0.4), RED)
    assert like(opened.colour(0.6), BLUE)  # what was chosen stays chosen
    assert opened.tab.get_by_label("dis, right", exact=True).is_checked()
    opened.tab.keyboard.press("ArrowLeft")
    assert opened.tab.locator("#name").inner_text() == "clip0/0"
    assert like(opened.colour(0.4), GREEN)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(browser, written, scheme):
    phone = Opened(browser, written, 390, 844, has_touch=True, is_mobile=True, color_scheme=scheme)
    assert phone.tab.evaluate("document.documentElement.scrollWidth") == 390
    stage = phone.box("#stage")
    assert stage.x >= 0
    assert stage.x + stage.width <= 390
    paper = phone.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 200) == (scheme == "dark")
    assert phone.troubles == []
    phone.context.close()


def test_a_finger_moves_the_line(browser, written):
    phone = Opened(browser, written, 390, 844, has_touch=True, is_mobile=True)
    phone.tab.locator("#stage").scroll_into_view_if_needed()
    stage = phone.box("#stage")
    finger = phone.context.new_cdp_session(phone.tab)
    y = stage.y + stage.height / 2

    def touch(kind: str, share: float) -> None:
        points = [] if kind == "touchEnd" else [{"x": stage.x + share * stage.width, "y": y}]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.5)
    for share in (0.55, 0.65, 0.75):
        touch("touchMove", share)
    touch("touchEnd", 0.75)
    assert phone.divider() == pytest.approx(0.75, abs=0.02)
    assert phone.troubles == []
    phone.context.close()


def test_hostile_names_run_nothing_and_are_read_as_they_are(browser, tmp_path):
    file = tmp_path / "hostile.html"
    file.write_text(hostile(), encoding="utf-8")
    one = Opened(browser, file)
    assert one.tab.locator("#name").evaluate("(name) => name.textContent") == HOSTILE
    assert one.tab.locator("h1").evaluate("(title) => title.textContent") == HOSTILE
    choose(one, "dis" + HOSTILE, "right")
    assert like(one.colour(0.6), BLUE)
    one.tab.set_viewport_size({"width": 390, "height": 844})
    assert one.tab.evaluate("document.documentElement.scrollWidth") == 390
    assert one.troubles == []
    assert all(url.startswith(("data:image/", "file:")) for url in one.asked)
    one.context.close()


def test_a_document_runs_its_own_script_and_no_other(browser, tmp_path):
    """Should a name ever get through unescaped."""
    theirs = "document.getElementById('p').textContent = 'theirs'"
    body = f'<p id="p">nothing</p><script>{theirs}</script><img src="x" onerror="{theirs}">'
    file = tmp_path / "document.html"
    file.write_text(document("t", body, "document.body.dataset.ran = 'ours'"), encoding="utf-8")
    one = Opened(browser, file)
    assert one.tab.evaluate("document.body.dataset.ran") == "ours"
    assert one.tab.evaluate("document.getElementById('p').textContent") == "nothing"
    refused = " ".join(one.troubles)
    assert "script-src" in refused
    assert "img-src" in refused
    one.context.close()


def test_whose_the_clips_are_is_told_with_a_link_each():
    sources = ("a.mp4: MDN & co, CC0-1.0, https://example.org/a.mp4?x=1&y=2", "b: <who>, javascript:alert(1)")
    html = page(replace(report(), sources=sources), [], title="t")
    link = '<a href="https://example.org/a.mp4?x=1&amp;y=2" rel="noreferrer">a.mp4</a>: MDN &amp; co, CC0-1.0'
    assert f"<h2>Clips</h2>\n<ul><li>{link}</li><li>b: &lt;who&gt;, javascript:alert(1)</li></ul>" in html
    assert "Clips</h2>" not in page(report(), [], title="t")


def six_metrics() -> Report:
    """A report of all metrics that are measured where none is named, over six clips; one name is long."""
    long = "rife-pruned-2.safetensors"
    names = ("psnr", "detail", "features", "ssim", "psnr_div", "ssim_3d")
    short = report(sequences=6)
    scores = tuple(
        replace(
            score,
            method=score.method.replace("ours", long),
            values=dict.fromkeys(names, score.values["psnr"] / 30),
        )
        for score in short.scores
    )
    entrants = (replace(short.entrants[0], name=long), *short.entrants[1:])
    return replace(short, entrants=entrants, metrics=names, scores=scores)


@pytest.mark.parametrize(("width", "columns"), [(1280, 10), (390, 5)])
def test_the_columns_that_matter_are_seen_without_scrolling(browser, tmp_path, width, columns):
    """On a phone the first three metrics and the time; the axes of charts have their numbers there, too."""
    file = tmp_path / "page.html"
    file.write_text(page(six_metrics(), [], title="t"), encoding="utf-8")
    one = Opened(browser, file, width, 844)
    for place in (".means .table", ".sure .table") if width == 390 else (".means .table",):
        assert (
            one.tab.evaluate(f"(e => e.scrollWidth - e.clientWidth)(document.querySelector('{place}'))") <= 0
        )
    heads = one.tab.locator(".means thead th:visible").all_inner_texts()
    assert len(heads) == columns
    assert heads[:4] == ["method", "PSNR (dB)", "detail kept", "feature distance"]
    assert "ms / frame" in heads
    assert one.tab.get_by_text("more columns on a wider screen").is_visible() == (width == 390)
    assert one.tab.locator(".charts svg text", has_text="milliseconds per frame").is_visible()
    one.context.close()
