"""Command: an external program as a Method, run once per frame on PNG files."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import torch
from torch import Tensor

from tweenlet import video
from tweenlet.evaluation.baselines.method import FORMS, Baseline, sha256
from tweenlet.evaluation.metrics import eight_bit
from tweenlet.runtime.programs import kill_all, split_command

TIMEOUT = 600.0
"""Seconds a command may take per frame."""
PLACEHOLDER = re.compile(r"\{([0-3]|out)\}")
"""Placeholder for a file name in a command."""

# Without compression and filters, writing a PNG takes a third of the time.
_FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 0]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # absent in older versions of OpenCV, which filter little
    _FAST_PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


def command(text: str, timeout: float = TIMEOUT) -> Baseline:
    """Wrap an external program, which is started for each frame, without a shell, in the current folder.

    The measured time includes starting the program and loading its weights. After the timeout, or on Ctrl-C,
    the program is killed with all its child processes.

    Args:
        text: the command. {0} to {3} stand for the four frames as 8-bit PNG files, in order of time, and
            {out} for the PNG file to write, half-way between {1} and {2}. All are in a temporary folder.
        timeout: seconds per frame.

    Returns:
        A Method that raises OSError, with the last lines of output, if a run fails, writes no picture of the
        right size or takes too long.

    Raises:
        ValueError: the text has no {out}.
        FileNotFoundError: there is no such program.

    """
    try:
        words = split_command(text)
    except ValueError as error:
        raise ValueError(f"a command cannot be read ({error}): {text}") from None
    used = set(PLACEHOLDER.findall(text))
    if "out" not in used:
        raise ValueError(f"a command needs the place of its output, {{out}}; expected {FORMS}; got {text}")
    if shutil.which(words[0]) is None:
        raise FileNotFoundError(f"no such program: {words[0]}, of the command {text}")

    def predict(frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        with TemporaryDirectory(prefix="tweenlet-") as folder:
            files = {name: str(Path(folder, f"{name}.png")) for name in ("0", "1", "2", "3", "out")}
            for number in sorted(used - {"out"}):
                _write(frames[int(number)], files[number])
            failed, output = _run(
                [PLACEHOLDER.sub(lambda match: files[match[1]], word) for word in words], timeout
            )
            if not failed:
                try:
                    return _read(Path(files["out"]), (height, width))
                except ValueError as error:
                    failed = str(error)
        raise OSError(f"`{text}` {failed}, given frames of {width}x{height}; its last output: {output}")

    program = [Path(shutil.which(words[0]) or words[0]), *map(Path, words[1:])]
    digest = sha256(text.encode(), *(file.read_bytes() for file in program if file.is_file()))
    return Baseline(predict, f"the command {text}", digest)


def _write(frame: Tensor, path: str) -> None:
    """Write a frame (3, H, W) as an 8-bit PNG. Raises OSError if that fails."""
    blue_first = eight_bit(frame).byte().flip(0).permute(1, 2, 0).contiguous().numpy()
    if not cv2.imwrite(path, blue_first, _FAST_PNG):
        raise OSError(f"cannot write {path}")


def _read(path: Path, size: tuple[int, int]) -> Tensor:
    """Read a picture (3, H, W) in [0, 1]. Raises ValueError if it is missing or not of the size (H, W)."""
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


def _run(words: Sequence[str], timeout: float) -> tuple[str, str]:
    """Run a program. Returns why it failed, "" if it succeeded, and the last lines of its output."""
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that it can be killed with all that it started
    ) as process:
        failed = ""
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            kill_all(process)
            output, _ = process.communicate()
            failed = f"took more than {timeout:g} s"
        except BaseException:
            kill_all(process)
            raise
    if not failed and process.returncode:
        code = process.returncode
        failed = f"ended with status {code}" if code > 0 else f"was ended: {signal.strsignal(-code)}"
    lines = output.decode(errors="replace").split("\n")
    return failed, " / ".join([line.strip() for line in lines if line.strip()][-3:])[-500:] or "none"
