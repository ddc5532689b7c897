from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from tweenlet import weights
from tweenlet.config import MINI, SMALL, TINY
from tweenlet.evaluation.metrics import eight_bit
from tweenlet.evaluation.peers import PEERS, Network, Onnx, Peer, command, function, methods
from tweenlet.network.stmfnet import STMFNet

WIDTH, HEIGHT, STEP = 160, 128, 8  # pixels; a step between two frames that lie two times apart


def scenery() -> Tensor:
    """A smooth, colourful, wide picture (3, HEIGHT, W) to look at through a moving window."""
    noise = np.random.default_rng(0).uniform(0, 1, (HEIGHT, 400, 3)).astype(np.float32)
    picture = cv2.GaussianBlur(noise, (0, 0), 4)
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    return torch.from_numpy((picture * 255).round() / 255).permute(2, 0, 1)


def at(time: int) -> Tensor:
    """The window at one time: it moves half a STEP to the right for each."""
    left = 100 + time * STEP // 2
    return scenery()[:, :, left : left + WIDTH]


def psnr(made: Tensor, truth: Tensor) -> float:
    return -10 * ((eight_bit(made) - eight_bit(truth)).square().mean() / 255**2 + 1e-8).log10().item()


def eighths(*size: int) -> Tensor:
    """Random pictures that 8 bits hold exactly."""
    return torch.randint(0, 256, (4, 3, *size)) / 255


@pytest.fixture(scope="module")
def moving() -> Tensor:
    return torch.stack([at(time) for time in (0, 2, 4, 6)])


@pytest.mark.parametrize("name", ["dis", "minterpolate"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [1, 1, 2, 2]], ids=["four frames", "two frames"])
def test_motion_is_followed_to_the_very_middle(name: str, order: list[int], moving: Tensor) -> None:
    made = PEERS[name](moving[order])
    assert made.shape == (3, HEIGHT, WIDTH)
    inner = (..., slice(16, -16), slice(24, -24))
    quality = {time: psnr(made[inner], at(time)[inner]) for time in range(7)}
    assert max(quality, key=quality.__getitem__) == 3
    assert quality[3] > 50
    assert quality[3] > psnr(PEERS["blend"](moving)[inner], at(3)[inner]) + 15


@pytest.mark.parametrize("name", PEERS)
def test_a_still_picture_keeps_its_colours_exactly(name: str) -> None:
    still = at(0).expand(4, -1, -1, -1)
    torch.testing.assert_close(PEERS[name](still), at(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["blend", "dis"])
def test_the_outer_frames_do_not_matter(name: str, moving: Tensor) -> None:
    others = moving.clone()
    others[[0, 3]] = 0
    torch.testing.assert_close(PEERS[name](others), PEERS[name](moving))


def test_a_hole_shows_the_blend(monkeypatch: pytest.MonkeyPatch, moving: Tensor) -> None:
    """All motion leads out of the frame, so that nothing lands in it."""
    outwards = torch.full((2, HEIGHT, WIDTH), 4000.0)
    monkeypatch.setattr("tweenlet.evaluation.peers.dis_flow", lambda *_: outwards)
    torch.testing.assert_close(PEERS["dis"](moving), PEERS["blend"](moving))


def test_minterpolate_says_what_went_wrong(monkeypatch: pytest.MonkeyPatch, moving: Tensor) -> None:
    monkeypatch.setattr("tweenlet.evaluation.peers.MINTERPOLATE", "no_such_filter")
    with pytest.raises(OSError, match="minterpolate failed on four frames of 160x128: "):
        PEERS["minterpolate"](moving)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(OSError, match="needs imageio-ffmpeg: pip install imageio-ffmpeg"):
        PEERS["minterpolate"](moving)


class Second(nn.Module):
    """Gives back the second frame, dimmed by its one weight; wants sizes that are multiples of 16."""

    stride = 16

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, frames: Tensor) -> Tensor:
        assert frames.shape[-1] % 16 == frames.shape[-2] % 16 == 0
        return frames[:, 1] * self.gain


