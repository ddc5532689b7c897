"""Lists of clips, fetched from a server of the test's own that knows ranges as real ones do."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import shutil
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from PIL import Image

from tweenlet.cli import main
from tweenlet.evaluation import Clip, UnreadableSample, benchmark
from tweenlet.evaluation.compare import hide_frames
from tweenlet.evaluation.lists import ClipList, ListedFile, bundled_lists, fetch, open_clip_list
from tweenlet.runtime.folders import MARK, claim_folder

pin = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "pin_clips.py"))["pin"]
ELF = Path(__file__).parents[1] / "assets" / "learning-area-elf.mp4"
Write = Callable[..., Path]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Server(ThreadingHTTPServer):
    """Files of a folder; ``asked`` are the paths and ranges of requests, ``most`` bytes are sent of each."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.asked, self.most = folder, list[tuple[str, str]](), 1 << 30
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        span = self.headers.get("Range", "")
        self.server.asked.append((self.path, span))
        path = self.server.folder / self.path.lstrip("/").replace("%20", " ")
        if not path.is_file():
            return self.send_error(404)
        content = path.read_bytes()
        begin = int(re.sub(r"\D", "", span) or 0)
        if begin >= len(content):
            return self.send_error(416)
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin:][: self.server.most])
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copy(ELF, folder / "an elf.mp4")
    with Server(folder) as running:
        thread = Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def write(tmp_path: Path, server: Server) -> Write:
    """Writes a list of one clip, the elf of the server unless it is told otherwise."""

    def list_of(**changed: Any) -> Path:
        clip = {
            "name": "elf.mp4", "url": f"{server.url}/an%20elf.mp4", "sha256": digest(ELF),
            "bytes": ELF.stat().st_size, "windows": [0, 4], "licence": "CC0-1.0", "attribution": "MDN",
        }  # fmt: skip
        path = tmp_path / "one.json"
        path.write_text(json.dumps({"name": "one", "clips": [{**clip, **changed}]}))
        return path

    return list_of


def test_nothing_is_fetched_unless_it_is_asked_for(write: Write, server: Server) -> None:
    with pytest.raises(FileNotFoundError, match=r"one.json names 1 clips .* elf.mp4; --download .* MB\)"):
        open_clip_list(write())
    assert not server.asked


def test_a_clip_is_fetched_once_verified_and_read(write: Write, server: Server, cache: Path) -> None:
    result = open_clip_list(write(), download=True)
    (clip,) = result.sequences
    assert (result.name, result.note, clip.name, clip.count) == ("one", "", "elf.mp4", 2)
    assert [sample.name for sample in result] == ["elf.mp4/00000", "elf.mp4/00004"]
    assert clip.paths[0].is_relative_to(cache)
    assert result.sources == (f"elf.mp4: MDN, CC0-1.0, {server.url}/an%20elf.mp4",)
    assert open_clip_list(write()).sequences == result.sequences
    assert server.asked == [("/an%20elf.mp4", "")]


def test_a_fetch_goes_on_where_it_ended(server: Server, tmp_path: Path) -> None:
    file, target = ListedFile(f"{server.url}/an%20elf.mp4", digest(ELF)), tmp_path / "elf.mp4"
    server.most = 1000
    for begun in (1000, 2000):
        with pytest.raises(OSError, match=rf"it ended after {begun:,} of [\d,]+ bytes; try again"):
            fetch(file, target)
        assert not target.exists()
    server.most = 1 << 30
    progress: list[tuple[int, int | None]] = []
    fetch(file, target, lambda done, total: progress.append((done, total)))
    assert [span for _, span in server.asked] == ["", "bytes=1000-", "bytes=2000-"]
    assert target.read_bytes() == ELF.read_bytes()
    assert progress[-1] == (ELF.stat().st_size, ELF.stat().st_size)
    assert list(tmp_path.glob("*.part")) == []


