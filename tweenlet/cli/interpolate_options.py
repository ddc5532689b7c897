"""Options of `tweenlet interpolate`; each class is a group of its help."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter, Token

RATE = Group("How many frames (one of these; --factor 2 if none)", sort_key=1)
OUTPUT, TIMES, SOURCE, NETWORK, WATCH = (
    Group(name, sort_key=number)
    for number, name in enumerate(("Output", "Times", "Source", "Network", "Progress and settings"), start=2)
)


def parse_integer(_: object, tokens: Sequence[Token]) -> int:
    """Parse a whole number; ValueError for fractions, which cyclopts would round."""
    if not re.fullmatch(r"[-+]?\d+", tokens[0].value):
        raise ValueError(f"expected a whole number, got {tokens[0].value}")
    return int(tokens[0].value)


Whole = Parameter(converter=parse_integer)
FLAG = Parameter(negative=())


@Parameter(name="*", group=RATE)
@dataclass(frozen=True)
class RateOptions:
    """Frame rate of the output."""

    factor: Annotated[int | None, Whole] = None
    """Multiple of the frame rate, 2 or more; powers of 2 are exact with every network."""
    fps: Annotated[str | None, Parameter(name=["--fps", "-r"])] = None
    """Target frame rate, such as 60, 59.94 or 60000/1001."""


@Parameter(name="*", group=TIMES)
@dataclass(frozen=True)
class TimeOptions:
    """Part of the source to show, playback speed, and treatment of single frames."""

    slow: str | None = None
    """Slow-motion factor, such as 4 or 2.5, at the same frame rate or at --fps. Sound keeps its pitch."""
    speed: str | None = None
    """Speeds over time, such as "0:1 2.5:0.25 4:1" (seconds of IN, counted from --from : speed), or a file
    of such points. Between two points the speed changes evenly."""
    start: Annotated[str, Parameter(name="--from")] = "0"
    """Time of IN to begin at, such as 90.5 or 1:30.5."""
    end: Annotated[str | None, Parameter(name="--to")] = None
    """Time of IN to end before."""
    loop: Annotated[bool, FLAG] = False
    """Interpolate from the last frame back to the first, for clips that loop."""
    keep_frames: Annotated[bool, FLAG] = False
    """With --fps, show every frame of IN, at the output time nearest to its own."""
    shutter: float = 0
    """Motion blur by shutter angle in degrees, such as 180: each frame is the mean of 8 interpolated ones.
    The frame rate stays unless --fps is given."""
    replace: str = ""
    """Numbers of damaged frames, counted from 0, to replace by interpolation, such as 117,240-243.
    The frame rate stays unless --factor or --fps is given."""
    max_recursion: int = 3
    """For networks that only predict the midpoint: maximum number of times the gap between two frames is
    halved for --fps, and for a --factor or --slow that is not a power of 2."""


@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True)
class OutputOptions:
    """Output files and their encoding."""

    out_dir: Path | None = None
    """Folder for the outputs of several INs, each under its own name. Existing outputs are skipped."""
    overwrite: Annotated[bool, Parameter(name=["--overwrite", "-y"], negative=())] = False
    """Replace OUT if it exists."""
    resume: bool = True
    """Resume the same command after it was killed; encoded frames stay beside OUT until it is complete."""
    codec: Literal["h264", "hevc", "av1", "vp9", "prores", "ffv1"] | None = None
    """Video codec; default: H.264 for 8 bits and HEVC for more, VP9 and AV1 in .webm."""
    crf: float | None = None
    """Constant quality, lower is better; default: 16 for H.264 and HEVC, 20 for VP9 and AV1."""
    preset: str | None = None
    """Speed preset of the encoder, by its own name: slow, 6, p5."""
    pix_fmt: str | None = None
    """Pixel format, such as yuv420p; default: the nearest to that of IN."""
    encoder: str | None = None
    """FFmpeg encoder by name, such as hevc_nvenc or h264_qsv."""
    audio: Literal["copy", "aac", "opus", "none"] | None = None
    """Sound: copy it, encode it, or drop it; default: copy where OUT can hold it."""


@Parameter(name="*", group=SOURCE)
@dataclass(frozen=True)
class SourceOptions:
    """Decoding of the source."""

    rate: str | None = None
    """Frame rate of IN if it is images; default: 24."""
    cuts: bool = True
    """Detect scene changes and do not interpolate across them."""
    repeats: Literal["keep", "smooth"] = "keep"
    """How to treat frames that repeat the previous one (animation on twos, screen recordings, telecined
    film): "keep" preserves their timing and interpolates only in the last gap before a new picture;
    "smooth" spreads the motion over them."""
    longest_run: Annotated[int, Whole] = 6
    """With --repeats smooth, the longest run of one picture to smooth, in frames; longer runs are held."""
    deinterlace: Annotated[bool, FLAG] = False
    """Deinterlace to one frame per two fields, with FFmpeg's bwdif."""
    stream: Annotated[int | None, Whole] = None
    """Index of the video stream in IN, as ffprobe counts; default: the stream marked as default, or the
    largest one that has frames."""
    strict: Annotated[bool, FLAG] = False
    """Fail if IN is damaged or truncated."""


@Parameter(name="*", group=NETWORK)
@dataclass(frozen=True)
class NetworkOptions:
    """Network, and what runs it."""

    model: str = "default"
    """Name of bundled weights, or path to a checkpoint."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; default: CUDA if available, else the CPU."""
    engine: str | None = None
    """Runtime of the network: eager (PyTorch and native code), compile, onnxruntime, openvino, or, on a CUDA
    device, cudagraph. With auto, the fastest on this machine: on a CPU, a one-minute race of eager,
    onnxruntime and openvino decides once, and the result is cached. lite: ONNX Runtime without PyTorch, on a
    CPU, for the default network. Default: eager, or lite where PyTorch is not installed."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """bfloat16 on a CPU and float16 on a CUDA device are faster; the differences are too small to see."""
    tile: str = "auto"
    """Side of overlapping tiles in pixels, to bound memory; "auto" tiles frames too large to run whole,
    "none" never tiles."""
    flow_scale: str = "auto"
    """Size of the frames on which the network estimates motion: 1, 0.5 or 0.25 of their own. Smaller is
    faster and follows larger motion, larger follows smaller objects. "auto": 1 up to 3 megapixels."""
    on: Literal["ray"] | None = None
    """Compute the frames on a Ray cluster whose machines share the folder of IN: the one in RAY_ADDRESS or
    running on this machine, else this machine's cores. Several videos then run at once."""


@Parameter(name="*", group=WATCH)
@dataclass(frozen=True)
class WatchOptions:
    """Messages during the run, and saved settings."""

    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())] = False
    """Print nothing but errors."""
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
    """Print one JSON object a line: progress, warnings, and a summary with the times of damaged or missing
    parts."""
    preview: Path | None = None
    """Image file to keep the latest frame in during the run."""
    preview_every: float = 5
    """Seconds between previews."""
    save_config: Annotated[bool, FLAG] = False
    """Save these options to tweenlet.toml in the current folder, as defaults of later calls."""