def test_a_network_is_a_method_of_any_size_with_a_digest() -> None:
    frames = torch.rand(4, 3, 21, 35)
    network = Network(Second())
    torch.testing.assert_close(network(frames), frames[1])
    assert network.parameters == 1
    assert network.digest == Network(Second()).digest != Network(Second(0.5)).digest
    assert len(network.digest) == 64


def small() -> STMFNet:
    torch.manual_seed(0)
    return STMFNet(SMALL).eval()


def test_a_network_runs_in_half_precision(moving: Tensor) -> None:
    found = methods(["default", "half=default:bfloat16"])
    assert found["half"].told == "the shipped weights default, in bfloat16"
    apart = (found["half"](moving) - found["default"](moving)).abs()
    assert 0 < apart.max() < 0.05
    with pytest.raises(ValueError, match="expected a checkpoint"):
        methods(["default:int8"])


def test_repeated_outer_frames_are_steady_motion_to_a_network(moving: Tensor) -> None:
    """As good as with the steady outer frames, and better than with stills that are not equal to the bit."""
    network, inner = Network(small()), (..., slice(16, -16), slice(24, -24))
    pair = moving[[1, 1, 2, 2]]
    nearly = pair.clone()
    nearly[[0, 3], 0, 0, 0] += 1e-4
    quality = [psnr(network(frames)[inner], at(3)[inner]) for frames in (moving, pair, nearly)]
    assert quality[1] > quality[0] - 0.5
    assert quality[1] > quality[2] + 3
    assert torch.equal(
        network(pair), network.interpolator.middle([moving[1], moving[1], moving[2], moving[2]])
    )


def test_a_network_does_not_take_new_frames_for_old_ones() -> None:
    """Views of tensors that come and go: the memory of one must not be that of another, nor grow."""
    network = Network(model := small())
    for seed in range(8):
        torch.manual_seed(seed)
        frames = torch.rand(4, 3, 32, 48)
        assert torch.equal(network(frames), Network(model)(frames))
        del frames
    assert network.interpolator.flows is not None
    assert len(network.interpolator.flows._known) <= 12


def script(folder: Path, body: str) -> str:
    """The beginning of a command that runs a Python script of this body."""
    path = folder / "some peer.py"
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
    peer = command(f"{script(tmp_path, body)} {{0}} {{1}} {{2}} {{3}} {{out}} {shlex.quote(str(noted))}")
    frames = eighths(20, 40)
    made = peer(frames)
    assert made.dtype == torch.float32
    torch.testing.assert_close(
        made, torch.cat([f[..., 10 * i : 10 * i + 10] for i, f in enumerate(frames)], -1)
    )
    assert not Path(noted.read_text()).exists()
    assert peer.told.startswith("the command ")
    assert len(peer.digest) == 64


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
        ("print('done')", r"wrote no \{out\}, given frames of 40x20; its last words: done$"),
        (
            "cv2.imwrite(sys.argv[1], cv2.imread(sys.argv[2])[:10])",
            r"wrote an \{out\} of 40x10, .* words: none$",
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
        OSError, match=r"took more than 1.5 s, given frames of 40x20; its last words: waiting$"
    ):
        command(text, patience=1.5)(eighths(20, 40))
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


