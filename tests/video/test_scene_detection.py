"""Repeats and cuts, on twelve kinds of footage whose cuts and repeats are known, as x264 leaves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tweenlet import video
from tweenlet.interpolation.keyframes import KeyFrames, SourceFrame
from tweenlet.video import scene_detection

HEIGHT, WIDTH = 144, 256
Picture = np.ndarray


@dataclass
class Footage:
    """Pictures (3, H, W) in [0, 1], which of them repeat the one before, and which begin a scene."""

    pictures: list[Picture]
    repeats: set[int]
    cuts: set[int]
    quality: int = 23
    """Of x264 (crf): lower is better."""


def texture(seed: int, grey: bool = False) -> Picture:
    """A wide picture with detail of all sizes, as photographs have it."""
    random = torch.Generator().manual_seed(seed)
    layers = []
    for grain in (4, 12, 40):
        noise = torch.rand(1, 1 if grey else 3, 220 // grain + 2, 400 // grain + 2, generator=random)
        wide = F.interpolate(noise, (220, 400), mode="bicubic", align_corners=False)[0]
        layers.append((wide - wide.mean()) * grain**0.5)
    total = sum(layers)
    total = 0.5 + 0.22 * (total - total.mean()) / total.std()
    return total.expand(3, -1, -1).clamp(0, 1).numpy()


def pan(scene: Picture, steps: list[float]) -> list[Picture]:
    """A window that moves over a picture, by so many pixels in all."""
    return [window(scene, 60 + step) for step in steps]


def window(scene: Picture, left: float, zoom: float = 1) -> Picture:
    """A part of a picture, moved by fractions of pixels and enlarged about its middle."""
    rows = (torch.arange(HEIGHT) - HEIGHT / 2) / zoom + 110
    columns = (torch.arange(WIDTH) - WIDTH / 2) / zoom + left + WIDTH / 2
    y, x = torch.meshgrid(2 * rows / 219 - 1, 2 * columns / 399 - 1, indexing="ij")
    grid = torch.stack([x, y], -1)[None].float()
    picture = F.grid_sample(torch.from_numpy(scene)[None].float(), grid, "bilinear", "border", True)
    return picture[0].numpy()


def shots(*scenes: list[Picture]) -> Footage:
    starts = np.cumsum([len(scene) for scene in scenes])[:-1]
    return Footage([picture for scene in scenes for picture in scene], set(), {int(s) for s in starts})


def held(footage: Footage, counts: list[int]) -> Footage:
    """The pictures, each shown so many times."""
    pictures: list[Picture] = []
    repeats, cuts = set(), set()
    for number, (picture, count) in enumerate(zip(footage.pictures, counts, strict=True)):
        cuts |= {len(pictures)} if number in footage.cuts else set()
        repeats |= set(range(len(pictures) + 1, len(pictures) + count))
        pictures += [picture] * count
    return Footage(pictures, repeats, cuts)


def drawing(seed: int, place: float) -> Picture:
    """Flat colours with outlines: a figure before a still background."""
    colours = np.random.default_rng(seed).uniform(0.2, 0.9, (4, 3, 1, 1)).astype(np.float32)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    picture = np.where(y > 90, colours[0], colours[1]) + 0 * x
    for k, radius in enumerate((30, 14)):
        away = np.hypot(x - 60 - place - 8 * k, y - 70 + 25 * k)
        picture = np.where(away < radius, colours[2 + k], picture)
        picture = np.where(np.abs(away - radius) < 1.5, np.float32(0.08), picture)
    return picture.astype(np.float32)


def drawn(n: int = 7) -> Footage:
    """Three shots of drawings that move by seven pixels from one to the next."""
    return shots(*([drawing(seed, 7.0 * k) for k in range(n)] for seed in (3, 4, 5)))


def screen(places: list[int], page: int) -> list[Picture]:
    """A window that is dragged over a page of text."""
    pictures = []
    lengths = np.random.default_rng(page).integers(30, 230, HEIGHT // 10 + 1)[np.arange(HEIGHT) // 10]
    lines = np.arange(WIDTH) < lengths[:, None]
    for place in places:
        picture = np.full((3, HEIGHT, WIDTH), 0.95, np.float32)
        text = lines & (np.arange(HEIGHT) % 10 < 5)[:, None]
        picture[:, text] = 0.35
        picture[:, 40:100, place : place + 60] = np.array([0.2, 0.4, 0.9], np.float32)[:, None, None]
        pictures.append(picture)
    return pictures


def moves(n: int, step: float) -> list[float]:
    return [step * k for k in range(n)]


def frozen() -> Footage:
    counts = [1] * 24
    counts[8], counts[15] = 10, 5
    return held(shots(pan(texture(1), moves(24, 2.5))), counts)


def recording() -> Footage:
    drag = screen([20, 20, 30, 42, 56, 56, 70, 84], 1)
    footage = held(shots(drag, screen([84, 90, 100], 2)), [6, 1, 1, 1, 1, 9, 1, 4, 8, 1, 3])
    footage.quality = 17  # text of five pixels
    footage.repeats |= {6, 10}  # where the window stands though a new frame is drawn
    return footage


def zoomed() -> Footage:
    """A shot, and at once the same scene nearer, and back."""
    scene, left = texture(8), [60 + 0.7 * k for k in range(24)]
    zooms = [1.0] * 8 + [1.35] * 8 + [1.0] * 8
    return Footage([window(scene, x, z) for x, z in zip(left, zooms, strict=True)], set(), {8, 16})


def dissolved() -> Footage:
    one, other = (pan(texture(seed), moves(24, 2)) for seed in (9, 10))
    shares = np.clip((np.arange(24, dtype=np.float32) - 6) / 12, 0, 1)
    return Footage([(1 - w) * a + w * b for a, b, w in zip(one, other, shares, strict=True)], set(), set())


def flashed() -> Footage:
    pictures = pan(texture(11), moves(20, 3))
    for k in (6, 13):
        pictures[k] = 0.45 * pictures[k] + 0.55
    return Footage(pictures, set(), set())


def levelled(seed: int) -> Picture:
    """A picture of the same lightness everywhere: only its colours differ."""
    scene = texture(seed)
    return scene + 0.5 - np.tensordot([0.299, 0.587, 0.114], scene, 1)[None].astype(np.float32)


KINDS: dict[str, Callable[[], Footage]] = {
    "drawings on ones": drawn,
    "drawings on twos": lambda: held(drawn(), [2] * 21),
    "drawings on threes": lambda: held(drawn(), [3] * 21),
    "film in video (every fourth twice)": lambda: held(
        shots(pan(texture(1), moves(12, 3)), pan(texture(2), moves(12, -3))), [1, 1, 1, 2] * 6
    ),
    "a stream that froze": frozen,
    "a screen recording": recording,
    "similar brightness": lambda: shots(*(pan(levelled(seed), moves(9, 2)) for seed in (3, 4, 5))),
    "dark scenes": lambda: shots(
        *([0.08 * picture for picture in pan(texture(seed), moves(9, 2))] for seed in (5, 6, 7))
    ),
    "punch-in zooms": zoomed,
    "scenes of one frame": lambda: shots(
        pan(texture(12), moves(6, 2)), *([texture(s)[:, :HEIGHT, :WIDTH]] for s in range(13, 18)),
        pan(texture(18), moves(6, 2)),
    ),
    "a shaking camera": lambda: Footage(
        pan(texture(19), [12 * float(np.sin(2.1 * k)) for k in range(24)]), set(), set()
    ),
    "dissolves": dissolved,
    "flashes": flashed,
}  # fmt: skip


def encoded(footage: Footage, path: Path) -> Iterator[SourceFrame[int]]:
    """The footage as x264 leaves it."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", 24, {"crf": str(footage.quality), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in footage.pictures:
            pixels = np.ascontiguousarray(
                (picture.transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)
            )
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode(None))
    with video.read(path) as reader:
        for number, frame in enumerate(reader):
            yield SourceFrame(number, torch.from_numpy(frame.rgb()), frame.time, frame.duration)


