"""Commands: what they are given, what is read, and how they end."""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tweenlet.evaluation.baselines.command import command


def eighths(*size: int) -> Tensor:
    """Random pictures that 8 bits hold exactly."""
    return torch.randint(0, 256, (4, 3, *size)) / 255


def script(folder: Path, body: str) -> str:
    """The beginning of a command that runs a Python script of this body."""
    path = folder / "some baseline.py"
    path.write_text(f"import sys, os, time, cv2\nfrom pathlib import Path\n{body}\n")
    return shlex.join([sys.executable, str(path)])


def test_a_command_is_given_the_frames_and_its_picture_is_read(tmp_path: Path) -> None:
    body = """
a, b, c, d = (cv2.imread(name) for name in sys.argv[1:5])
assert a.dtype == "uint8"
Path(sys.argv[6]).write_text(str(Path(sys.argv[5]).parent))
cv2.imwrite(sys.argv[5], cv2.hconcat([a[:, :10], b[:, 10:20], c[:, 20:30], d[:, 30:]]))
"""
    noted = tmp_path / "noted"
    baseline = command(f"{script(tmp_path, body)} {{0}} {{1}} {{2}} {{3}} {{out}} {shlex.quote(str(noted))}")
    frames = eighths(20, 40)
    output = baseline(frames)
    assert output.dtype == torch.float32
    torch.testing.assert_close(
        output, torch.cat([f[..., 10 * i : 10 * i + 10] for i, f in enumerate(frames)], -1)
    )
    assert not Path(noted.read_text()).exists()
    assert baseline.description.startswith("the command ")
    assert len(baseline.digest) == 64


def test_a_command_is_given_only_what_it_asks_for(tmp_path: Path) -> None:
    body = """
assert sorted(os.listdir(Path(sys.argv[2]).parent)) == ["1.png"]
cv2.imwrite(sys.argv[2], (cv2.imread(sys.argv[1]) * 256.0 + 128).astype("uint16"))
"""
    frames = eighths(20, 40)
    made = command(f"{script(tmp_path, body)} {{1}} {{out}}")(frames)
    torch.testing.assert_close(made, (frames[1] * 255 * 256 + 128) / 65535)  # 16 bits are read as such


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (
            "print('before'); sys.exit('no  GPU here')",
            r"ended with status 1, .* 40x20; .*before / no  GPU here$",
        ),
        ("raise KeyError('weights')", r"ended with status 1, .*KeyError: 'weights'$"),
        ("print('done')", r"wrote no \{out\}, given frames of 40x20; its last output: done$"),
        (
            "cv2.imwrite(sys.argv[1], cv2.imread(sys.argv[2])[:10])",
            r"wrote an \{out\} of 40x10, .* last output: none$",
        ),
        ("Path(sys.argv[1]).write_text('no picture')", r"wrote an \{out\} that cannot be read, "),
        ("os.kill(os.getpid(), 9)", r"was ended: Killed, given frames"),
    ],
)
def test_a_command_that_fails_is_quoted(body: str, match: str, tmp_path: Path) -> None:
    text = f"{script(tmp_path, body)} {{out}} {{1}}"
    with pytest.raises(OSError, match=match) as error:
        command(text)(eighths(20, 40))
    assert str(error.value).startswith(f"`{text}` ")


def family(folder: Path) -> tuple[str, Callable[[], list[int]]]:
    """A command that starts another one and waits; and the process ids of both, once they run."""
    ids = folder / "ids"
    steps = f"sleep 60 & echo $$ $! >{ids}.part; mv {ids}.part {ids}; echo waiting; wait"
    return f"sh -c {shlex.quote(steps)} {{out}}", lambda: [int(pid) for pid in ids.read_text().split()]


def gone(ids: list[int]) -> bool:
    """Whether no process of these ids runs, within a few seconds; one that nobody has waited for is dead."""

    def runs(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    for _ in range(200):
        if not any(map(runs, ids)):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    text, ids = family(tmp_path)
    with pytest.raises(
        OSError, match=r"took more than 1.5 s, given frames of 40x20; its last output: waiting$"
    ):
        command(text, timeout=1.5)(eighths(20, 40))
    assert len(ids()) == 2
    assert gone(ids())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_an_interrupted_command_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    text, ids = family(tmp_path)

    def interrupt() -> None:
        while not (tmp_path / "ids").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), 2)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        command(text)(eighths(20, 40))
    assert gone(ids())
    assert not list((tmp_path / "temporary").iterdir())


def test_commands_that_cannot_be_run() -> None:
    with pytest.raises(ValueError, match=r"needs the place of its output, \{out\}; expected NAME=\"CMD"):
        command("rife {1} {2}")
    with pytest.raises(ValueError, match="No closing quotation"):
        command("rife '{1} {2} {out}")
    with pytest.raises(
        FileNotFoundError, match="no such program: no-such-rife, of the command no-such-rife "
    ):
        command("no-such-rife {1} {2} {out}")


def test_a_changed_program_is_another_peer(tmp_path: Path) -> None:
    script = tmp_path / "baseline.py"
    script.write_text("print(1)")
    text = f"{sys.executable} {script} {{1}} {{out}}"
    before = command(text).digest
    assert command(text).digest == before
    script.write_text("print(2)")
    assert command(text).digest != before
