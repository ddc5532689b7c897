"""Small clips made on the spot: moving synthetic pictures, tones and subtitles, in any container."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from scene import scene

Maker = Callable[..., Path]


@pytest.fixture
def make_clip(tmp_path: Path) -> Maker:
    """A function that writes a clip; see ``make`` for what can be chosen."""

    def make(
        name: str = "clip.mp4",
        *,
        count: int = 12,
        size: tuple[int, int] = (64, 48),
        rate: Fraction = Fraction(25),
        times: Sequence[Fraction] | None = None,
        codec: str = "libx264",
        pixels: str = "yuv420p",
        options: dict[str, str] | None = None,
        colour: tuple[int, int, int, int] = (1, 1, 1, 1),
        sound: str | None = None,
        sound_seconds: float | None = None,
        subtitles: str | None = None,
        rotation: float = 0,
        chapters: list[Any] | None = None,
        metadata: dict[str, str] | None = None,
        container_options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        width, height = size
        times = [i / rate for i in range(count)] if times is None else list(times)
        with av.open(str(path), "w", container_options=container_options or {}) as output:
            output.metadata.update(metadata or {})
            stream = output.add_stream(codec, rate, options or {"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = width, height, pixels
            context = stream.codec_context
            context.time_base = Fraction(1, 90000)
            context.colorspace, context.color_range, context.color_primaries, context.color_trc = colour
            if rotation:
                stream.set_display_rotation(rotation)
            tone = None
            if sound:
                tone = output.add_stream(sound, 48000)
                tone.layout, tone.bit_rate = "stereo", 128_000
                tone.metadata["language"] = "fra"
            text = None
            if subtitles:
                text = output.add_mux_stream(subtitles)
                text.time_base = Fraction(1, 1000)
                text.metadata["language"] = "deu"
            if chapters:
                output.set_chapters(chapters)
            packets = []
            lasting = {
                round(a * 90000): round((b - a) * 90000)
                for a, b in zip(times, [*times[1:], times[-1] + 1 / rate], strict=True)
            }
            for i, time in enumerate(times):
                rgb = np.rint(scene(i, width, height) * 255).astype(np.uint8).transpose(1, 2, 0)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
                frame = frame.reformat(format=pixels, dst_colorspace=1, dst_color_range=colour[1] or 1)
                frame.pts, frame.time_base = round(time * 90000), Fraction(1, 90000)
                packets += stream.encode(frame)
            packets += stream.encode(None)
            for packet in packets:
                packet.duration = lasting[packet.pts]
            if tone is not None:
                seconds = sound_seconds or float(times[-1] + 1 / rate)
                for start in range(0, round(seconds * 48000), 1024):
                    wave = np.sin(np.arange(start, start + 1024) / 17).astype(np.float32)
                    block = av.AudioFrame.from_ndarray(np.stack([wave, wave]) * 0.3, "fltp", "stereo")
                    block.sample_rate, block.pts, block.time_base = 48000, start, Fraction(1, 48000)
                    packets += tone.encode(block)
                packets += tone.encode(None)
            if text is not None:
                for k, line in enumerate((b"eins", b"zwei")):
                    packet = av.Packet(line)
                    packet.stream, packet.time_base = text, Fraction(1, 1000)
                    packet.pts = packet.dts = 100 + 200 * k
                    packet.duration = 150
                    packets.append(packet)
            for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
                output.mux(packet)
        return path

    return make
