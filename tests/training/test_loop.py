from __future__ import annotations

import errno
import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

from tweenlet.network import checkpoint as weights
from tweenlet.network.config import TINY
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import BatchSampler
from tweenlet.training.loop import read_log, train, validate
from tweenlet.training.losses import combine_losses
from tweenlet.training.options import TrainOptions
from tweenlet.training.state import DivergedError

OPTIONS = TrainOptions(
    steps=6,
    learning_rate=1e-3,
    warmup=2,
    log_every=1,
    validate_every=2,
    save_every=2,
    loss={"laplacian": 1.0, "psnr": 0.1},
)


def tiny():
    torch.manual_seed(0)
    return STMFNet(TINY)


def batches(samples):
    return BatchSampler(samples, batch_size=2, crop=32, seed=1)


def state_of(folder):
    return torch.load(folder / "state.pt", weights_only=True)


def assert_same(a, b):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


@pytest.fixture
def few(samples):
    samples.frames, samples.sources = (
        samples.frames[:4],
        samples.sources[:4],
    )
    return samples


def lines(folder):
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in entry.items() if k not in ("seconds", "samples_per_second")} for entry in entries
    ]


class KilledError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.long)])
def test_a_killed_run_goes_on_to_the_bit(few, tmp_path, precision):
    options = replace(OPTIONS, precision=precision)
    whole = train(tiny(), batches(few), few, options, tmp_path / "whole")

    def kill(info):
        if info.step == 5:
            raise KilledError

    with pytest.raises(KilledError):
        train(tiny(), batches(few), few, options, tmp_path / "parts", kill)
    assert state_of(tmp_path / "parts")["step"] == 4
    model = tiny()
    torch.manual_seed(99)
    parts = train(model, batches(few), few, options, tmp_path / "parts")
    one, two = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    for varying in ("seconds",):
        one.pop(varying), two.pop(varying)
    assert_same(one, two)
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")
    assert whole.psnr == parts.psnr
    assert whole.stopped == parts.stopped == "finished"
    again = train(tiny(), batches(few), few, options, tmp_path / "whole")
    assert again.step == 6
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")


def test_a_state_with_entries_of_earlier_names_goes_on(samples, tmp_path):
    whole = train(Plain(), batches(samples), None, OPTIONS, tmp_path / "whole")

    def kill(info):
        if info.step == 5:
            raise KilledError

    with pytest.raises(KilledError):
        train(Plain(), batches(samples), None, OPTIONS, tmp_path / "parts", kill)
    state = state_of(tmp_path / "parts")
    state |= {"usual_loss": state.pop("running_loss"), "averaged": state.pop("ema")}
    torch.save(state, tmp_path / "parts" / "state.pt")
    parts = train(Plain(), batches(samples), None, OPTIONS, tmp_path / "parts")
    assert_same(whole.model.state_dict(), parts.model.state_dict())
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")


