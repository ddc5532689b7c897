"""The page end to end: in a real Chromium, and what the server refuses."""

from __future__ import annotations

import json
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tweenlet import video
from tweenlet.network import checkpoint as weights

pytestmark = [pytest.mark.long, pytest.mark.optional]
pytest.importorskip("starlette", reason="the extra app is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra app is not installed")
GATE = threading.Event()


class Blend(nn.Module):
    """Waits for the gate where it is shut."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        assert GATE.wait(60)
        return (frames[:, 1] + frames[:, 2]) / 2


def clip(path: Path, count: int = 12) -> Path:
    """Drawings on twos, with a cut."""
    x, y = np.meshgrid(np.arange(160), np.arange(96))
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", 12, {"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(count):
            wave = np.sin((x + 4 * (number // 2)) / 9) * np.cos(y / 11)
            if number >= 6:
                wave = np.sign(np.sin(y / 6 + number // 2) * np.cos(x / 19))
            picture = np.repeat((128 + 90 * wave).astype(np.uint8)[..., None], 3, 2)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return path


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page, served with small limits."""
    from tweenlet.app.server import Server

    monkeypatch.setattr(weights, "load", lambda name, device="cpu": Blend())
    GATE.set()
    folder = tmp_path / "served"
    folder.mkdir()
    application = Server(folder, max_bytes=400_000, device="cpu").application
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    GATE.set()
    server.should_exit = True
    thread.join()


@pytest.fixture
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program)


def open_page(browser, address: str, size: tuple[int, int] = (1280, 900)):
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.set_default_timeout(60_000)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    return page, requests, errors


def until(page, expression: str) -> None:
    """Wait for what is true on the page, whose policy forbids that it evaluates text itself."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(expression)


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_a_video_is_dropped_made_compared_and_kept(browser, address, tmp_path, size) -> None:
    page, requests, errors = open_page(browser, address, size)
    page.set_input_files("#file", str(clip(tmp_path / "held.mp4")))
    page.wait_for_selector("#choose:not([hidden])")
    facts = page.inner_text("#facts")
    assert "160 × 96, h264" in facts
    assert "6 frames repeat the one before" in facts
    assert "1, at 0:01" in facts
    assert page.input_value("#repeats") == "smooth"
    page.select_option("#rate", "factor:4")
    page.click("#start")
    page.wait_for_selector("#done:not([hidden])")
    assert not page.is_visible("#running")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("s => { $('slider').value = s; $('slider').oninput(); }", 25)
    assert page.evaluate("$('stage').style.getPropertyValue('--at')") == "25%"
    until(page, "[...document.querySelectorAll('video')].every(v => v.readyState >= 2)")
    page.click("#play")
    until(page, "document.querySelector('video').currentTime > 0.3")
    gap = page.evaluate(
        "(([a, b]) => Math.abs(a.currentTime - b.currentTime))([...document.querySelectorAll('video')])"
    )
    assert gap < 0.25
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "held.tweenlet.mp4"
    download.value.save_as(tmp_path / "kept.mp4")
    with video.read(tmp_path / "kept.mp4") as reader:
        assert sum(1 for _ in reader) == 45
    page.screenshot(path=tmp_path / f"page-{size[0]}.png")
    assert not errors
    assert all(url.startswith((address, "data:", "blob:")) for url in requests)


def test_it_can_be_watched_and_cancelled(browser, address, tmp_path) -> None:
    page, _, errors = open_page(browser, address)
    page.set_input_files("#file", str(clip(tmp_path / "held.mp4")))
    page.wait_for_selector("#choose:not([hidden])")
    GATE.clear()
    page.click("#start")
    page.wait_for_selector("#preview:not([hidden])")
    assert " of " in page.inner_text("#status")
    page.click("#cancel")
    GATE.set()
    page.wait_for_selector("#trouble:not([hidden])")
    assert page.inner_text("#trouble") == "cancelled"
    page.click("#start")
    page.wait_for_selector("#done:not([hidden])")
    assert not errors


def test_two_pictures_get_the_one_between(browser, address, tmp_path) -> None:
    for name, value in (("a.png", 100), ("b.png", 120)):
        Image.fromarray(np.full((48, 64, 3), value, np.uint8)).save(tmp_path / name)
    page, _, errors = open_page(browser, address)
    page.set_input_files("#file", [str(tmp_path / "a.png"), str(tmp_path / "b.png")])
    page.wait_for_selector("#choose:not([hidden])")
    page.click("#start")
    page.wait_for_selector("#done:not([hidden])")
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "between.png")
    assert abs(np.asarray(Image.open(tmp_path / "between.png"), float).mean() - 110) < 1.5
    assert not errors


def test_what_is_no_video_is_said(browser, address, tmp_path) -> None:
    (tmp_path / "notes.mp4").write_text("Buy milk. " * 50)
    page, _, _ = open_page(browser, address)
    page.set_input_files("#file", str(tmp_path / "notes.mp4"))
    page.wait_for_selector("#trouble:not([hidden])")
    assert "is not a video" in page.inner_text("#trouble")


def send(url: str, method: str, data: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read()).get("message", "")
    except urllib.error.HTTPError as error:
        body = error.read().decode()
        return error.code, json.loads(body)["message"] if body.startswith("{") else body


def test_others_are_refused_and_limits_hold(address: str, tmp_path: Path) -> None:
    proof = {"X-Tweenlet": "1"}
    assert send(f"{address}upload?name=a.mp4", "PUT", b"x")[0] == 403
    assert send(f"{address}upload?name=a.mp4", "PUT", b"x", {**proof, "Host": "evil.example"})[0] == 400
    assert send(f"{address}upload?name=", "PUT", b"x", proof)[0] == 400
    code, message = send(f"{address}upload?name=a.mp4", "PUT", bytes(500_000), proof)
    assert (code, message) == (400, "a.mp4 is larger than 0.4 MB")
    assert not list((tmp_path / "served").rglob("source*"))
    assert send(f"{address}jobs/none", "GET")[0] == 404
    assert send(f"{address}jobs/none/start", "POST", b"{}", proof)[0] == 404
    assert send(f"{address}upload?name=..%2F..%2Fetc%2Fpasswd", "PUT", b"x", proof)[0] == 200
    assert {path.name for path in (tmp_path / "served").rglob("source*")} == {"source0"}


def test_only_some_options_are_taken() -> None:
    from tweenlet.app.jobs import read_options

    assert read_options({"fps": 60, "cuts": True}) == {"fps": 60, "cuts": True}
    for wrong in ({"model": "x"}, {"factor": 1000}, {"fps": "fast"}, []):
        with pytest.raises(ValueError, match=r"expected|Invalid"):
            read_options(wrong)
