"""Fuzz: commands on damaged inputs, each in a process of its own, and what must never come of it.

    python scripts/fuzz.py [--inputs 1000] [--seed 0] [--seconds 30] [--keep FOLDER] [--record FILE]

    seeds, made here --mutate--> one input --fork, limits--> a command --> verdict

Seeds are small videos and images of many kinds, a ledger, a windows file, a config, a checkpoint, a
training's state and a store. Binary ones are flipped, cut, repeated and overwritten; JSON is also edited
value by value. A command may succeed or refuse in one line. Faults are: an end by a signal, a hang, a
traceback, a file under a final name that cannot be read, a partial file that is left, and anything else that
changed in the folder. Input number N of a seed is always the same. Exit code 1 where a fault was found.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

from tweenlet import cli
from tweenlet.inference.machine import describe_machine
from tweenlet.network import checkpoint as weights
from tweenlet.network.config import FlowLevel, IntermediateFlowConfig, ModelConfig
from tweenlet.network.stmfnet import STMFNet
from tweenlet.ops.cpu.library import library
from tweenlet.runtime.scheduling import keep_scheduling

NETWORK = ModelConfig(
    features=None, flow=None, grid=None, texture=None,
    intermediate=IntermediateFlowConfig(
        levels=(FlowLevel(4, 8, 1), FlowLevel(2, 8, 1)), encoder=(8, 4), four_frames=True, head=8
    ),
)  # fmt: skip
"""A small one of the default's kind."""
VIDEOS = {
    "h264.mp4": ("libx264", "yuv420p"),
    "h264.mkv": ("libx264", "yuv420p"),
    "h264.ts": ("libx264", "yuv420p"),
    "h264.flv": ("libx264", "yuv420p"),
    "hevc.mp4": ("libx265", "yuv420p"),
    "mpeg4.avi": ("mpeg4", "yuv420p"),
    "vp9.webm": ("libvpx-vp9", "yuv420p"),
    "ffv1.mkv": ("ffv1", "yuv444p"),
    "prores.mov": ("prores_ks", "yuv422p10le"),
    "mpeg2.mpg": ("mpeg2video", "yuv420p"),
    "raw.y4m": ("wrapped_avframe", "yuv420p"),
    "av1.mkv": ("libsvtav1", "yuv420p"),
    "wmv2.wmv": ("wmv2", "yuv420p"),
    "mjpeg.mov": ("mjpeg", "yuvj420p"),
    "lossless.avi": ("ffvhuff", "yuv422p"),
    "palette.gif": ("gif", "rgb8"),
}
"""Name -> codec and pixel format. Those with a container that takes it have a tone, too."""
SILENT = (".y4m", ".gif")
IMAGES = ("png", "jpg", "tif", "webp")
ODD = (None, True, -1, 0, 1e308, 10**30, "", "a" * 300, "\ud800", [], [[]], {}, {"a": 1})
"""Values that an edit puts in the place of others."""
LAZY = (
    "matplotlib.pyplot",
    "torch._dynamo",
    "tweenlet.compression.teachers",
    "tweenlet.training.loop",
    "tweenlet.evaluation.page",
    "tweenlet.interpolation.video",
    "tweenlet.network.cost",
)
TOO_LONG = 128 + signal.SIGXCPU
WAIT = 10
"""As many times the seconds of CPU is a command waited for by the clock, on a machine that may be busy."""
MEMORY = 6 * 2**30
FILE = 256 * 2**20
SAMPLES = (
    *("--recipe.samples", "2", "--recipe.validation", "1", "--recipe.crop", "32", "--recipe.synthetic", "0"),
    *("--batch", "1", "--crop", "32"),
)
SMALL = ("--steps", "1", "--warmup", "0", "--device", "cpu", *SAMPLES)
"""Options of a training that takes no time."""


@dataclass(frozen=True)
class Seed:
    """A sound file of a folder, and the command that reads it."""

    file: str
    command: tuple[str, ...]
    output: str = ""
    """A video that the command may write."""