def test_what_nothing_follows_begins_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "elf.mp4.part").write_bytes(ELF.read_bytes() + b"more")
    file = ListedFile(f"{server.url}/an%20elf.mp4", digest(ELF))
    with pytest.raises(OSError, match="416"):
        fetch(file, tmp_path / "elf.mp4")
    fetch(file, tmp_path / "elf.mp4")
    assert digest(tmp_path / "elf.mp4") == digest(ELF)


def test_another_hash_is_refused_and_nothing_of_it_is_left(write: Write, cache: Path) -> None:
    with pytest.raises(ValueError, match=rf"expected SHA-256 {'0' * 64}, got {digest(ELF)}"):
        open_clip_list(write(sha256="0" * 64), download=True)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.name != MARK]
    (clip,) = open_clip_list(write(), download=True).sequences
    clip.paths[0].write_bytes(b"damaged since")
    with pytest.raises(ValueError, match=r"does not match the list: .*; delete it to download it again"):
        open_clip_list(write())


def test_what_another_process_is_fetching_is_left_to_it(server: Server, tmp_path: Path) -> None:
    file = ListedFile(f"{server.url}/an%20elf.mp4", digest(ELF))
    with claim_folder(tmp_path / "clip"), pytest.raises(BlockingIOError, match="another run is writing into"):
        fetch(file, tmp_path / "clip/elf.mp4")
    assert not server.asked


def test_what_cannot_be_fetched_is_named(write: Write, server: Server) -> None:
    with pytest.raises(OSError, match=r"cannot fetch http.*/none.mp4: HTTP Error 404"):
        open_clip_list(write(url=f"{server.url}/none.mp4"), download=True)
    with pytest.raises(OSError, match=r"cannot fetch http://127.0.0.1:1/a.mp4: .*refused"):
        open_clip_list(write(url="http://127.0.0.1:1/a.mp4"), download=True)


def test_a_file_of_ones_own_is_known_by_its_hash_whatever_its_name(
    write: Write, server: Server, tmp_path: Path
) -> None:
    own = tmp_path / "own" / "deep" / "holiday.mp4"
    own.parent.mkdir(parents=True)
    (own.parent / "an elf.mp4").write_bytes(b"of that name, but another")
    shutil.copy(ELF, own)
    (clip,) = open_clip_list(write(), footage=tmp_path / "own", download=True).sequences
    assert clip.paths == (own,)
    assert not server.asked
    with pytest.raises(FileNotFoundError, match="no such folder"):
        open_clip_list(write(), footage=tmp_path / "nowhere")


def test_a_clip_that_is_not_pinned_is_used_and_told(write: Write, tmp_path: Path) -> None:
    found = open_clip_list(write(sha256=None), download=True)
    assert found.note == "not pinned by a hash, so that others may have other files: elf.mp4"
    (tmp_path / "own").mkdir()
    shutil.copy(ELF, tmp_path / "own" / "other.mp4")
    with pytest.raises(FileNotFoundError):
        open_clip_list(write(sha256=None, url="https://example.org/x.mp4"), footage=tmp_path / "own")
    place = tmp_path / "own"
    (clip,) = open_clip_list(write(sha256=None, url="https://example.org/other.mp4"), place).sequences
    assert clip.paths == (tmp_path / "own" / "other.mp4",)


def test_a_folder_of_frames_is_brought_together_whatever_the_files_were_called(
    write: Write, server: Server, tmp_path: Path
) -> None:
    frames = {f"{i:03d}.png": tmp_path / "served" / "clip" / f"{i:03d}.png" for i in range(9)}
    for number, path in enumerate(frames.values()):
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 24), (number, 100, 200)).save(path)
    mine = tmp_path / "mine"
    mine.mkdir()
    for name, path in list(frames.items())[:5]:
        shutil.copy(path, mine / f"other {name}")
    hashes = {name: digest(path) for name, path in frames.items()}
    one = {"url": f"{server.url}/clip/", "frames": hashes, "windows": [0, 2]}
    result = open_clip_list(write(**one), footage=mine, download=True)
    assert [path for path, _ in server.asked] == [f"/clip/{i:03d}.png" for i in range(5, 9)]
    (clip,) = result.sequences
    samples = [sample for sample in clip.samples() if not isinstance(sample, UnreadableSample)]
    assert [round(255 * float(sample.truth[0, 0, 0])) for sample in samples] == [3, 5]
    assert result.sources == (f"elf.mp4: MDN, CC0-1.0, {server.url}/clip/",)


