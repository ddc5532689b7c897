"""What a wheel holds is checked by scripts/wheel.py: here wheels made by hand, and a real one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheel_script", ROOT / "scripts/wheel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel(path: Path, names: set[str], size: int = 1) -> Path:
    with ZipFile(path, "w") as archive:
        for name in (*names, "tweenlet-1.dist-info/METADATA"):
            archive.writestr(name, b"x" * size)
    return path


@pytest.mark.parametrize("tag", ["manylinux_2_17_x86_64", "macosx_11_0_arm64", "win_amd64", "any"])
def test_a_complete_wheel_is_complete(tag: str, script: ModuleType, tmp_path: Path) -> None:
    names = script.expected_files(tag)
    path = wheel(tmp_path / f"tweenlet-1-py3-none-{tag}.whl", names)
    script.check(path)
    library = sorted(name for name in names if "/built/" in name)
    kinds = {
        "manylinux_2_17_x86_64": ["avx2.so", "avx512.so", "avx512_bf16.so"],
        "macosx_11_0_arm64": ["neon.so"],
        "win_amd64": ["avx2.dll", "avx512.dll", "avx512_bf16.dll"],
        "any": [],
    }
    assert [Path(name).name for name in library] == kinds[tag]


def test_what_is_missing_too_much_or_too_large_is_named(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, path = script.expected_files("any"), tmp_path / "tweenlet-1-py3-none-any.whl"
    with pytest.raises(ValueError, match=r"lacks tweenlet/shipped/default\.safetensors"):
        script.check(wheel(path, names - {"tweenlet/shipped/default.safetensors"}))
    with pytest.raises(ValueError, match=r"has weights/teacher\.safetensors"):
        script.check(wheel(path, names | {"weights/teacher.safetensors"}))
    monkeypatch.setattr(script, "LARGEST", 1000)
    with pytest.raises(ValueError, match="expected 1,000 at the most"):
        script.check(wheel(path, names))


@pytest.mark.long
@pytest.mark.optional
@pytest.mark.parametrize("compiler", ["cc", "no-such-compiler"])
def test_a_wheel_is_built_with_a_compiler_and_without(
    compiler: str, script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("scikit_build_core", reason="the extra dev is not installed")
    monkeypatch.setenv("CC", compiler)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", tmp_path, ROOT], check=True, timeout=600)
    (path,) = tmp_path.glob("*.whl")
    script.check(path, pure=compiler != "cc")
