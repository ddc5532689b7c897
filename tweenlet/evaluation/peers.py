"""Methods that make the frame in the middle: our networks, and peers of any kind to hold them against.

A Method takes four frames (4, 3, H, W), RGB in [0, 1], and gives the one between the inner two, (3, H, W).

    name -----------------> blend          the mean of the two
                            dis            OpenCV's DIS optical flow both ways, both splatted half of the way
                            minterpolate   ffmpeg's motion-compensating filter, given the same four frames
    weights, checkpoint --> Network        a network of ours, padded and cropped by the Interpolator
    FILE.onnx ------------> Onnx           anybody's network, run by ONNX Runtime
    CMD {1} {2} {out} ----> command        a program, given PNG files, run once for a frame
    FILE.py:FUNCTION -----> function       a Python function

Where a set has two frames only, the outer ones are repeated: [a, a, b, b]. A network with classical motion
takes that to be steady then, as at the ends of a clip. minterpolate is given the four as well, since it makes
nothing of two: the stills cost it 0.07 dB on 18 windows of clips9, a search that needs none (bilat) 0.16.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from tweenlet import video, weights
from tweenlet.config import MINI, STMFNET
from tweenlet.cost import OFFICIAL_STRIDE
from tweenlet.evaluation.metrics import eight_bit, ffmpeg
from tweenlet.export import Session, need
from tweenlet.interpolate import Interpolator
from tweenlet.network.stmfnet import FRAMES
from tweenlet.ops.dis import dis as dis_flow
from tweenlet.ops.dis import grey
from tweenlet.ops.splat import splat_sum
from tweenlet.ops.warp import sample
from tweenlet.tiles import padded

Method = Callable[[Tensor], Tensor]
"""One that has more to say of itself has ``parameters`` (their number), ``digest`` (SHA-256 of weights, file
or command) and ``told`` (a line on what it is)."""

MINTERPOLATE = "minterpolate=fps=2:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1:scd=none"
"""At its best. Three frames a second in and two out: of the times 0 to 3, only 0 and 1.5 are asked."""
PATIENCE = 600.0
"""Seconds that a command may take for a frame."""
FORMS = (
    'NAME="CMD {1} {2} {out}" ({0} to {3} are the four frames as PNG files, {out} the PNG to write half-way '
    "between {1} and {2}), NAME=FILE.py:FUNCTION, NAME=package.module:function or NAME=FILE.onnx"
)
"""What a peer may look like, for people."""

# Both chosen on clips9, that is in the peer's favour.
_STRICTNESS = 10.0  # a pixel that differs from its match by d of 1 counts exp(-10 d)
_BLEND_SHARE = 0.1  # of a full pixel, everywhere; where nothing lands, it is all there is

_HOLE = re.compile(r"\{([0-3]|out)\}")
_MULTIPLES = (1, 8, 16, 32, 64, 128)  # an ONNX file does not say which one its network wants
_PUBLISHED = {STMFNET: "ST-MFNet", MINI: "ST-MFNet Mini"}
_LONGEST = 100  # characters of a path that serve as a label
# Without compression and filter a PNG takes a third of the time that it takes with either.
_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 0]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # older OpenCVs have none, and filter little
    _FAST += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


@dataclass(frozen=True)
class Peer:
    """A Method with what there is to say of it."""

    make: Method
    told: str
    digest: str = ""
    parameters: int = 0

    def __call__(self, frames: Tensor) -> Tensor:
        """The frame in the middle."""
        return self.make(frames)


class Network:
    """A network as a Method; how many ``parameters`` it has, and the ``digest`` (SHA-256) of its weights.

    ``pad_to`` and ``dtype`` as in :class:`~tweenlet.interpolate.Interpolator`.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str | torch.device | None = None,
        *,
        pad_to: int | None = None,
        dtype: torch.dtype = torch.float32,
        told: str = "",
    ) -> None:
        self.interpolator = Interpolator(model, device=device, pad_to=pad_to, dtype=dtype)
        self.parameters = _count(model)
        self.digest = _digest(model)
        self.told = told
        if dtype != torch.float32:
            precision = str(dtype).removeprefix("torch.")
            self.told, self.digest = f"{told}, in {precision}", f"{self.digest}, {precision}"

    def __call__(self, frames: Tensor) -> Tensor:
        """The frame in the middle, not clamped; nothing is known of the frames from an earlier call."""
        return self.interpolator.middle(list(frames))


