"""The search for flow: it meets OpenCV's refinement, and its DIS where that is right; borders and sizes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet import video
from tweenlet.flow import patch_search as module
from tweenlet.flow.dis import luma, opencv
from tweenlet.flow.patch_search import SMALLEST, densify, search, search_patches
from tweenlet.flow.variational import refine
from tweenlet.ops import dispatch
from tweenlet.ops.warp import backwarp

pytestmark = pytest.mark.usefixtures("compiled")
ELF = Path(__file__).parents[1] / "assets" / "learning-area-elf.mp4"


def texture(height: int, width: int, batch: int = 1) -> Tensor:
    """Luma (batch, height, width) with detail of several sizes, seeded."""
    sums = torch.zeros(batch, 1, height, width)
    for size in (2, 4, 8, 16):
        noise = torch.rand(batch, 1, height // size + 2, width // size + 2)
        sums += size * F.interpolate(noise, (height, width), mode="bicubic")
    return 255 * ((sums - sums.min()) / (sums.max() - sums.min()))[:, 0]


def moved(dx: int, dy: int, height: int = 120, width: int = 160, batch: int = 1) -> tuple[Tensor, Tensor]:
    """Two cuts of one texture: first's p is second's p + (dx, dy)."""
    reach = max(abs(dx), abs(dy))
    wide = texture(height + 2 * reach, width + 2 * reach, batch)
    cuts = (
        wide[:, reach - y : reach - y + height, reach - x : reach - x + width] for x, y in ((0, 0), (dx, dy))
    )
    return tuple(cut.round().contiguous() for cut in cuts)  # type: ignore[return-value]


def runaway(height: int, width: int) -> tuple[Tensor, Tensor]:
    """A picture that is nearly flat, where a step is long, and one that has nothing to do with it."""
    ramp = torch.linspace(0, 3 * width / 64, width).expand(height, width)
    return ramp + 0.02 * torch.randn(height, width), 255 * torch.rand(height, width)


@pytest.mark.parametrize("size", [(8, 8), (23, 40), (64, 9)], ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_native_code_is_the_plain_ops(
    size: tuple[int, int], threads: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        pytest.skip("nothing to compare")
    first, second = moved(2, -1, *size, batch=2)
    first[1], second[1] = runaway(*size)
    slopes = module.sobel(first)
    vectors = 3 * torch.randn(2, 2, *(1 + (side - 8) // 3 for side in size)).mT.contiguous().mT
    vectors[1, :, 0, 0] = torch.tensor([-1e3, 1e3])
    flow = torch.randn(2, 2, *size)
    flow[0, :, 0, 0] = torch.tensor([1e6, -1e6])

    def made() -> list[Tensor]:
        rounds = [module.search_round(first, second, slopes, vectors, away) for away in (8, 1)]
        return [*rounds, densify(first, second, vectors), refine(first, second, flow)]

    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    by_native_code = made()
    with dispatch.override("reference"):
        plain = made()
    for one, other in zip(by_native_code, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("contrast", [1, 0.01])
@pytest.mark.parametrize("size", [(48, 64), (33, 47), (8, 8)], ids=str)
def test_refines_as_opencv_does(size: tuple[int, int], contrast: float) -> None:
    first, second = (contrast * picture for picture in moved(3, -2, *size))
    flow = torch.tensor([2.5, -1.6]).view(1, 2, 1, 1) + 0.3 * torch.randn(1, 2, *size)
    wanted = flow[0].permute(1, 2, 0).contiguous().numpy()
    wanted = cv2.VariationalRefinement.create().calc(first[0].numpy(), second[0].numpy(), wanted.copy())
    made = refine(first, second, flow)[0].permute(1, 2, 0).numpy()
    assert np.abs(made - wanted).max() < 2e-3
    assert np.abs(made - flow[0].permute(1, 2, 0).numpy()).mean() > 0.1


def test_slopes_are_those_of_opencv() -> None:
    picture = texture(12, 17)
    wanted = [
        cv2.Sobel(picture[0].numpy(), cv2.CV_32F, dx, 1 - dx, borderType=cv2.BORDER_REFLECT_101)
        for dx in (1, 0)
    ]
    torch.testing.assert_close(
        module.sobel(picture)[0], torch.from_numpy(np.stack(wanted)) / 8, atol=1e-4, rtol=0
    )


def test_flow_between_levels_is_bilinear() -> None:
    columns = torch.arange(6.0).expand(1, 2, 5, 6)
    places = ((torch.arange(11) + 0.5) / 2 - 0.5).clamp(0, 5)
    torch.testing.assert_close(module.upsample_flow(columns, 9, 11), 2 * places.expand(1, 2, 9, 11))


def test_takes_frames_of_whole_numbers() -> None:
    first, second = moved(2, 1, 40, 48)
    flow = search(first.to(torch.uint8), second.to(torch.uint8))
    assert flow.dtype == torch.float32
    assert torch.equal(flow, search(first, second))


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, -2), (13, 7), (-24, 10)])
def test_finds_motion_as_well_as_opencv(dx: int, dy: int, device: str) -> None:
    first, second = moved(dx, dy)
    truth = torch.tensor([dx, dy]).view(1, 2, 1, 1)
    inner = (..., slice(28, -28), slice(28, -28))
    found = search(first.to(device), second.to(device)).cpu()
    ours, theirs = ((flow - truth).norm(dim=1)[inner].mean() for flow in (found, opencv(first, second)))
    assert ours < 0.4
    assert ours < theirs + 0.02


@pytest.mark.parametrize("size", [(130, 257), (97, 161), (480, 854)], ids=str)
def test_finds_motion_at_the_borders_as_well_as_opencv(size: tuple[int, int]) -> None:
    """Also on the right and below, where sides of odd lengths are halved."""
    first, second = moved(8, -5, *size)
    truth = torch.tensor([8, -5]).view(1, 2, 1, 1)
    ours, theirs = (
        [(flow - truth).norm(dim=1)[0][area].mean() for area in ((..., slice(-6, None)), (slice(-6, None),))]
        for flow in (search(first, second), opencv(first, second))
    )
    assert all(a < b for a, b in zip(ours, theirs, strict=True)), (ours, theirs)


def test_brighter_frames_fit_as_well() -> None:
    first, second = moved(5, 3)
    flow = search(0.7 * first, 0.7 * second + 60)
    assert (flow - torch.tensor([5, 3]).view(1, 2, 1, 1)).norm(dim=1)[..., 16:-16, 16:-16].mean() < 0.3


def test_real_frames_match_as_well_as_by_opencv() -> None:
    with video.read(ELF) as reader:
        frames = [
            luma(torch.from_numpy(frame.rgb()))[None] for frame, _ in zip(reader, range(9), strict=False)
        ]
    first, second = frames[0], frames[8]
    ours, theirs = search(first, second), opencv(first, second)
    assert theirs.norm(dim=1).max() > 3  # there is motion

    def misfit(flow: Tensor) -> float:
        return float((backwarp(second[:, None], flow) - first[:, None]).abs().mean())

    still = misfit(torch.zeros_like(ours))
    assert misfit(theirs) < 0.7 * still
    assert misfit(ours) < 1.03 * misfit(theirs)
    assert (ours - theirs).norm(dim=1).median() < 0.1


def test_neighbours_tell_of_motion_that_a_patch_alone_does_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disc moves further than a patch's steps reach, before a still ground; one patch knows how far."""
    first, second = moved(11, 0, 40, 64)
    start = torch.zeros(1, 2, 40, 64)
    start[..., 16:24, 28:36] = torch.tensor([11.0, 0]).view(2, 1, 1)
    told = search_patches(first, second, start)
    inner = told[..., 2:-2, 2:-6]
    assert ((inner - torch.tensor([11.0, 0]).view(2, 1, 1)).norm(dim=1) < 0.2).float().mean() > 0.95
    monkeypatch.setattr(module, "ROUNDS", (0,) * len(module.ROUNDS))
    alone = search_patches(first, second, start)[..., 2:-2, 2:-6]
    assert ((alone - torch.tensor([11.0, 0]).view(2, 1, 1)).norm(dim=1) < 0.2).float().mean() < 0.5


