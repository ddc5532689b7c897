"""Deinterlacing: one picture of every two fields, by FFmpeg's bwdif."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import av
from av.filter import Graph

from tweenlet.video.colour import Colour
from tweenlet.video.frame import Frame


def deinterlace(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Deinterlace frames: each keeps the lines of one field, and the lines between are interpolated."""
    pending: deque[Frame] = deque()
    graph: Graph | None = None
    for number, frame in enumerate(frames):
        if graph is None:
            graph = _build(frame.picture)
        pending.append(frame)
        frame.picture.pts = number
        graph.push(frame.picture)
        yield from _pull(graph, pending)
    if graph is not None:
        graph.push(None)
        yield from _pull(graph, pending)


def _build(picture: av.VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
    )
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=all"), graph.add("buffersink"))
    graph.configure()
    return graph


def _pull(graph: Graph, pending: deque[Frame]) -> Iterator[Frame]:
    while True:
        try:
            picture = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert isinstance(picture, av.VideoFrame)
        frame = pending.popleft()
        Colour.of(frame.picture).stamp(picture)
        yield replace(frame, picture=picture)