def test_a_number_of_windows_is_spread_as_judge_spreads_them(write: Write) -> None:
    (clip,) = open_clip_list(write(windows=3), footage=ELF.parent).sequences
    (judged,) = hide_frames(ELF, 3).benchmark.sequences
    assert isinstance(clip, Clip)
    assert isinstance(judged, Clip)
    assert clip.windows == judged.windows
    assert len(judged.windows) == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sha256": "12"}, "expected a SHA-256 of 64 digits or null, got 12"),
        ({"url": "file:///etc/passwd"}, "expected a URL of http or https, got file"),
        ({"url": "https://example.org/"}, "expected the URL of a file"),
        ({"windows": ["0"]}, "expected frame numbers, or how many, for windows; got '0'"),
        ({"windows": [4, 0]}, "expected rising frame numbers"),
        ({"frames": {"../a.png": None}}, "expected names of frames and a URL that ends in /"),
    ],
)
def test_a_clip_that_is_listed_wrongly_is_refused(
    write: Write, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        open_clip_list(write(**changed), footage=ELF.parent)


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    for text in (
        "[]",
        "{}",
        "no JSON",
        '{"name": "a", "clips": []}',
        '{"name": "a", "clips": [{"name": 1}]}',
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"list\.json"):
            benchmark(str(path))
    with pytest.raises(FileNotFoundError, match=r"no such list: none.json; the package has clips9.json"):
        benchmark("none.json")


def test_the_shipped_lists_are_whole() -> None:
    lists = {name: ClipList.read(path) for name, path in bundled_lists().items()}
    assert set(lists) == {"clips9.json", "public.json"}
    assert all(clip.pinned for clip in lists["clips9.json"].clips)
    assert (
        sum(len(clip.windows) for clip in lists["clips9.json"].clips if isinstance(clip.windows, tuple))
        == 108
    )
    for known in lists.values():
        assert len({clip.folder for clip in known.clips}) == len(known.clips)
        assert all(clip.licence and clip.attribution for clip in known.clips)


def test_pinning_fills_in_hash_size_and_windows_and_changes_nothing_else(
    write: Write, tmp_path: Path
) -> None:
    path = write(sha256=None, bytes=None, windows=2)
    before = json.loads(path.read_text())
    assert pin(path) == ["elf.mp4"]
    assert json.loads(path.read_text()) == before
    assert pin(path, download=True) == []
    (entry,) = json.loads(path.read_text())["clips"]
    assert (entry["sha256"], entry["bytes"]) == (digest(ELF), ELF.stat().st_size)
    assert entry["windows"] == sorted(entry["windows"])
    assert {**entry, "sha256": None, "bytes": None, "windows": 2} == before["clips"][0]
    assert benchmark(str(path)).note == ""


def test_a_list_is_evaluated(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(
            [
                "evaluate",
                "blend",
                "--benchmark",
                str(write()),
                "--download",
                "--metrics",
                "psnr",
                "--out",
                str(tmp_path / "out"),
            ]
        )
    assert not end.value.code
    assert "- elf.mp4: MDN, CC0-1.0, http" in capsys.readouterr().out
    page = (tmp_path / "out" / "one" / "report.html").read_text()
    assert 'an%20elf.mp4" rel="noreferrer">elf.mp4</a>: MDN, CC0-1.0' in page