def find(footage: Footage, path: Path) -> tuple[set[int], set[int]]:
    """The repeats and the cuts that are found."""
    keys: KeyFrames[int] = KeyFrames(encoded(footage, path))
    index, repeats, cuts = 0, set(), set()
    while keys.has(index + 1):
        key = keys.key_of(index)
        if keys.key_of(index + 1) == key:
            repeats.add(index + 1)
        elif keys.is_cut(key):
            cuts.add(index + 1)
        index += 1
        keys.forget(index, key - 3)
    return repeats, cuts


@pytest.mark.parametrize("kind", KINDS)
def test_cuts_and_repeats_are_found(kind: str, tmp_path: Path) -> None:
    """Every cut, and nothing but cuts; of repeats three in four, for encoders refine a still."""
    footage = KINDS[kind]()
    repeats, cuts = find(footage, tmp_path / "clip.mp4")
    for name, detected, true in (("repeats", repeats, footage.repeats), ("cuts", cuts, footage.cuts)):
        right = len(detected & true)
        precision, recall = right / max(len(detected), 1), right / max(len(true), 1)
        print(
            f"{kind}: {name}: precision {precision:.2f} ({len(detected)}), recall {recall:.2f} ({len(true)})"
        )
        wrong = f"{name}: false {sorted(detected - true)}, missed {sorted(true - detected)}"
        assert not detected - true, wrong
        assert right >= (1.0 if name == "cuts" else 0.75) * len(true), wrong


