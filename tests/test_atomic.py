"""Files and folders appear whole or not at all: two runs, killed runs, links, long names, full disks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tweenlet.runtime.atomic import Partial, atomic_write, atomic_write_folder, write_bytes_atomically
from tweenlet.runtime.disk_space import preallocate
from tweenlet.runtime.folders import MARK, check_free, claim_folder

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has none")
HOLD = """
    import sys, time
    from pathlib import Path
    from tweenlet.runtime.atomic import Partial
    partial = Partial(Path(sys.argv[1]), folder=sys.argv[2] == "folder")
    print(partial.path, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold():
    """A function that starts another process which is writing a target, and returns it with its partial."""
    processes = []

    def start(target: Path, kind: str = "file") -> tuple[subprocess.Popen[str], Path]:
        command = [sys.executable, "-c", textwrap.dedent(HOLD), str(target), kind]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout is not None
        return processes[-1], Path(processes[-1].stdout.readline().strip())

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_at_the_end_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as partial:
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    with pytest.raises(ZeroDivisionError), atomic_write(path) as partial:
        partial.write_text(f"other {1 / 0}")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_appears_at_the_end_and_replaces_nothing(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    with atomic_write_folder(place) as partial:
        (partial / "x").write_text("x")
        assert names(place) == []
    assert names(place) == [MARK, "x"]
    with pytest.raises(FileExistsError, match="not empty"), atomic_write_folder(place):
        pass
    assert names(tmp_path) == ["place"]


@pytest.mark.parametrize(
    "name", ["n" * 255, "n" * 251 + ".mp4", "é" * 125 + ".mp4", ".mp4", "a." + "b" * 200]
)
def test_any_name_that_a_file_can_have_will_do(tmp_path, name):
    write_bytes_atomically(tmp_path / name, b"content")
    assert names(tmp_path) == [name]


@posix
def test_a_name_that_is_no_text_will_do(tmp_path):
    write_bytes_atomically(tmp_path / os.fsdecode(b"caf\xe9.mp4"), b"content")
    assert [os.fsencode(name) for name in names(tmp_path)] == [b"caf\xe9.mp4"]


def test_the_suffix_stays_and_the_mode_is_the_users(tmp_path):
    with atomic_write(tmp_path / "a.png") as partial:
        partial.write_bytes(b"")
        assert partial.suffix == ".png"
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "a.png").stat().st_mode == plain.stat().st_mode


@posix
def test_no_link_is_followed(tmp_path, monkeypatch):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "link").symlink_to(precious)
    taken = iter(["link", "free"])
    monkeypatch.setattr("tweenlet.runtime.atomic._partial_name", lambda _: next(taken))
    write_bytes_atomically(tmp_path / "a", b"new")
    assert precious.read_text() == "precious"
    assert (tmp_path / "a").read_text() == "new"
    assert not (tmp_path / "a").is_symlink()


@posix
def test_a_link_as_output_is_written_through(tmp_path):
    (tmp_path / "disk").mkdir()
    for name, before in (("there", b"old"), ("not yet", None)):
        target, link = tmp_path / "disk" / name, tmp_path / name
        link.symlink_to(target)
        if before:
            target.write_bytes(before)
        write_bytes_atomically(link, b"new")
        assert link.is_symlink()
        assert target.read_bytes() == b"new"
    assert names(tmp_path / "disk") == ["not yet", "there"]


@posix
def test_links_are_checked_where_they_lead(tmp_path):
    for name, target, message in (
        ("circle", "circle", "is a symlink that leads back to itself"),
        ("nowhere", "no/folder/out", f"the folder to write into does not exist: {tmp_path / 'no/folder'}"),
    ):
        (tmp_path / name).symlink_to(tmp_path / target)
        with pytest.raises(OSError, match=message):
            check_free(tmp_path / name, overwrite=True)
        with pytest.raises(OSError, match=r"symlink|No such file"):
            write_bytes_atomically(tmp_path / name, b"new")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    folder = Partial(tmp_path / "link", folder=True)
    assert folder.path.parent == tmp_path
    assert folder.target == tmp_path / "link"
    folder.discard()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_second_run_is_told_of_the_first(tmp_path, hold, kind):
    target = tmp_path / "out.mp4"
    _, partial = hold(target, kind)
    with pytest.raises(BlockingIOError, match="another run is writing"):
        Partial(target, folder=kind == "folder")
    write_bytes_atomically(tmp_path / "other.mp4", b"")
    assert names(tmp_path) == sorted([partial.name, "other.mp4"])


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path, hold, kind):
    process, partial = hold(tmp_path / "out.mp4", kind)
    process.kill()
    process.wait()
    assert partial.exists()
    write_bytes_atomically(tmp_path / "other.mp4", b"")
    assert names(tmp_path) == ["other.mp4"]


def test_what_others_wrote_is_not_removed(tmp_path):
    partial = Partial(tmp_path / "out.mp4")
    partial.discard()
    others = [
        ".out.1.partial.mp4",
        ".out.0123456789abcdef01234567.partial.mp4",
        f".other{partial.path.name[4:]}",
    ]
    for name in others:
        (tmp_path / name).write_text("precious")
    partial = Partial(tmp_path / "frames", folder=True)
    partial.discard()
    folder = partial.path  # without our mark
    folder.mkdir()
    (folder / "precious").touch()
    write_bytes_atomically(tmp_path / "out.mp4", b"")
    assert names(tmp_path) == sorted([*others, folder.name, "out.mp4"])


def test_of_many_threads_one_writes_and_the_others_are_told(tmp_path):
    def write(number: int) -> bool:
        try:
            with atomic_write(tmp_path / "a") as partial:
                together.wait(timeout=10)
                partial.write_text(f"{number}" * 1000)
        except BlockingIOError:
            together.wait(timeout=10)
            return False
        return True

    together = Barrier(6)
    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(write, range(6))) == 1
    assert len(set((tmp_path / "a").read_text())) == 1
    assert names(tmp_path) == ["a"]


def test_runs_that_share_a_file_all_write_it_whole(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda n: write_bytes_atomically(tmp_path / "a", b"%d" % n * 1000, shared=True), range(8)
            )
        )
    assert len(set((tmp_path / "a").read_bytes())) == 1
    assert names(tmp_path) == ["a"]


def test_what_is_no_file_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        Partial(tmp_path / "folder")
    with pytest.raises(OSError, match="cannot write"):
        write_bytes_atomically(tmp_path / "nowhere" / "a", b"")


@posix
def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="neither a file"):
        Partial(tmp_path / "pipe")


def test_a_folder_is_claimed_by_one_run_and_from_nobody(tmp_path):
    with claim_folder(tmp_path / "run", ["model"]):
        (tmp_path / "run" / "model").touch()
        with pytest.raises(BlockingIOError, match="another run"), claim_folder(tmp_path / "run", ["model"]):
            pass
    with claim_folder(tmp_path / "run", ["model"]):
        pass
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "model").write_text("precious")
    with pytest.raises(FileExistsError, match="not written by tweenlet"), claim_folder(theirs, ["model"]):
        pass
    assert names(theirs) == ["model"]


def test_room_that_is_not_there_is_missed_before_anything_is_written(tmp_path):
    path = tmp_path / "large"
    path.touch()
    preallocate(path, 1000)
    assert path.stat().st_size == (1000 if hasattr(os, "posix_fallocate") else 0)
    with pytest.raises(OSError, match="not enough room in"):
        preallocate(path, 2**60)