class Plain(nn.Module):
    """A little of everything that is trained: convolutions and batch norm."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = nn.Conv2d(12, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1)
        self.layers = nn.Sequential(*layers)

    def forward(self, frames):
        return self.layers(frames.flatten(1, 2))


def test_a_step_is_scheduled_clipped_and_averaged(samples, tmp_path):
    options = replace(OPTIONS, max_grad_norm=0.1, weight_decay=0.1, freeze_bn_after=1.0)
    train(Plain(), batches(samples), None, options, tmp_path)
    model, averaged = Plain(), Plain()
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    for step in range(options.steps):
        batch = batches(samples).batch_at(step)
        loss, _ = combine_losses(options.loss)(model(batch.frames), batch.truth)
        optimiser.zero_grad()
        loss.backward()
        assert nn.utils.clip_grad_norm_(model.parameters(), 0.1) > 0.2
        optimiser.param_groups[0]["lr"] = options.rate_at(step)
        optimiser.step()
        with torch.no_grad():
            there = model.state_dict()
            for name, mean in averaged.state_dict().items():  # running statistics as well
                if mean.is_floating_point():
                    mean.lerp_(there[name], 9 / (11 + step))  # quick at first, slow in the end
                else:
                    mean.copy_(there[name])
    for name, wanted in (("model", model), ("ema", averaged)):
        torch.testing.assert_close(state_of(tmp_path)[name], dict(wanted.state_dict()))


def test_norms_settle_to_the_mean_of_their_statistics(samples, tmp_path):
    options = replace(OPTIONS, steps=10, freeze_bn_after=0.6, learning_rate=0.0, ema_decay=0.9)
    model = Plain()
    seen = []
    model.layers[0].register_forward_hook(lambda _m, _i, out: seen.append(out.mean((0, 2, 3)).detach()))
    done = train(model, batches(samples), None, options, tmp_path)
    norm = done.model.layers[1]
    torch.testing.assert_close(norm.running_mean, torch.stack(seen[:6]).mean(0))
    assert norm.num_batches_tracked == 6
    assert not model.layers[1].training
    with torch.no_grad():  # what it learnt with at last is what it is used with
        frames = batches(samples).batch_at(9).frames
        torch.testing.assert_close(model(frames), done.model(frames))


@pytest.mark.slow
def test_what_is_exported_is_what_was_validated(few, tmp_path):
    result = train(tiny(), batches(few), few, OPTIONS, tmp_path)
    loaded = weights.load(tmp_path / "model.safetensors")
    assert loaded.config == TINY
    assert validate(loaded, few) == pytest.approx(result.psnr)
    assert result.blend_psnr == pytest.approx(lines(tmp_path)[-1]["blend_psnr"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_before_leaving(samples, tmp_path, number):
    def interrupt(info):
        if info.step == 3:
            os.kill(os.getpid(), number)

    before = signal.signal(number, signal.default_int_handler)  # in the background a shell has some ignored
    try:
        result = train(tiny(), batches(samples), None, OPTIONS, tmp_path, interrupt)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert (result.step, result.stopped, result.psnr) == (3, "interrupted", None)
    assert state_of(tmp_path)["step"] == 3


@pytest.mark.slow
def test_minutes_count_over_sessions(samples, tmp_path):
    options = replace(OPTIONS, minutes=1e-9)
    first = train(tiny(), batches(samples), None, options, tmp_path)
    second = train(tiny(), batches(samples), None, options, tmp_path)
    assert (first.step, second.step) == (1, 2)
    assert (first.stopped, second.stopped) == ("minutes", "minutes")
    assert second.seconds > first.seconds


class Fragile(nn.Module):
    """Learns nothing, and breaks at one call: what it says is too much by a factor."""

    def __init__(self, break_at, factor):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.break_at, self.factor = break_at, factor
        self.calls = 0

    def forward(self, frames):
        self.calls += 1
        factor = self.factor if self.calls == self.break_at else 1.0
        return frames[:, 1:3].mean(1) * self.scale * factor


def test_a_state_is_kept_whole(samples, tmp_path, monkeypatch):
    train(Fragile(0, 1.0), batches(samples), None, replace(OPTIONS, steps=2), tmp_path)

    errors = [OSError("no space left"), RuntimeError("no space left")]

    def run_out_of_disk(state, file):
        file.write(b"half")
        raise errors.pop()

    monkeypatch.setattr(torch, "save", run_out_of_disk)
    while errors:
        with pytest.raises(OSError, match="no space"):
            train(Fragile(0, 1.0), batches(samples), None, replace(OPTIONS, steps=4), tmp_path)
        assert state_of(tmp_path)["step"] == 2


@pytest.mark.slow
def test_a_state_takes_its_room_first(samples, tmp_path, monkeypatch):
    train(tiny(), batches(samples), None, replace(OPTIONS, steps=2), tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    monkeypatch.setattr("tweenlet.runtime.disk_space.check_disk_space", lambda *_: None)
    took = []
    monkeypatch.setattr(os, "posix_fallocate", lambda handle, start, size: took.append(size))
    train(tiny(), batches(samples), None, replace(OPTIONS, steps=3), tmp_path)
    assert all(len(before) <= size <= len(before) + 2**20 for size in took)
    before = (tmp_path / "state.pt").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"cannot allocate .* MB for .*state.*: No space left on device"):
        train(tiny(), batches(samples), None, replace(OPTIONS, steps=4), tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


@pytest.mark.slow
def test_two_runs_cannot_train_in_one_folder(samples, tmp_path):
    messages = []

    def second(info):
        with pytest.raises(BlockingIOError, match="another run is writing into"):
            train(tiny(), batches(samples), None, OPTIONS, tmp_path)
        messages.append(info)

    train(tiny(), batches(samples), None, replace(OPTIONS, steps=1), tmp_path, second)
    assert messages
    train(tiny(), batches(samples), None, replace(OPTIONS, steps=2), tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "log.jsonl", "state.pt"])
def test_files_of_other_programs_are_left_as_they_are(samples, tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises((FileExistsError, ValueError), match=name):
        train(tiny(), batches(samples), None, OPTIONS, tmp_path)
    assert (tmp_path / name).read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} <= {"samples", name, ".tweenlet"}


DAMAGES = {
    "cut": lambda state: None,
    "no step": lambda state: state.pop("step"),
    "a step that is text": lambda state: state.update(step="three"),
    "no model": lambda state: state.update(model={}),
    "another optimiser": lambda state: state["optimiser"]["param_groups"].pop(),
    "an optimiser of other shapes": lambda state: state["optimiser"]["state"][0].update(
        exp_avg=torch.ones(7)
    ),
    "no random state": lambda state: state.update(random=torch.ones(3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_state_is_named_and_kept(samples, tmp_path, how):
    train(tiny(), batches(samples), None, replace(OPTIONS, steps=1), tmp_path)
    file = tmp_path / "state.pt"
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-1000])
    else:
        state = state_of(tmp_path)
        DAMAGES[how](state)
        torch.save(state, file)
    damaged = file.read_bytes()
    with pytest.raises(ValueError, match=r"state\.pt"):
        train(tiny(), batches(samples), None, OPTIONS, tmp_path)
    assert file.read_bytes() == damaged


def test_damaged_lines_of_a_log_are_passed_over(tmp_path):
    sound = {"step": 1, "loss": 0.5, "psnr": None}
    damaged = [
        b'{"step": 2',
        b"\xff",
        b"[]",
        b"3",
        b"[" * 10**5,
        b'{"loss": 1}',
        b'{"step": 1, "loss": "much"}',
    ]
    lines = [json.dumps(sound).encode(), *damaged]
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(lines))
    assert read_log(tmp_path) == [sound]


def test_a_loss_that_is_not_finite_stops_the_run(samples, tmp_path):
    with pytest.raises(
        DivergedError, match=r"the loss became nan at step 4, on samples of scene \d+.*last good"
    ):
        train(Fragile(4, torch.nan), batches(samples), None, OPTIONS, tmp_path)
    assert state_of(tmp_path)["step"] == 2
    assert all(torch.isfinite(t).all() for t in state_of(tmp_path)["model"].values())


def test_a_loss_that_explodes_stops_the_run(samples, tmp_path):
    options = replace(OPTIONS, steps=120, freeze_bn_after=1.0, loss={"laplacian": 1.0})
    with pytest.raises(DivergedError, match=r"the loss became \d+.* at step 110"):
        train(Fragile(110, 1000.0), batches(samples), None, options, tmp_path)


@pytest.mark.slow
def test_a_folder_of_another_network(samples, tmp_path):
    train(tiny(), batches(samples), None, replace(OPTIONS, steps=1), tmp_path)
    with pytest.raises(ValueError, match="another network"):
        train(STMFNet(replace(TINY, texture_out=6)), batches(samples), None, OPTIONS, tmp_path)
    (tmp_path / "state.pt").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="not a readable training state"):
        train(tiny(), batches(samples), None, OPTIONS, tmp_path)


class Bordered(nn.Module):
    """The blend, with a border of 4 pixels that is all wrong, by a weight that can learn."""

    def __init__(self):
        super().__init__()
        self.border = nn.Parameter(torch.tensor(1.0))

    def forward(self, frames):
        blend = frames[:, 1:3].mean(1)
        wrong = torch.ones_like(blend)
        wrong[..., 4:-4, 4:-4] = 0
        return blend + self.border * wrong


class Coarse(nn.Module):
    """Blends frames whose sides are multiples of its stride."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, frames):
        assert [side % self.stride for side in frames.shape[-2:]] == [0, 0]
        return frames[:, 1:3].mean(1)