class Onnx:
    """An ONNX file as a Method, run by ONNX Runtime on the CPU, on as many threads as torch.

    It takes RGB in [0, 1], float32: all four frames (B, 4, 3, h, w); or four or the middle two as inputs of
    their own, (B, 3, h, w); or these side by side, (B, 12, h, w) or (B, 6, h, w). Its first output is the
    frame between the middle two, (B, 3, h, w). Frames of a size that it refuses, or answers with another, are
    padded to multiples of 8, 16, 32, 64 or 128, the first that it takes, and the result is cropped.

    FileNotFoundError for no such file, OSError without ONNX Runtime, ValueError where it cannot be run or the
    inputs are others.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        need("onnxruntime", "ONNX Runtime", "onnx")
        self._session = Session(self.path)
        inputs = self._session.inputs
        self._names = [given.name for given in inputs]
        self._shape = inputs[0].shape if inputs else []
        arrange = _arrangement(len(inputs), self._shape)
        if arrange is None or any(given.type != "tensor(float)" for given in inputs):
            raise ValueError(
                f"{path} does not fit: expected an input of (B, 4, 3, h, w), (B, 12, h, w) or (B, 6, h, w), "
                "or 2 or 4 inputs of (B, 3, h, w), all float; "
                f"got {[(given.name, given.shape, given.type) for given in inputs]}"
            )
        self._arrange = arrange
        self._multiple = 1
        runtime = version("onnxruntime")
        self.told = f"{path}, run by ONNX Runtime {runtime} on the CPU, padded where it must be"

    def __call__(self, frames: Tensor) -> Tensor:
        """The frame in the middle, not clamped; ValueError for a size that cannot be run."""
        return self.batch(frames.unsqueeze(0))[0]

    def batch(self, frames: Tensor) -> Tensor:
        """Four frames each (B, 4, 3, H, W) -> (B, 3, H, W) on the same device; ValueError as for a call."""
        height, width = frames.shape[-2:]
        pictures, trouble = frames.float().cpu().flatten(0, 1), ""
        for multiple in _MULTIPLES[_MULTIPLES.index(self._multiple) :]:
            window = padded(pictures, multiple)
            window = window.view(len(frames), FRAMES, 3, *window.shape[-2:])
            try:
                made = self._run(window)
            except ValueError as error:
                trouble = trouble or str(error)
                continue
            if made.shape == (len(frames), 3, *window.shape[-2:]):
                self._multiple = multiple
                return made[..., :height, :width].to(frames.device)
            wanted = (len(frames), 3, *window.shape[-2:])
            trouble = trouble or f"its first output has the shape {tuple(made.shape)}, expected {wanted}"
        fixed = any(isinstance(size, int) for size in self._shape[-2:])
        takes = f"takes {self._shape[-1]}x{self._shape[-2]} only" if fixed else "does not run"
        raise ValueError(
            f"{self.path} {takes}: got frames of {width}x{height}, tried as they are and padded to multiples "
            f"of up to {_MULTIPLES[-1]}; {trouble}"
        )

    def _run(self, window: Tensor) -> Tensor:
        """One run, or where the file is for single samples, one for each; ValueError as of a Session."""
        made = []
        for part in window.chunk(len(window) if self._shape[0] == 1 else 1):
            arrays = [tensor.contiguous().numpy() for tensor in self._arrange(part)]
            made.append(self._session.run_with_names(dict(zip(self._names, arrays, strict=True))))
        return torch.from_numpy(np.concatenate(made)).float()

    @cached_property
    def parameters(self) -> int:
        """How many numbers its initialisers hold, those of shapes left out; 0 where ``onnx`` is not there."""
        try:
            import onnx
        except ImportError:
            return 0
        held = onnx.load(self.path, load_external_data=False).graph.initializer
        return sum(math.prod(tensor.dims) for tensor in held if tensor.data_type != onnx.TensorProto.INT64)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, and of the weights in FILE.onnx.data beside it, if that is there."""
        beside = Path(f"{self.path}.data")
        return _sha(*(file.read_bytes() for file in (self.path, beside) if file.is_file()))


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
    used = set(_HOLE.findall(text))
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
            failed, said = _run([_HOLE.sub(lambda hole: files[hole[1]], word) for word in words], patience)
            if not failed:
                try:
                    return _read(Path(files["out"]), (height, width))
                except ValueError as error:
                    failed = str(error)
        raise OSError(f"`{text}` {failed}, given frames of {width}x{height}; its last words: {said}")

    program = [Path(shutil.which(words[0]) or words[0]), *map(Path, words[1:])]
    digest = _sha(text.encode(), *(file.read_bytes() for file in program if file.is_file()))
    return Peer(make, f"the command {text}", digest)


