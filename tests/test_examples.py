"""The examples in the docstrings of the public names run, and give what they say."""

from __future__ import annotations

import ast
import doctest
import inspect
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

import tweenlet
from tweenlet.network import config

SIZE = (64, 48)


def constants() -> dict[str, str]:
    """The strings below the constants of a module, which Python itself drops."""
    body = ast.parse(inspect.getsource(config)).body
    return {
        target.id: note.value.value
        for statement, note in pairwise(body)
        if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name)
        if isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant)
    }


def text_of(name: str) -> str:
    return constants().get(name) or inspect.getdoc(getattr(tweenlet, name)) or ""


@pytest.fixture
def footage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """in.mp4, of four frames, before.png and after.png, and three clips in clips, in the current folder."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    pictures = [
        np.stack(
            [128 + 100 * np.sin((x - 2 * i) / 5), 2 * y + 50, 128 + 100 * np.cos((y + x - 2 * i) / 7)], -1
        )
        for i in range(4)
    ]
    with av.open("in.mp4", "w") as output:
        stream = output.add_stream("libx264", 25)
        stream.width, stream.height = SIZE
        for picture in pictures:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")))
        output.mux(stream.encode(None))
    for number in range(3):
        Path(f"clips/{number}").mkdir(parents=True)
        for frame in range(8):
            picture = 128 + 100 * np.sin((x + (number + 1) * y - 2 * frame) / 5)
            colours = np.stack([picture, 255 - picture, picture], -1).astype(np.uint8)
            Image.fromarray(colours).save(f"clips/{number}/{frame}.png")
    for name, picture in zip(("before.png", "after.png"), pictures, strict=False):
        Image.fromarray(picture.astype(np.uint8)).save(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*tweenlet.__all__, "tweenlet"])
def test_the_example_of_a_public_name_runs(name: str, footage: None) -> None:
    text = tweenlet.__doc__ if name == "tweenlet" else text_of(name)
    assert text is not None
    names = {"tweenlet": tweenlet, "torch": torch, "np": np}
    examples = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert examples.examples, f"expected an example of tweenlet.{name} in its docstring"
    report: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=report.append)
    assert not outcome.failed, "".join(report)
