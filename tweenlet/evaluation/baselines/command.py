"""Command: a person's own program as a Method, given PNG files and run once for a frame."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import torch
from torch import Tensor

from tweenlet import video
from tweenlet.evaluation.baselines.method import FORMS, Peer, sha256
from tweenlet.evaluation.metrics import eight_bit

PATIENCE = 600.0
"""Seconds that a command may take for a frame."""
HOLE = re.compile(r"\{([0-3]|out)\}")
"""Where a command wants the name of a file."""

# Without compression and filter a PNG takes a third of the time that it takes with either.
_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 0]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # older OpenCVs have none, and filter little
    _FAST += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


def command(text: str, patience: float = PATIENCE) -> Peer:
    """A person's own program, run anew for each frame, without a shell, in the current folder.

    In ``text``, {0} to {3} stand for the four frames as 8-bit PNG files, in the order of time, and {out} for
    the PNG file that it must write, half-way between {1} and {2}. All lie in a folder of their own, which is
    removed afterwards. The time that the program takes to start and to load its weights counts.

    ValueError for a text without {out}, FileNotFoundError for no such program. A run that fails, writes no
    picture of the right size, or takes more than ``patience`` seconds is an OSError with its last words. When
    time is up, or on Ctrl-C, it is killed with all that it started.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"a command cannot be read ({error}): {text}") from None
    used = set(HOLE.findall(text))
    if "out" not in used:
        raise ValueError(f"a command needs the place of its output, {{out}}; expected {FORMS}; got {text}")
    if shutil.which(words[0]) is None:
        raise FileNotFoundError(f"no such program: {words[0]}, of the command {text}")

    def make(frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        with TemporaryDirectory(prefix="tweenlet-") as folder:
            files = {hole: str(Path(folder, f"{hole}.png")) for hole in ("0", "1", "2", "3", "out")}
            for number in sorted(used - {"out"}):
                _write(frames[int(number)], files[number])
            failed, said = _run([HOLE.sub(lambda hole: files[hole[1]], word) for word in words], patience)
            if not failed:
                try:
                    return _read(Path(files["out"]), (height, width))
                except ValueError as error:
                    failed = str(error)
        raise OSError(f"`{text}` {failed}, given frames of {width}x{height}; its last words: {said}")

    program = [Path(shutil.which(words[0]) or words[0]), *map(Path, words[1:])]
    digest = sha256(text.encode(), *(file.read_bytes() for file in program if file.is_file()))
    return Peer(make, f"the command {text}", digest)


def _write(frame: Tensor, path: str) -> None:
    """A frame (3, H, W) as a PNG of 8 bits; OSError where that fails."""
    blue_first = eight_bit(frame).byte().flip(0).permute(1, 2, 0).contiguous().numpy()
    if not cv2.imwrite(path, blue_first, _FAST):
        raise OSError(f"cannot write {path}")


def _read(path: Path, size: tuple[int, int]) -> Tensor:
    """The picture in a file, (3, H, W) in [0, 1]; ValueError for none, or none of the size (H, W)."""
    if not path.exists():
        raise ValueError("wrote no {out}")
    try:
        with video.read([path], strict=True) as reader:
            picture = torch.from_numpy(next(iter(reader)).rgb())
    except ValueError:
        raise ValueError("wrote an {out} that cannot be read") from None
    if picture.shape[-2:] != size:
        raise ValueError(f"wrote an {{out}} of {picture.shape[-1]}x{picture.shape[-2]}")
    return picture


def _run(words: Sequence[str], patience: float) -> tuple[str, str]:
    """How a program failed, "" if it did not; and its last words."""
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that it can be killed with all that it started
    ) as process:
        failed = ""
        try:
            said, _ = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            _kill(process)
            said, _ = process.communicate()
            failed = f"took more than {patience:g} s"
        except BaseException:
            _kill(process)
            raise
    if not failed and process.returncode:
        code = process.returncode
        failed = f"ended with status {code}" if code > 0 else f"was ended: {signal.strsignal(-code)}"
    lines = said.decode(errors="replace").split("\n")
    return failed, " / ".join([line.strip() for line in lines if line.strip()][-3:])[-500:] or "none"


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