def function(place: str) -> Peer:
    """A Python function, ``FILE.py:FUNCTION`` or ``package.module:function``, by its place.

    It is given the four frames, a float32 tensor (4, 3, H, W) on the CPU that is its own, without gradients;
    and gives a tensor or a numpy array (3, H, W) of floats in [0, 1]. What it imports may lie beside FILE.py,
    or, as the package, in the current folder. Its exceptions are its own.

    FileNotFoundError for no such file; ValueError for what cannot be imported or called, and when called, for
    a result of another kind.
    """
    source, _, name = place.rpartition(":")
    module = _imported(source)
    call: Any = module
    for part in name.split("."):
        call = getattr(call, part, None)
    if not callable(call):
        raise ValueError(f"expected a function {name} in {source}, got {call}; it has {_functions(module)}")

    def make(frames: Tensor) -> Tensor:
        with torch.no_grad():
            made = call(frames.clone())
        if isinstance(made, np.ndarray):
            made = torch.from_numpy(np.ascontiguousarray(made))
        wanted = (3, *frames.shape[-2:])
        if not isinstance(made, Tensor) or made.shape != wanted or not made.is_floating_point():
            got = f"{made.dtype} {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
            raise ValueError(f"{place} gave {got}, expected a tensor or array {wanted} of floats in [0, 1]")
        return made.detach().cpu().float()

    code = getattr(module, "__file__", None)  # none of what is built into Python
    digest = _sha(Path(code).read_bytes()) if code else ""
    return Peer(make, f"the function {place}", digest, _count(call) if isinstance(call, nn.Module) else 0)


def blend(frames: Tensor) -> Tensor:
    """The mean of the two middle frames."""
    return frames[1:3].mean(0)


def dis(frames: Tensor) -> Tensor:
    """Linear motion from OpenCV's DIS flow (medium), splatted half-way from both middle frames.

    Softmax splatting with brightness constancy for importance (Niklaus and Liu, 2020): a pixel whose match
    is unlike it is probably hidden in the other frame, and gives way. Where nothing lands, the blend shows.
    """
    pair = frames[1:3].float()
    looks = [grey(picture) for picture in pair]
    flow = torch.stack([dis_flow(*looks), dis_flow(*looks[::-1])])
    mismatch = (pair - sample(pair.flip(0), flow)).abs().mean(1, keepdim=True)
    importance = torch.exp(-_STRICTNESS * mismatch)
    landed = splat_sum(torch.cat((pair * importance, importance), 1), flow / 2).sum(0)
    return (landed[:3] + _BLEND_SHARE * blend(frames)) / (landed[3:] + _BLEND_SHARE)


def minterpolate(frames: Tensor) -> Tensor:
    """The filter of ffmpeg (:data:`MINTERPOLATE`) on the four frames, by way of the package imageio-ffmpeg.

    It knows no RGB: the planes travel untouched as if they were Y'CbCr, green in the place of luma, on which
    motion is searched. That loses no colour, and on clips9 scores a little better than a conversion there and
    back. OSError without imageio-ffmpeg, and with ffmpeg's own words if it fails.
    """
    height, width = frames.shape[-2:]
    source = f"-f rawvideo -pix_fmt yuv444p -s {width}x{height} -r 3 -i -"
    target = "-fps_mode passthrough -f rawvideo -pix_fmt yuv444p -"
    order = [ffmpeg(), "-v", "error", *source.split(), "-vf", MINTERPOLATE, *target.split()]
    planes = eight_bit(frames[:, [1, 2, 0]]).byte().numpy()
    run = subprocess.run(order, input=planes.tobytes(), capture_output=True, check=False)
    if run.returncode or len(run.stdout) != 2 * planes[0].size:
        reason = run.stderr.decode(errors="replace").strip() or f"{len(run.stdout)} bytes came back"
        raise OSError(f"ffmpeg's minterpolate failed on four frames of {width}x{height}: {reason}")
    middle = np.frombuffer(run.stdout, np.uint8).reshape(2, 3, height, width)[1]
    return torch.from_numpy(middle[[2, 0, 1]]).float() / 255


PEERS: dict[str, Method] = {
    "blend": Peer(blend, "the mean of the two middle frames"),
    "dis": Peer(dis, f"DIS optical flow of OpenCV {cv2.__version__}, softmax splatting"),
    "minterpolate": Peer(minterpolate, f"ffmpeg -vf {MINTERPOLATE}"),
}
"""The classical ones, by name."""


def methods(
    names: Iterable[str], device: str | torch.device | None = None, peers: Iterable[str] = ()
) -> dict[str, Method]:
    """Methods by label, in the order given, the ``peers`` last.

    A name is one of :data:`PEERS`, one of shipped weights, or the path of a checkpoint, of a file that the
    authors of ST-MFNet published (.pth; padded to multiples of 128, as their code does) or of an ONNX file.
    A network of ours runs in half precision as NAME:bfloat16 or NAME:float16.
    LABEL=NAME gives it a label, unless a file has just that name; else its label is what was typed, the end
    of it where it is long, and for a .pth what publications call it. A peer is NAME=CMD (:func:`command`),
    NAME=FILE.py:FUNCTION, NAME=package.module:function (:func:`function`) or NAME=FILE.onnx (:class:`Onnx`).

    Networks of ours run on ``device``, all else on the CPU or where it likes. FileNotFoundError for what is
    not there; ValueError for what is not understood, listing what there is, and for two of one label.
    """
    found: dict[str, Method] = {}
    for label, method in chain((_named(name, device) for name in names), map(_peer, peers)):
        if label in found:
            raise ValueError(f"two entrants are called {label}: give one another label, as in other={label}")
        if not label.strip() or not label.isprintable():
            raise ValueError(f"expected a label of printable characters, got {label!r}")
        found[label] = method
    return found