@dataclass(frozen=True)
class Fault:
    """What should not have come of an input."""

    kind: str
    number: int
    file: str
    message: str


def main() -> None:
    """Run what was asked for, and print how much of it failed and how."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input, to see one again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seconds", type=int, default=30, help="of CPU after which an input counts as hanging"
    )
    parser.add_argument("--minutes", type=float, default=None, help="after which no further input is begun")
    parser.add_argument("--keep", type=Path, help="a folder for the inputs of faults")
    parser.add_argument("--record", type=Path, help="a file of results to add this run to")
    options = parser.parse_args()
    began, faults, count, codes = time.monotonic(), list[Fault](), 0, Counter[str]()
    warm_up()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place, suppress(KeyboardInterrupt):  # and report
        sound, room = Path(place, "sound"), Path(place, "room")
        seeds = make_seeds(room)
        room.rename(sound)
        for number in range(options.first, options.first + options.inputs):
            if options.minutes is not None and time.monotonic() - began > 60 * options.minutes:
                break
            dice = random.Random(f"{options.seed}:{number}")
            seed = seeds[number % len(seeds)]
            shutil.copytree(sound, room)
            mutate(room / seed.file, dice)
            code, fault = judge(seed, room, Path(place, "output"), number, options.seconds)
            count, codes[code] = count + 1, codes[code] + 1
            if fault is not None:
                faults.append(fault)
                print(f"{fault.kind}: input {number}, {fault.file}: {fault.message}", flush=True)
                if options.keep is not None:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    copy = options.keep / f"{fault.kind.split()[0]}-{number}-{Path(seed.file).name}"
                    shutil.copy(room / seed.file, copy)
            shutil.rmtree(room)
    kinds = Counter(fault.kind for fault in faults)
    report(
        f"{count:,} inputs of seed {options.seed} in {time.monotonic() - began:,.0f} s: "
        f"{', '.join(f'{n:,} {code}' for code, n in codes.most_common())}; "
        f"faults: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common()) or 'none'}",
        options.record,
    )
    sys.exit(1 if faults else 0)


def report(result: str, record: Path | None) -> None:
    """Print what came of this command, when and where, and add it to a record (scripts/results.py)."""
    print(result)
    date, machine = f"{datetime.now(UTC):%Y-%m-%d}", describe_machine()
    print(f"{date}, {machine}")
    if record is not None:
        runs = json.loads(record.read_text()) if record.exists() else []
        arguments = re.sub(r" --(record|keep) \S+", "", " ".join(sys.argv[1:]))
        command = f"python scripts/{Path(sys.argv[0]).name} {arguments}"
        runs = [run for run in runs if run["command"] != command]
        runs.append({"command": command, "result": result, "date": date, "machine": machine})
        record.write_text(json.dumps(runs, indent=1) + "\n")


def warm_up() -> None:
    """Import and compile what commands need, once, before the first child has to."""
    torch.set_num_threads(1)
    library()
    for module in LAZY:
        import_module(module)
    gc.freeze()


def make_seeds(folder: Path) -> list[Seed]:
    """Write sound files into a new folder; binary formats come first.

    Commands have to run in a folder of the same path, which trainings and stores remember.
    """
    folder.mkdir()
    weights.save(folder / "tiny.safetensors", STMFNet(NETWORK))
    (folder / "config.json").write_text(json.dumps(NETWORK.to_json()))
    interpolate = ("out.mkv", "--model", "tiny.safetensors", "--device", "cpu")
    seeds = []
    for name, (codec, pixels) in VIDEOS.items():
        with suppress(av.FFmpegError, ValueError), keep_scheduling():  # not every FFmpeg has every encoder
            write_video(folder / name, codec, pixels)
            seeds.append(Seed(name, ("interpolate", name, *interpolate), "out.mkv"))
    for suffix in IMAGES:
        (folder / suffix).mkdir()
        for number in range(3):
            Image.fromarray(picture(number)).save(folder / suffix / f"{number}.{suffix}")
        seeds.append(Seed(f"{suffix}/1.{suffix}", ("interpolate", suffix, *interpolate), "out.mkv"))
    seeds.append(Seed("tiny.safetensors", ("interpolate", "png", *interpolate), "out.mkv"))
    (folder / "eval").mkdir()
    for clip in ("a", "b"):
        write_video(folder / "eval" / f"{clip}.mkv", "ffv1", "yuv444p")
    (folder / "eval_windows.json").write_text(
        json.dumps({"windows": {"eval/a.mkv": [0, 1], "eval/b.mkv": [1]}})
    )
    evaluate = ("evaluate", "blend", "--benchmark", "clips:eval", "--metrics", "psnr", "--out", "scores")
    train = ("train", "config.json", "eval", "--out", "run", "--validate", "eval/a.mkv", *SMALL)
    for command in (evaluate, train, evaluate, train):  # and again, as the inputs will be
        code = run(command, folder, folder / "output", 600)
        if code != "exit 0":
            raise OSError(f"{' '.join(command)}: {code}: {(folder / 'output').read_text()}")
    (folder / "output").unlink()
    ledger = str(next(folder.rglob("scores.jsonl")).relative_to(folder))
    store = ("recipe.json", *(f"train/{name}" for name in ("frames.npy", "sources.json", "places.json")))
    return [
        *seeds,
        *(Seed(name, evaluate) for name in ("eval_windows.json", "eval/a.mkv", ledger)),
        Seed("config.json", ("cost", "config.json")),
        *(Seed(f"run/{name}", train) for name in ("state.pt", "log.jsonl", *(f"store/{n}" for n in store))),
    ]


def write_video(path: Path, codec: str, pixels: str) -> None:
    """Ten frames of something that moves, 64x48, with a tone where the container takes one."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        tone = None if path.suffix in SILENT else container.add_stream(_sound_of(path), 48000)
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            sine = (np.sin(np.arange(48000) / 20) * 8000).astype(np.int16)[None]
            heard = av.AudioFrame.from_ndarray(sine, format="s16", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = 48000, 0, Fraction(1, 48000)
            container.mux(tone.encode(heard))
            container.mux(tone.encode(None))


def picture(number: int) -> np.ndarray:
    """Waves that move: (48, 64, 3), of bytes."""
    y, x = np.mgrid[0:48, 0:64]
    waves = 127 + 90 * np.sin((x + 3 * number) / 7 + y / np.array([5, 7, 9])[:, None, None])
    return np.ascontiguousarray(waves.transpose(1, 2, 0).astype(np.uint8))


def _sound_of(path: Path) -> str:
    return {".webm": "libopus", ".avi": "libmp3lame", ".mpg": "mp2", ".wmv": "libmp3lame"}.get(
        path.suffix, "aac"
    )


def mutate(path: Path, dice: random.Random) -> None:
    """Damage a file in place."""
    content = path.read_bytes()
    if path.suffix in (".json", ".jsonl") and dice.random() < 0.6:
        path.write_bytes(edit(content, dice))
        return
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        content = dice.choice(MUTATIONS)(content, dice)
    path.write_bytes(content)


def edit(content: bytes, dice: random.Random) -> bytes:
    """JSON, or lines of it, with a value somewhere replaced, removed or added."""
    lines = content.splitlines() if content.count(b"\n{") else [content]
    place = dice.randrange(len(lines))
    tree = [json.loads(lines[place])]
    spots = list(find_spots(tree))
    holder, key = dice.choice(spots)
    change = dice.random()
    if change < 0.7:
        holder[key] = dice.choice(ODD)
    elif change < 0.9 and holder is not tree:
        del holder[key]
    elif isinstance(holder, dict):
        holder["extra"] = dice.choice(ODD)
    lines[place] = json.dumps(tree[0]).encode()
    return b"\n".join(lines) + (b"\n" if len(lines) > 1 else b"")


def find_spots(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a nest of lists and dicts, as (what holds it, key)."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from find_spots(tree[key])


def _flip(content: bytes, dice: random.Random) -> bytes:
    return _over(content, dice, lambda byte: bytes([byte ^ (1 << dice.randrange(8))]))


def _set(content: bytes, dice: random.Random) -> bytes:
    return _over(content, dice, lambda _: dice.choice((b"\0", b"\xff", b"\x7f", b"\x80")))


def _over(content: bytes, dice: random.Random, change: Callable[[int], bytes]) -> bytes:
    if not content:
        return content
    # half of them among the first bytes, where headers are
    place = dice.randrange(min(len(content), dice.choice((200, len(content)))))
    return content[:place] + change(content[place]) + content[place + 1 :]


def _cut(content: bytes, dice: random.Random) -> bytes:
    return content[: dice.randrange(len(content) + 1)]


def _zero(content: bytes, dice: random.Random) -> bytes:
    start, size = dice.randrange(len(content) + 1), dice.choice((4, 64, 1024))
    return content[:start] + bytes(min(size, len(content) - start)) + content[start + size :]


def _repeat(content: bytes, dice: random.Random) -> bytes:
    start, size = dice.randrange(len(content) + 1), dice.choice((4, 64, 1024))
    return content[: start + size] + content[start:]


def _drop(content: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(content) + 1)
    return content[:start] + content[start + dice.choice((1, 4, 64, 1024)) :]


MUTATIONS = (_flip, _flip, _set, _set, _cut, _zero, _repeat, _drop)


def run(command: tuple[str, ...], folder: Path, output: Path, seconds: int) -> str:
    """Run a command within a folder in a child: "exit N", "signal N" or "hang"; what it prints goes into a
    file.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        become(command, folder, output)
    handle = os.pidfd_open(child)
    try:
        ended = select.select([handle], [], [], WAIT * seconds)[0]
    finally:
        os.close(handle)
    if not ended:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if not ended or status in (signal.SIGKILL, TOO_LONG << 8):
        return "hang"
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"


def become(command: tuple[str, ...], folder: Path, output: Path) -> None:
    """Be, in a child process, the command within a folder, and end; what it prints goes into a file."""
    code = 70  # of a traceback
    try:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.chdir(folder)
        for limit, most in ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_FSIZE, FILE)):
            resource.setrlimit(limit, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        cli.main(command)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        os.write(2, traceback.format_exc().encode(errors="replace"))
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def judge(seed: Seed, room: Path, output: Path, number: int, seconds: int) -> tuple[str, Fault | None]:
    """How a command on a damaged input ended, and what is wrong with that, if anything."""
    before = _list_files(room)
    code = run(seed.command, room, output, seconds)
    printed = output.read_text(errors="replace")
    last = printed.strip().splitlines()[-1][:200] if printed.strip() else ""

    def fault(kind: str, message: str = last) -> tuple[str, Fault]:
        return code, Fault(kind, number, seed.file, message)

    if code == "hang":
        return fault("hang")
    if code.startswith("signal"):
        return fault(f"signal {code.split()[1]}")
    if code == "exit 70" or "Traceback" in printed or "Exception ignored" in printed:
        return fault("traceback")
    if code == "exit 1" and not last:
        return fault("an error without a word")
    after = _list_files(room)
    if left := [name for name in after if ".partial" in name]:
        return fault("partial file left", ", ".join(left))
    if seed.output in after and not _is_readable(room / seed.output):
        return fault("unreadable file under a final name", seed.output)
    changed = {name for name, _ in (before.items() ^ after.items())} - {seed.output}
    if changed and (seed.output or code != "exit 0"):
        return fault("something else changed", ", ".join(sorted(changed)))
    return code, None


def _list_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Files below a folder, with size and time of the last change."""
    files = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (stat.st_size, stat.st_mtime_ns) for path, stat in files}


def _is_readable(video: Path) -> bool:
    try:
        with av.open(str(video)) as container:
            return next(container.decode(video=0), None) is not None
    except (av.FFmpegError, ValueError):
        return False


if __name__ == "__main__":
    main()