FUNCTIONS = """
import numpy as np
import torch
from neighbour_of_a_peer import half

def as_array(frames):
    frames *= half  # its own to change
    return (frames[1] + frames[2]).numpy()[:, ::-1][:, ::-1]

def as_tensor(frames):
    assert not torch.is_grad_enabled()
    return frames[1:3].double().mean(0)

def in_bytes(frames):
    return (frames[1] * 255).byte().numpy()

def with_batch(frames):
    return frames[1:2]

class Nets:
    net = torch.nn.Linear(2, 3)

    def nothing(frames):
        pass
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour_of_a_peer.py").write_text("half = 0.5")
    (tmp_path / "functions_of_a_peer.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", ["functions_of_a_peer.py", "functions_of_a_peer"])
def test_a_function_is_called(source: str, functions: Path) -> None:
    frames = torch.rand(4, 3, 20, 40)
    kept = frames.clone()
    for name in ("as_array", "as_tensor"):
        peer = function(f"{source}:{name}")
        made = peer(frames)
        assert made.dtype == torch.float32
        torch.testing.assert_close(made, kept[1:3].mean(0))
        assert torch.equal(frames, kept)
    assert peer.told == f"the function {source}:as_tensor"
    assert peer.digest == function(f"{source}:Nets.net").digest
    assert function(f"{source}:Nets.net").parameters == 9


def test_functions_that_do_not_fit(functions: Path) -> None:
    call = partial(function, "functions_of_a_peer.py:in_bytes")
    with pytest.raises(
        ValueError, match=r"in_bytes gave torch.uint8 \(3, 8, 9\), .* \(3, 8, 9\) of floats in"
    ):
        call()(torch.rand(4, 3, 8, 9))
    with pytest.raises(ValueError, match=r"with_batch gave torch.float32 \(1, 3, 8, 9\), expected"):
        function("functions_of_a_peer.py:with_batch")(torch.rand(4, 3, 8, 9))
    with pytest.raises(ValueError, match=r"nothing gave NoneType, expected a tensor or array \(3, 8, 9\)"):
        function("functions_of_a_peer.py:Nets.nothing")(torch.rand(4, 3, 8, 9))
    with pytest.raises(
        ValueError, match=r"function midle in .*_peer.py, got None; it has as_array, as_tensor, in"
    ):
        function("functions_of_a_peer.py:midle")
    with pytest.raises(FileNotFoundError, match=r"no such file: nowhere\.py"):
        function("nowhere.py:middle")
    with pytest.raises(ValueError, match="no_such_peer cannot be imported: ModuleNotFoundError"):
        function("no_such_peer:middle")
    (functions / "broken.py").write_text("raise SystemExit('usage: broken')")
    with pytest.raises(ValueError, match=r"broken\.py cannot be imported: SystemExit: usage: broken"):
        function("broken.py:middle")


Shape = list[int | str]
ANY: Shape = ["b", 3, "h", "w"]


def save_onnx(path: Path, inputs: list[Shape], *nodes: onnx.NodeProto, kind: int = TensorProto.FLOAT) -> Path:
    """An ONNX file: inputs x0, x1, ...; nodes, the last of which gives "out"; numbers that they may use."""
    declared = [helper.make_tensor_value_info(f"x{k}", kind, shape) for k, shape in enumerate(inputs)]
    out = helper.make_tensor_value_info("out", kind, [None] * 4)
    held = [
        helper.make_tensor("inner", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("sizes", TensorProto.INT64, [2], [3, 3]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("times8", TensorProto.FLOAT, [4], [1, 1, 8, 8]),
        helper.make_tensor("gain", TensorProto.FLOAT, [1, 3, 1, 1], [1, 1, 1]),
    ]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(nodes, "peer", declared, [out], [h for h in held if h.name in used])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


GAIN = helper.make_node("Mul", ["mean", "gain"], ["out"])
MEAN_OF_TWO = [
    helper.make_node("Gather", ["x0", "inner"], ["two"], axis=1),
    helper.make_node("ReduceMean", ["two", "one"], ["mean"], keepdims=0),
    GAIN,
]
HALVES = helper.make_node("Split", ["x0", "sizes"], ["left", "right"], axis=1)


@pytest.mark.parametrize(
    ("inputs", "nodes", "mean_of"),
    [
        ([["b", 4, 3, "h", "w"]], MEAN_OF_TWO, [1, 2]),
        ([[1, 4, 3, "h", "w"]], MEAN_OF_TWO, [1, 2]),
        ([["b", 6, "h", "w"]], [HALVES, helper.make_node("Mean", ["left", "right"], ["out"])], [1, 2]),
        ([ANY] * 2, [helper.make_node("Mean", ["x0", "x1"], ["out"])], [1, 2]),
        ([ANY] * 4, [helper.make_node("Mean", ["x0", "x1", "x2", "x3"], ["out"])], [0, 1, 2, 3]),
    ],
    ids=["five", "one by one", "six channels", "two inputs", "four inputs"],
)
def test_an_onnx_file_is_a_method(
    inputs: list[Shape], nodes: list[onnx.NodeProto], mean_of: list[int], tmp_path: Path
) -> None:
    frames = torch.rand(3, 4, 3, 21, 35)
    network = Onnx(save_onnx(tmp_path / "mean.onnx", inputs, *nodes))
    torch.testing.assert_close(network(frames[0]), frames[0, mean_of].mean(0))
    torch.testing.assert_close(network.batch(frames), frames[:, mean_of].mean(1))


def test_twelve_channels_are_the_four_frames_in_order(tmp_path: Path) -> None:
    picked = helper.make_node("Gather", ["x0", "picked"], ["out"], axis=1)
    third = helper.make_node("Constant", [], ["picked"], value=helper.make_tensor("", 7, [3], [6, 7, 8]))
    frames = torch.rand(4, 3, 21, 35)
    network = Onnx(save_onnx(tmp_path / "third.onnx", [["b", 12, "h", "w"]], third, picked))
    assert torch.equal(network(frames), frames[2])


def test_an_onnx_file_knows_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_onnx(tmp_path / "mean.onnx", [["b", 4, 3, "h", "w"]], *MEAN_OF_TWO)
    network = Onnx(path)
    assert network.parameters == 3  # the gain; not the numbers of frames
    assert "ONNX Runtime" in network.told
    (tmp_path / "mean.onnx.data").write_bytes(b"weights")
    assert len(network.digest) == 64
    assert (
        network.digest
        != Onnx(save_onnx(tmp_path / "same.onnx", [["b", 4, 3, "h", "w"]], *MEAN_OF_TWO)).digest
    )
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert Onnx(path).parameters == 0


@pytest.mark.parametrize(
    "nodes",
    [
        [
            helper.make_node("SpaceToDepth", ["x0"], ["deep"], blocksize=16),
            helper.make_node("DepthToSpace", ["deep"], ["out"], blocksize=16),
        ],
        [
            helper.make_node("AveragePool", ["x0"], ["low"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Resize", ["low", "", "times8"], ["out"], mode="nearest"),
        ],
    ],
    ids=["refuses", "answers with another size"],
)
def test_sizes_that_an_onnx_file_does_not_take_are_padded(
    nodes: list[onnx.NodeProto], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    unused = helper.make_node("Shape", ["x1"], ["unused"])
    network = Onnx(save_onnx(tmp_path / "stride.onnx", [ANY, ANY], unused, *nodes))
    blocks = torch.rand(4, 3, 3, 5).repeat_interleave(8, -1).repeat_interleave(8, -2)
    for height, width in ((24, 40), (16, 33), (21, 35)):
        frames = blocks[..., :height, :width]
        made = network(frames)
        assert made.shape == (3, height, width)
        torch.testing.assert_close(made[:, :16, :32], frames[1, :, :16, :32])
    assert not capfd.readouterr().err


def test_an_onnx_file_of_one_size_takes_what_can_be_padded_to_it(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "fixed.onnx", [[1, 3, 32, 48]] * 2, helper.make_node("Mean", ["x0", "x1"], ["out"])
    )
    frames = torch.rand(4, 3, 30, 44)
    torch.testing.assert_close(Onnx(path)(frames), frames[1:3].mean(0))
    with pytest.raises(
        ValueError, match=r"fixed.onnx takes 48x32 only: got frames of 64x40, tried .*up to 128; "
    ):
        Onnx(path)(torch.rand(4, 3, 40, 64))


def test_onnx_files_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = helper.make_node("Identity", ["x0"], ["out"])
    with pytest.raises(FileNotFoundError, match="no such file"):
        Onnx(tmp_path / "nothing.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ValueError, match="not an ONNX file that ONNX Runtime can run"):
        Onnx(tmp_path / "text.onnx")
    grey = save_onnx(tmp_path / "grey.onnx", [["b", 1, "h", "w"]], same)
    with pytest.raises(ValueError, match=r"does not fit: expected an input of .* got \[\('x0', \['b', 1"):
        Onnx(grey)
    whole = save_onnx(tmp_path / "bytes.onnx", [["b", 6, "h", "w"]], same, kind=TensorProto.UINT8)
    with pytest.raises(ValueError, match=r"all float; got .*tensor\(uint8\)"):
        Onnx(whole)
    six = save_onnx(tmp_path / "six.onnx", [["b", 6, "h", "w"]], same)
    with pytest.raises(ValueError, match=r"has the shape \(1, 6, 16, 16\), expected \(1, 3, 16, 16\)"):
        Onnx(six)(torch.rand(4, 3, 16, 16))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(OSError, match=r"ONNX Runtime is not installed: pip install 'tweenlet\[onnx\]'"):
        Onnx(six)


def test_methods_come_by_name_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load", lambda name: Second())
    checkpoint = tmp_path / "mine.safetensors"
    checkpoint.touch()
    mean = save_onnx(tmp_path / "mean.onnx", [ANY] * 2, helper.make_node("Mean", ["x0", "x1"], ["out"]))
    monkeypatch.chdir(tmp_path)
    peers = ["cp=cp {1} {out}", "net=mean.onnx", "path=os.path:join"]
    found = methods(["dis", "mine.safetensors", "mean.onnx", "default"], peers=peers)
    assert list(found) == ["dis", "mine.safetensors", "mean.onnx", "default", "cp", "net", "path"]
    assert found["dis"] is PEERS["dis"]
    assert isinstance(found["mine.safetensors"], Network)
    assert isinstance(found["net"], Onnx)
    assert isinstance(found["cp"], Peer)
    assert mean.name in found["mean.onnx"].told
    frames = eighths(20, 40)
    torch.testing.assert_close(found["cp"](frames), frames[1])
    torch.testing.assert_close(found["net"](frames), frames[1:3].mean(0))
    with pytest.raises(
        ValueError, match=r"expected a checkpoint or ONNX file or one of .*blend.*; got miniterpolate"
    ):
        methods(["miniterpolate"])


def test_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load", lambda name: Second())
    monkeypatch.chdir(tmp_path)
    path = Path("runs/lr=1e-3/model.safetensors")
    path.parent.mkdir(parents=True)
    path.touch()
    assert list(methods([str(path), f"mine={path}", "flow=dis"])) == [str(path), "mine", "flow"]
    long = Path("x" * 90, "y" * 60, "model.safetensors")
    long.parent.mkdir(parents=True)
    long.touch()
    (label,) = methods([str(long)])
    assert len(label) == 100
    assert label.startswith("...x")
    assert label.endswith("yyy/model.safetensors")
    assert list(methods([f"wide={long}"])) == ["wide"]
    for names, peers in ((["dis", "dis"], []), (["x=dis", "x=blend"], []), (["dis"], ["dis=cp {1} {out}"])):
        with pytest.raises(
            ValueError, match=r"two entrants are called (dis|x): give one another label, as in"
        ):
            methods(names, peers=peers)
    for label in ("", " ", "a\nb"):
        with pytest.raises(ValueError, match="expected a label of printable characters"):
            methods([f"{label}=dis"])
    with pytest.raises(FileNotFoundError, match=r"no such file: no\.pth, asked for as mini=no\.pth"):
        methods(["mini=no.pth"])
    with pytest.raises(ValueError, match=r"expected a peer such as NAME=.*FILE\.onnx; got rife"):
        methods([], peers=["rife"])


def test_a_published_checkpoint_is_run_as_its_authors_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padded to 128, and called as in publications, where it is the published network."""
    torch.manual_seed(0)
    model = STMFNet(replace(TINY, features=(32, 32, 32, 32))).eval()
    path = tmp_path / "tiny.pth"
    torch.save({"state_dict": weights.to_official(model)}, path)
    (network,) = methods([str(path)]).values()
    assert isinstance(network, Network)
    assert network.interpolator.multiple == 128
    assert network.digest == Network(model).digest
    assert "padded to multiples of 128" in network.told
    torch.testing.assert_close(network(frames := eighths(32, 40)), Network(model, pad_to=128)(frames))
    published = SimpleNamespace(config=MINI)
    monkeypatch.setattr(weights, "convert", lambda path: published)
    monkeypatch.setattr("tweenlet.evaluation.peers.Network", lambda model, *_, **__: model)
    assert methods([str(path), f"theirs={path}"]) == {"ST-MFNet Mini": published, "theirs": published}


def test_a_changed_program_is_another_peer(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text("print(1)")
    text = f"{sys.executable} {script} {{1}} {{out}}"
    before = command(text).digest
    assert command(text).digest == before
    script.write_text("print(2)")
    assert command(text).digest != before