def test_no_vector_runs_away_from_where_it_was_told_to_begin() -> None:
    first, second = (picture[None] for picture in runaway(64, 64))
    found = torch.zeros(1, 2, 19, 19)
    slopes = module.sobel(first)
    assert module.Patches(first, second, slopes).misfit(found)[1].norm(dim=1).max() > 10 * module.PATCH
    assert module.search_round(first, second, slopes, found, 1).norm(dim=1).max() <= module.PATCH


@pytest.mark.parametrize(
    ("size", "halved"),
    [((16, 16), 1), ((16, 600), 1), ((120, 160), 2), ((480, 854), 5), ((1080, 1920), 6), ((2160, 3840), 7)],
    ids=str,
)
def test_frames_are_halved_to_a_fourth_of_a_side_or_to_a_patch(size: tuple[int, int], halved: int) -> None:
    assert module.levels(*size) == halved


@pytest.mark.parametrize("size", [(16, 16), (16, 600), (77, 53), (64, 128)], ids=str)
def test_takes_any_size_and_several_pairs(size: tuple[int, int]) -> None:
    first, second = moved(2, 1, *size, batch=3)
    flow = search(first, second)
    assert flow.shape == (3, 2, *size)
    assert flow.isfinite().all()
    for k in range(3):
        torch.testing.assert_close(search(first[k : k + 1], second[k : k + 1])[0], flow[k], atol=1e-3, rtol=0)


def test_nothing_moves_between_equal_frames_nor_in_small_or_flat_ones() -> None:
    picture = texture(50, 70)
    assert search(picture, picture).abs().max() < 1e-3
    assert not search(torch.rand(1, SMALLEST - 1, 40), torch.rand(1, SMALLEST - 1, 40)).any()
    flat = search(torch.full((1, 40, 40), 9.0), torch.full((1, 40, 40), 30.0))
    assert flat.isfinite().all()
    assert flat.abs().max() < 1e-3


@pytest.mark.parametrize("size", [(8, 8), (22, 27), (24, 25)], ids=str)
def test_each_pixel_is_a_mean_of_vectors(size: tuple[int, int]) -> None:
    first, second = moved(1, 1, *size)
    rows, columns = (1 + (side - 8) // 3 for side in size)
    same = torch.tensor([1.5, -2.0]).view(1, 2, 1, 1).expand(1, 2, rows, columns)
    torch.testing.assert_close(densify(first, second, same), same[..., :1, :1].expand(1, 2, *size))
    ramp = torch.arange(float(columns)).expand(1, 2, rows, columns)
    made = densify(torch.zeros_like(first), torch.zeros_like(second), ramp)[0, 0, 0]
    covers = [[k for k in range(columns) if 3 * k <= x < 3 * k + 8] or [columns - 1] for x in range(size[1])]
    torch.testing.assert_close(made, torch.tensor([sum(ks) / len(ks) for ks in covers]))


def test_asks_a_device_for_no_number() -> None:
    """Which a CUDA graph could not hold: it fails on tensors without data."""
    frames = torch.empty(2, 40, 72, device="meta")
    assert search(frames, frames).shape == (2, 2, 40, 72)