def _named(text: str, device: str | torch.device | None) -> tuple[str, Method]:
    """The label and the Method of one of the names that :func:`methods` takes."""
    label, equals, name = text.partition("=")
    if not equals or Path(text).exists():
        label, name = _readable(text), text
    name, dtype = _precision_of(name)
    kind = Path(name).suffix
    if kind in (".onnx", ".pth", ".safetensors") and not Path(name).is_file():
        raise FileNotFoundError(f"no such file: {name}" + (f", asked for as {text}" if equals else ""))
    if name in PEERS:
        return label, PEERS[name]
    if name in weights.names():
        return label, Network(weights.load(name), device, dtype=dtype, told=f"the shipped weights {name}")
    if kind == ".onnx":
        return label, Onnx(name)
    if kind == ".pth":
        model = weights.convert(name)
        if name == text:
            label = _PUBLISHED.get(model.config, label)
        told = f"the published checkpoint {name}, frames padded to multiples of {OFFICIAL_STRIDE}"
        return label, Network(model, device, pad_to=OFFICIAL_STRIDE, dtype=dtype, told=told)
    if Path(name).is_file():
        return label, Network(weights.load(name), device, dtype=dtype, told=f"the checkpoint {name}")
    known = ", ".join([*weights.names(), *PEERS])
    raise ValueError(f"expected a checkpoint or ONNX file or one of {known}; got {text}")


def _precision_of(name: str) -> tuple[str, torch.dtype]:
    """A network's name without what may be said behind it, and the precision that this is."""
    before, _, last = name.rpartition(":")
    halves = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    return (before, halves[last]) if last in halves and not Path(name).exists() else (name, torch.float32)


def _peer(text: str) -> tuple[str, Method]:
    """The label and the Method of one of the peers that :func:`methods` takes."""
    label, _, what = text.partition("=")
    if _HOLE.search(what):
        return label, command(what)
    if what.endswith(".onnx"):
        return label, Onnx(what)
    if re.fullmatch(r"(.+\.py|[\w.]+):[\w.]+", what):
        return label, function(what)
    raise ValueError(f"expected a peer such as {FORMS}; got {text}")


def _readable(path: str) -> str:
    """A path as typed, or the end of it where it is long or has signs that do not print."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in path)
    return shown if len(shown) <= _LONGEST else f"...{shown[3 - _LONGEST :]}"


def _arrangement(inputs: int, shape: Sequence[Any]) -> Callable[[Tensor], list[Tensor]] | None:
    """How frames (B, 4, 3, h, w) become a foreign network's inputs; None where they do not."""
    channels = shape[1] if len(shape) == 4 else None
    if inputs == 1 and len(shape) == 5 and list(shape[1:3]) == [FRAMES, 3]:
        return lambda frames: [frames]
    if inputs == 1 and channels == 12:
        return lambda frames: [frames.flatten(1, 2)]
    if inputs == 1 and channels == 6:
        return lambda frames: [frames[:, 1:3].flatten(1, 2)]
    if inputs == 2 and channels == 3:
        return lambda frames: list(frames[:, 1:3].unbind(1))
    if inputs == FRAMES and channels == 3:
        return lambda frames: list(frames.unbind(1))
    return None


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
        with video.read([path]) as reader:
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


def _imported(source: str) -> ModuleType:
    """The module of a FILE.py or of a dotted name; errors as :func:`function`."""
    path = Path(source) if source.endswith(".py") else None
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"no such file: {source}")
    folder = str(path.resolve().parent if path is not None else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that nothing of ours is hidden by what lies there
    try:
        if path is None:
            return importlib.import_module(source)
        name = f"{path.stem}_{_sha(str(path.resolve()).encode())[:8]}"  # many a file is called model.py
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError("not a Python file")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:  # whatever the file does
        raise ValueError(f"{source} cannot be imported: {type(error).__name__}: {error}") from error


def _functions(module: ModuleType) -> str:
    own = [name for name, it in vars(module).items() if getattr(it, "__module__", "") == module.__name__]
    return ", ".join(own) or "none"


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _sha(*parts: bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def _digest(model: nn.Module) -> str:
    """A fingerprint of all tensors by name: the same for the same weights, whatever file they came from."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
