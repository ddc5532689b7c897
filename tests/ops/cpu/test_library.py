"""Native code: compiled once, and done without where that cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tweenlet.ops.cpu import library as native
from tweenlet.runtime.cache import cache_folder

LOADED = (
    "import torch; from tweenlet.ops.cpu import library as native; "
    "print(native.describe(), sum('native-' in line for line in open('/proc/self/maps')) > 0)"
)
compiled = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def process(**environment: str) -> subprocess.CompletedProcess[str]:
    """One that says whether it has native code."""
    return subprocess.run(
        [sys.executable, "-c", LOADED],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def told(**environment: str) -> str:
    """What it says."""
    return process(**environment).stdout.strip()


def script(path: Path, *lines: str) -> str:
    """A compiler of our own."""
    path.write_text("\n".join(("#!/bin/sh", *lines)))
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def _quick_compiler(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not optimise, which takes a third of the time."""
    monkeypatch.setenv("CC", script(tmp_path_factory.mktemp("compiler") / "cc", 'exec cc "$@" -O0'))


@pytest.mark.slow
@compiled
def test_it_is_compiled_once(tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    assert told(**cache) == "native code True"
    (path,) = (tmp_path / "tweenlet").iterdir()
    written = path.stat().st_mtime_ns
    assert told(**cache) == "native code True"
    assert path.stat().st_mtime_ns == written
    assert list((tmp_path / "tweenlet").iterdir()) == [path]


@pytest.mark.slow
def test_it_can_be_done_without(tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    assert told(TWEENLET_NATIVE="0", **cache) == "no native code False"
    assert told(CC="no-such-compiler", **cache) == "no native code False"


@pytest.mark.slow
def test_a_compiler_that_fails_is_told_of(tmp_path: Path) -> None:
    broken = script(
        tmp_path / "broken", "[ $1 = --version ] || echo 'x.c:1: error: no such thing' >&2", "false"
    )
    made = process(CC=broken, XDG_CACHE_HOME=str(tmp_path))
    assert made.stdout.strip() == "no native code False"
    assert "no native code, so PyTorch does its work, slower" in made.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "lines",
    [
        ("echo 'xcrun: error: invalid active developer path' >&2", "exit 1"),
        ("[ $1 = --version ] && exit 0", "printf 'x.c: erreur: \\351\\n' >&2", "exit 1"),
        ("cat", "exit 1"),
        ("kill -9 $$",),
        ("exit 0",),
    ],
    ids=["in words", "in Latin-1", "reads", "killed", "makes nothing"],
)
def test_whatever_a_compiler_does_there_is_one_warning(lines: tuple[str, ...], tmp_path: Path) -> None:
    environment = process(CC=script(tmp_path / "cc", *lines), XDG_CACHE_HOME=str(tmp_path))
    assert environment.stdout.strip() == "no native code False"
    assert environment.stderr.count("no native code, so PyTorch does its work, slower") == 1
    assert "Traceback" not in environment.stderr
    assert [path.name for path in (tmp_path / "tweenlet").glob(".*")] == []


def test_a_compiler_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    hanging = script(tmp_path / "cc", f"sleep 60 & echo $! > {tmp_path}/started", "wait")
    with pytest.raises(subprocess.TimeoutExpired):
        native._run([hanging, "--version"], limit=1)
    assert ends_within(30, int((tmp_path / "started").read_text()))


def ends_within(seconds: float, pid: int) -> bool:
    """Whether a process that was killed is gone, or is left to its parent, after at most this long."""
    stat, limit = Path(f"/proc/{pid}/stat"), time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
@compiled
@pytest.mark.parametrize("what", ["file", "folder"])
def test_code_that_others_could_have_written_is_not_run(what: str, tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    told(**cache)
    (path,) = (tmp_path / "tweenlet").iterdir()
    written = path.stat().st_ino
    (path if what == "file" else path.parent).chmod(0o777)
    assert told(**cache) == "native code True"
    assert path.parent.stat().st_mode & 0o022 == 0
    assert path.stat().st_mode & 0o022 == 0
    assert path.stat().st_ino != written


@pytest.mark.slow
@compiled
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_cache_of_another_user_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tweenlet").mkdir()
    os.chown(tmp_path / "tweenlet", 12345, 12345)
    made = process(XDG_CACHE_HOME=str(tmp_path))
    assert made.stdout.strip() == "native code True"
    assert "another user's" in made.stderr
    assert list((tmp_path / "tweenlet").iterdir()) == []


@pytest.mark.slow
@compiled
def test_without_a_home_the_cache_lives_as_long_as_the_process(tmp_path: Path) -> None:
    script = f"from pathlib import Path; Path.expanduser = lambda self: 1 / 0\n{LOADED}"
    script = script.replace("1 / 0", "(_ for _ in ()).throw(RuntimeError('no home'))")
    process = subprocess.run(
        [sys.executable, "-c", script],
        env={name: v for name, v in os.environ.items() if name not in ("XDG_CACHE_HOME", "HOME")}
        | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.strip() == "native code True"
    assert process.stderr.count("no cache on disk") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as in a wheel, with the library of one set of instructions, not linked with OpenMP."""
    folder = tmp_path_factory.mktemp("built")
    name, flags = ("avx2", ["-march=x86-64-v3"]) if os.uname().machine == "x86_64" else ("neon", [])
    objects = [folder / f"{source.stem}.o" for source in native.SOURCES]
    for source, object_file in zip(native.SOURCES, objects, strict=True):
        subprocess.run(["cc", *native.FLAGS, "-O1", *flags, "-c", source, "-o", object_file], check=True)
    subprocess.run(["cc", "-shared", *objects, "-lm", "-o", folder / f"{name}.so"], check=True)
    return folder


def loaded_from(folder: Path, **environment: str) -> str:
    """The file whose native code a process has, which looks for built libraries in a folder."""
    program = (
        "import torch; from pathlib import Path; from tweenlet.ops.cpu import library as native\n"
        f"native.BUILT = Path({str(folder)!r}); native.library()\n"
        "maps = [line.split()[-1] for line in open('/proc/self/maps')]\n"
        "print(next((x for x in maps if x.endswith('.so') and ('native-' in x or 'built' in x)), None))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout.strip()


@pytest.mark.long
@compiled
def test_a_library_that_was_built_ahead_is_loaded(built: Path, tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    (file,) = built.glob("*.so")
    best = dict.fromkeys(("ATEN_CPU_CAPABILITY",), "avx2") if file.stem == "avx2" else {}
    assert loaded_from(built, **cache, **best, CC="no-such-compiler") == str(file)
    assert "native-" in loaded_from(built, **cache, **best, TWEENLET_NATIVE="compile")
    assert loaded_from(built, **cache, **best, TWEENLET_NATIVE="0") == "None"


@pytest.mark.long
@compiled
def test_a_built_library_of_another_system_is_passed_over(built: Path, tmp_path: Path) -> None:
    (file,) = built.glob("*.so")
    (tmp_path / "built").mkdir()
    (tmp_path / "built" / file.name).write_bytes(b"MZ not for this system")
    assert "native-" in loaded_from(tmp_path / "built", XDG_CACHE_HOME=str(tmp_path))


def test_the_best_set_of_instructions_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def sets(machine: str, capability: str, knows_bf16: bool = False) -> tuple[str, ...]:
        monkeypatch.setattr("platform.machine", lambda: machine)
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: knows_bf16, raising=False)
        return native._instruction_sets()

    assert sets("x86_64", "AVX512", True) == ("avx512_bf16", "avx512", "avx2")
    assert sets("AMD64", "AVX512") == ("avx512", "avx2")
    assert sets("x86_64", "AVX2") == ("avx2",)
    assert sets("x86_64", "DEFAULT") == ()
    assert sets("arm64", "DEFAULT") == ("neon",)
    assert sets("riscv64", "DEFAULT") == ()


@pytest.mark.long
@compiled
def test_a_compiler_with_flags(tmp_path: Path) -> None:
    assert told(CC="cc -DNOTHING", XDG_CACHE_HOME=str(tmp_path)) == "native code True"


@pytest.mark.long
@compiled
@pytest.mark.parametrize("refused", ["=native", "-z,defs"])
def test_a_compiler_that_refuses_flags(refused: str, tmp_path: Path) -> None:
    picky = script(tmp_path / "picky", f'case "$*" in *{refused}*) exit 1;; esac', 'exec cc "$@"')
    assert told(CC=picky, XDG_CACHE_HOME=str(tmp_path)) == "native code True"


@pytest.mark.long
@compiled
@pytest.mark.parametrize("size", [0, 50_000])
def test_a_damaged_library_is_compiled_again(size: int, tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    told(**cache)
    (path,) = (tmp_path / "tweenlet").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:size])
    assert told(**cache) == "native code True"
    assert path.read_bytes() == whole


@pytest.mark.slow
@compiled
@pytest.mark.filterwarnings("ignore:no cache on disk")
def test_a_damaged_library_that_can_only_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    damaged = cache_folder() / f"native-{native._fingerprint(['cc'])}.so"
    damaged.write_bytes(b"damaged")
    monkeypatch.setattr(os, "access", lambda path, mode, **_: mode != os.W_OK)
    assert native.library.__wrapped__() is not None
    assert damaged.read_bytes() == b"damaged"


@pytest.mark.long
@compiled
@pytest.mark.parametrize("source", native.SOURCES, ids=lambda path: path.name)
@pytest.mark.parametrize("kind", ["native", "x86-64-v3", "x86-64"])
def test_it_compiles_without_warnings(source: Path, kind: str, tmp_path: Path) -> None:
    if kind != "native" and os.uname().machine != "x86_64":
        pytest.skip("flags of another processor")
    command = ["cc", *native.FLAGS, f"-march={kind}", "-Wextra", "-Werror", "-fsyntax-only", str(source)]
    subprocess.run(command, check=True, timeout=120)
