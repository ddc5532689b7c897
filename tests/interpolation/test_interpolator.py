"""The Interpolator, with small stand-ins for the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.network.test_stmfnet import FOUR_FRAMES
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.interpolation.keyframes import SourceFrame
from tweenlet.interpolation.pictures import Picture, clamp
from tweenlet.interpolation.tiling import padded
from tweenlet.interpolation.timeline import Timeline
from tweenlet.interpolation.timing import OutputTiming
from tweenlet.network.stmfnet import STMFNet


class Mixture(nn.Module):
    """A network's stand-in that depends on all four frames, and on their order."""

    stride = 16

    def __init__(self) -> None:
        super().__init__()
        self.shares = nn.Parameter(torch.tensor([-0.15, 0.55, 0.7, -0.1]))
        self.calls = 0

    def forward(self, frames: Tensor) -> Tensor:
        assert frames.shape[:3] == (1, 4, 3)
        assert frames.shape[3] % self.stride == frames.shape[4] % self.stride == 0
        self.calls += 1
        return torch.einsum("btchw,t->bchw", frames, self.shares)


class Stubborn(Mixture):
    """Answers every window with far too much light."""

    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames) * 0 + 7


def drifting(n: int, height: int = 24, width: int = 40, seed: int = 0) -> list[np.ndarray]:
    """A scene of smooth texture that drifts a little every frame."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 3, 6, 8), dtype=np.float32))
    wide = nn.functional.interpolate(coarse, (height, width + n), mode="bilinear")[0].numpy()
    return [np.ascontiguousarray(wide[:, :, i : i + width]) for i in range(n)]


def timeline_of(frames: list[np.ndarray], timing: OutputTiming, **options: object) -> Timeline[int]:
    """The frames, one a second, through a stand-in for the network."""
    source = [SourceFrame(i, torch.from_numpy(f), Fraction(i), Fraction(1)) for i, f in enumerate(frames)]
    return Timeline(source, Interpolator(Mixture()), timing, **options)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_factor_is_the_doubled_stream_doubled_again(n: int, factor: int) -> None:
    interpolator = Interpolator(Mixture())
    frames = drifting(n)
    again: list[np.ndarray] = frames
    for _ in range(factor.bit_length() - 1):
        again = list(interpolator(again, repeats="ignore"))
    at_once = list(interpolator(frames, factor, repeats="ignore"))
    assert len(at_once) == (n - 1) * factor + 1
    for a, b in zip(at_once, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_real_frames_go_out_as_they_came_and_none_is_made_twice() -> None:
    model = Mixture()
    frames = drifting(6)
    dense = list(Interpolator(model)(frames, 4))
    for a, b in zip(dense[::4], frames, strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.calls == len(dense) - len(frames)
    assert all(not np.array_equal(a, b) for a, b in pairwise(dense))


def test_the_outer_frame_stands_for_those_beyond_the_end() -> None:
    interpolator = Interpolator(Mixture())
    a, b, c = (torch.from_numpy(f) for f in drifting(3))
    _, first, _, last, _ = interpolator([a, b, c])
    assert torch.equal(first, interpolator.middle([a, a, b, c]).clamp(0, 1))
    assert torch.equal(last, interpolator.middle([a, b, c, c]).clamp(0, 1))


@pytest.mark.parametrize("frames", [0, 1])
def test_nothing_can_be_put_between_no_frames_or_one(frames: int) -> None:
    assert len(list(Interpolator(Mixture())(drifting(frames)))) == frames


def test_memory_does_not_grow_with_the_stream() -> None:
    def held(n: int) -> int:
        timeline = timeline_of(drifting(n, 16, 16), OutputTiming(8))
        most = max(len(timeline) for _ in timeline)
        assert timeline.made == (n - 1) * 7
        return most

    assert held(12) == held(30) <= 9 + 3 * 3


def test_frames_are_taken_only_as_they_are_needed() -> None:
    taken = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal taken
        for frame in drifting(40):
            taken += 1
            yield frame

    dense = Interpolator(Mixture())(source(), 4)
    for _ in range(9):
        next(dense)
    assert taken <= 3 + 6


def test_only_what_is_shown_is_made() -> None:
    timeline = timeline_of(drifting(11), OutputTiming(fps=Fraction(2, 5)))
    assert [shown.time for shown in timeline] == [0, Fraction(5, 2), 5, Fraction(15, 2), 10]
    assert timeline.made == 2


def test_a_cut_repeats_the_nearer_frame_and_no_window_reaches_across() -> None:
    dark = [f * 0.2 for f in drifting(4, seed=1)]
    light = [1 - 0.3 * f for f in drifting(4, seed=2)]
    frames = dark + light
    interpolator = Interpolator(Mixture())
    dense = list(interpolator(frames, 4))
    for place, shown in ((13, 3), (14, 3), (15, 4)):
        np.testing.assert_array_equal(dense[place], frames[shown])
    for frame, alone in zip(
        dense[:13] + dense[16:], [*interpolator(dark, 4), *interpolator(light, 4)], strict=True
    ):
        np.testing.assert_array_equal(frame, alone)
    assert np.abs(list(interpolator(frames, 2, cuts=False))[7] - frames[3]).max() > 0.2


@pytest.mark.parametrize(("height", "width"), [*product((16, 17, 31, 33), repeat=2), (16, 200), (120, 64)])
@pytest.mark.parametrize("pad_to", [None, 128])
def test_any_size_is_padded_right_and_down_and_cropped(height: int, width: int, pad_to: int | None) -> None:
    frames = [torch.rand(3, height, width) for _ in range(4)]
    made = Interpolator(Mixture(), pad_to=pad_to).middle(frames)
    assert made.shape == (3, height, width)
    assert torch.allclose(made, torch.einsum("tchw,t->chw", torch.stack(frames), Mixture().shares), atol=1e-6)


def test_padding_mirrors_where_it_can_and_repeats_where_it_cannot() -> None:
    wide = torch.arange(20.0).expand(1, 3, 20)
    grown = padded(wide, 16)
    assert grown.shape == (1, 16, 32)
    assert grown[0, 0, 20:].tolist() == [18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7]  # width: mirrored
    assert grown[0, 3:, 0].tolist() == [0] * 13  # height: 13 rows cannot be mirrored from 3
    assert padded(wide, 1) is wide


def test_made_frames_are_clamped_in_a_stream_only() -> None:
    frames = drifting(4)
    interpolator = Interpolator(Stubborn())
    assert all(f.min() >= 0 and f.max() <= 1 for f in interpolator(frames))
    assert interpolator.middle([torch.from_numpy(f) for f in frames]).max() == 7


def test_frames_come_back_as_the_kind_they_were() -> None:
    interpolator = Interpolator(Mixture())
    for kind in (np.float32, np.float64):
        assert [f.dtype for f in interpolator(f.astype(kind) for f in drifting(3))] == [kind] * 5
    for torch_kind in (torch.float32, torch.bfloat16):
        made = list(interpolator([torch.from_numpy(f).to(torch_kind) for f in drifting(3)]))
        assert [f.dtype for f in made] == [torch_kind] * 5
        assert not any(f.is_inference() for f in made)


def test_the_model_is_in_evaluation_mode_and_half_precision_is_near() -> None:
    model = Mixture().train()
    frames = drifting(2)
    exact = list(Interpolator(model)(frames))[1]
    assert not model.training
    rough = list(Interpolator(model, dtype="bfloat16")(frames))[1]
    assert rough.dtype == np.float32
    np.testing.assert_allclose(rough, exact, atol=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: list(i(drifting(3), 1)), "expected a factor of 2 or more, a whole number, got 1"),
        (lambda i: list(i(drifting(3), 9)), "max_recursion 3 gives 8 times as many frames at most, 9 times"),
        (lambda i: list(i([f[0] for f in drifting(3)])), r"expected float frames \(3, H, W\)"),
        (
            lambda i: list(i([(f * 255).astype(np.uint8) for f in drifting(3)])),
            r"got uint8: convert them, as in frame.astype",
        ),
        (lambda i: list(i([[0.0], [1.0]])), "got list"),
        (lambda i: list(i([f.transpose(1, 2, 0) for f in drifting(3)])), "move the channels to the front"),
        (lambda i: list(i([f * 255 for f in drifting(3)])), r"got values from .* frame 0: scale them"),
        (
            lambda i: list(i([*drifting(2), drifting(1)[0] * np.nan])),
            "frame 2 holds NaN or infinite",
        ),
        (lambda i: list(i([torch.full((3, 16, 16), torch.inf)])), "frame 0 holds NaN or infinite values"),
        (lambda i: i.middle([torch.full((3, 16, 16), torch.nan)] * 4), "frame 0 holds NaN"),
        (lambda i: i.middle([torch.rand(3, 16, 16)] * 3 + [torch.rand(3, 16, 18)]), "frame 3 is 18x16"),
        (
            lambda i: list(i(drifting(3), repeats="never")),
            "expected repeats to be one of keep, smooth",
        ),
        (
            lambda i: list(i([*drifting(3), *drifting(2, 24, 32)])),
            "frame 3 is 32x24, the frames before it are 40x24: resize or crop all to one",
        ),
        (lambda i: i.middle([torch.rand(3, 16, 16)] * 3), "expected four frames, got 3"),
        (
            lambda i: i.middle([np.zeros((3, 16, 16), np.float32)] * 4),
            r"expected tensors \(3, H, W\), got ndarray",
        ),
        (lambda i: Interpolator(i.model, pad_to=40), "multiple of the model's stride 16, got 40"),
        (lambda i: Interpolator(i.model, dtype=torch.float64), "float64"),
        (lambda i: Interpolator(i.model, dtype="float8"), "got 'float8'"),
    ],
)
def test_what_cannot_be_is_refused_in_words(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(Interpolator(Mixture()))


def test_a_name_is_not_a_network() -> None:
    with pytest.raises(
        TypeError, match=r"expected a network, such as tweenlet.load\('default'\), got 'mini'"
    ):
        Interpolator("mini")


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_a_source_may_use_one_buffer_for_all_frames(kind) -> None:
    torch.manual_seed(0)
    interpolator, frames = Interpolator(STMFNet(FOUR_FRAMES)), drifting(6, 48, 64)

    def reused() -> Iterator[np.ndarray]:
        buffer = np.empty_like(frames[0])
        for frame in frames:
            buffer[:] = frame
            yield kind(buffer)

    for a, b in zip(interpolator(frames), list(interpolator(reused())), strict=True):
        np.testing.assert_array_equal(a, np.asarray(b))


def test_one_interpolator_serves_two_threads() -> None:
    torch.manual_seed(0)
    interpolator = Interpolator(STMFNet(FOUR_FRAMES))
    streams = [drifting(5, 48, 64, seed) for seed in (1, 2)]
    alone = [list(interpolator(stream)) for stream in streams]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            for one, other in zip(alone, pool.map(lambda s: list(interpolator(s)), streams), strict=True):
                for a, b in zip(one, other, strict=True):
                    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_made_frames_reach_beyond_0_and_1_only_as_far_as_the_frames_around_them(
    kind: Callable[..., Picture],
) -> None:
    values = [-0.5, -0.1, 0.5, 1.1, 1.5]
    inside, outside = kind([[[0.5] * 5]] * 3), kind([[[-0.2, 0, 0, 0, 1.3]]] * 3)
    assert clamp(kind([[values]] * 3), [inside, inside])[0, 0].tolist() == [0, 0, 0.5, 1, 1]
    made = kind([[values]] * 3)
    assert clamp(made, [inside, outside]) is made
    assert made[0, 0].tolist() == pytest.approx([-0.2, -0.1, 0.5, 1.1, 1.3])