def test_thumbnails_and_fingerprints_of_any_size_can_be_compared() -> None:
    for size in ((16, 16), (18, 32), (37, 501)):
        picture = torch.rand(3, *size)
        assert scene_detection.thumbnail(picture).shape == (3, *scene_detection.SMALL)
        one, other = (scene_detection.fingerprint(p) for p in (picture, picture.flip(2)))
        assert scene_detection.difference(one, one) == 0
        assert scene_detection.difference(one, other) > 0.1
        for look in (scene_detection.thumbnail, scene_detection.fingerprint):
            np.testing.assert_allclose(look(picture.numpy()), look(picture), atol=1e-6)


def test_movement_that_begins_or_that_two_frames_alone_show_is_no_cut() -> None:
    """Steps by parts of a pixel of a thumbnail, which is four of these, are explained by no whole one."""
    scene = texture(20)
    first, second = (scene_detection.thumbnail(window(scene, left)) for left in (60, 60.5))
    slow = scene_detection.change(first, second)
    for step in np.arange(0.5, 16, 0.5):
        moved = scene_detection.change(second, scene_detection.thumbnail(window(scene, 60.5 + step)))
        assert not scene_detection.is_cut(moved, None, None), step
        assert not scene_detection.is_cut(moved, slow, None), step
    for other in (texture(21), scene[:, ::-1], scene[:, :, ::-1]):
        cut = scene_detection.change(second, scene_detection.thumbnail(window(other.copy(), 60)))
        assert scene_detection.is_cut(cut, None, None)
        assert scene_detection.is_cut(cut, slow, None)


def test_slow_movement_is_no_repeat_for_long() -> None:
    """Steps too small to tell add up: a slow pan is followed, a fade too."""
    pictures = pan(texture(1), moves(40, 0.05))
    source = (SourceFrame(i, torch.from_numpy(p), Fraction(i), Fraction(1)) for i, p in enumerate(pictures))
    keys: KeyFrames[int] = KeyFrames(source)
    assert keys.key_of(39) >= 10