def test_samples_are_validated_on_as_much_as_the_network_takes(few):
    side = few.frames.shape[-1]
    with pytest.raises(ValueError, match=f"at least {side + 1} pixels a side, got {side}x{side}"):
        validate(Coarse(side + 1), few)
    odd = validate(Coarse(side // 2 - 1), few)
    few.frames = few.frames[..., 1:-1, 1:-1]
    assert odd == validate(Coarse(1), few)


def test_a_margin_is_not_judged_and_hardly_learnt(few, tmp_path):
    harmless = Bordered()
    nn.init.zeros_(harmless.border)
    assert validate(Bordered(), few, margin=4) == validate(harmless, few, margin=4)
    assert validate(Bordered(), few) < validate(harmless, few) - 1
    options = replace(OPTIONS, steps=1, loss={"charbonnier": 1.0}, margin=4)
    norms = {}
    for border in (0.0, 0.1):
        train(Bordered(), batches(few), None, replace(options, border_weight=border), tmp_path / str(border))
        norms[border] = lines(tmp_path / str(border))[0]["gradient"]
    assert norms[0.0] == 0 < norms[0.1]
    with pytest.raises(ValueError, match="a margin of 16 leaves nothing of a crop of 32x32"):
        train(Bordered(), batches(few), None, replace(options, margin=16), tmp_path / "nothing")


def test_the_schedule_rises_holds_and_falls():
    options = TrainOptions(steps=1000, learning_rate=1.0, warmup=100, plateau=0.5)
    rates = [options.rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99:501] == [1.0] * 402
    assert rates[750] == pytest.approx(0.5, abs=0.01)
    assert rates[-1] < 1e-4
    assert rates[500:] == sorted(rates[500:], reverse=True)


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match="bfloat16"):
        TrainOptions(precision="half")
    with pytest.raises(ValueError, match="at least one step"):
        TrainOptions(steps=0)
    with pytest.raises(ValueError, match="a share of 0 to 1 of the steps, got 2"):
        TrainOptions(freeze_bn_after=2)
    with pytest.raises(ValueError, match="0 pixels or more"):
        TrainOptions(margin=-1)
    for name, values in {
        "ema_decay": (math.nan, 1.0, 2.0, -3.0), "minutes": (math.nan, 0.0), "warmup": (-5,),
        "max_grad_norm": (math.nan, -1.0), "divergence_factor": (math.nan, 0.0),
        "learning_rate": (math.nan, math.inf, -1.0), "weight_decay": (math.nan, -1.0),
        "border_weight": (math.inf,),
    }.items():  # fmt: skip
        for value in values:
            with pytest.raises(ValueError, match=f"expected (a )?{name} .*, got {value:g}"):
                TrainOptions(**{name: value})
    with pytest.raises(ValueError, match=r"expected loss\.psnr of 0 or more, got inf"):
        TrainOptions(loss={"psnr": math.inf})
