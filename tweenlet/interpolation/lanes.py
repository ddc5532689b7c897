"""Lanes: small frames made two at once, each on half of the cores.

    outputs ──> started in order ──┬── thread ── output.picture ──┬──> outputs in order, their pictures made
                                   └── thread ── output.picture ──┘

When all cores make one frame together, they wait for each other at the end of each of a hundred short steps;
two frames side by side wait for nothing. Motion, which frames share, is still estimated in the caller's
thread. Threads synchronise as in :mod:`tweenlet.interpolation.prefetch`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeAlias

from tweenlet.interpolation.keyframes import Original
from tweenlet.interpolation.timeline import OutputFrame

LANES = 2
LARGEST = 1 << 20
"""Pixels of the largest frames that are made side by side: larger ones take memory, and little waiting."""
LONGEST = 8
"""Most outputs that wait for one that is being made, source frames included."""
Outcome: TypeAlias = "SimpleQueue[BaseException | None]"
"""Gets one item once a picture has been made: the error, or None."""


@contextmanager
def in_lanes(
    outputs: Iterable[OutputFrame[Original]], lanes: int
) -> Iterator[Iterator[OutputFrame[Original]]]:
    """Yield the outputs, in order, with pictures that have been made, up to ``lanes`` at a time.

    Meanwhile PyTorch's threads are divided: the caller's thread and each lane use a share. With one lane,
    pictures are made when asked for, in the caller's thread. An error is raised where its output is due.
    """
    if lanes == 1:
        yield iter(outputs)
        return
    import torch

    total = torch.get_num_threads()
    waiting: SimpleQueue[tuple[OutputFrame[Original], Outcome] | None] = SimpleQueue()

    def work() -> None:
        torch.set_num_threads(max(1, total // lanes))
        while (task := waiting.get()) is not None:
            output, outcome = task
            try:
                output.make()
            except BaseException as error:
                outcome.put(error)
            else:
                outcome.put(None)
            del task, output  # before the next one is there

    def finished() -> Iterator[OutputFrame[Original]]:
        pending: deque[tuple[OutputFrame[Original], Outcome | None]] = deque()
        busy = 0
        for output in outputs:
            if output.source is None:
                outcome: Outcome = SimpleQueue()
                waiting.put((output, outcome))
                pending.append((output, outcome))
                busy += 1
            else:
                pending.append((output, None))
            while pending and (busy > lanes or len(pending) > LONGEST or pending[0][1] is None):
                oldest = pending.popleft()
                busy -= oldest[1] is not None
                yield _wait_for(*oldest)
        for oldest in pending:
            yield _wait_for(*oldest)

    threads = [Thread(target=work, name=f"tweenlet-lane-{n}", daemon=True) for n in range(lanes)]
    try:
        torch.set_num_threads(max(1, total // lanes))
        for thread in threads:
            thread.start()
        yield finished()
    finally:
        with suppress(Empty):  # outputs that no lane has taken are dropped
            while True:
                waiting.get_nowait()
        for _ in threads:
            waiting.put(None)
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        torch.set_num_threads(total)


def _wait_for(output: OutputFrame[Original], outcome: Outcome | None) -> OutputFrame[Original]:
    if outcome is not None and (error := outcome.get()) is not None:
        raise error
    return output
