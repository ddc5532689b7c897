"""Pipeline: reading ahead and writing behind, each in a thread of its own, while the caller works.

    items ── thread ──> AHEAD ready ──> the caller ──> BEHIND waiting ──> thread ── write
               │                            │                               │
          Ferry.over: copied           CUDA device                     waits until it
          and there                    computes         Ferry.back ──> has been copied

Order is kept and few items are held. What fails in a thread is raised in the caller, where it would have been
raised without threads or at the next step; leaving by an exception drops what waits. No thread outlives its
`with`. Decoders, encoders and numpy leave the interpreter to others while they work, as torch does.

Threads are not counted out among the stages: torch keeps a thread for each core, and OpenMP's threads sleep
while they wait (`tweenlet.threads`), so that a decoder or an encoder takes a core only while it has work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import TypeVar

import torch
from torch import Tensor

AHEAD, BEHIND = 2, 2
"""How many items are ready before they are asked for, and wait to be written, at most."""

Item = TypeVar("Item")


@contextmanager
def ahead(items: Iterable[Item]) -> Iterator[Iterator[Item]]:
    """The same items, read in a thread: begun when the first is asked for, AHEAD items before they are."""
    ready: SimpleQueue[tuple[Item] | BaseException | None] = SimpleQueue()
    room = Semaphore(AHEAD)
    stopped = False

    def read() -> None:
        try:
            source = iter(items)
            while room.acquire() and not stopped:
                ready.put((next(source),))
        except StopIteration:
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    def taken() -> Iterator[Item]:
        thread.start()
        while isinstance(got := ready.get(), tuple):
            room.release()
            yield got[0]
        if got is not None:
            raise got

    thread = Thread(target=read, name="tweenlet-ahead", daemon=True)
    try:
        yield taken()
    finally:
        stopped = True
        room.release()
        if thread.ident is not None:
            thread.join()


class Ferry:
    """Copies to a device and back, on a CUDA device beside what is computed there; elsewhere it does nothing.

    A copy runs along with the computing from memory that the system cannot move, and in a stream of its own.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._streams = device, list[torch.cuda.Stream]()
        if device.type == "cuda":
            self._streams = [torch.cuda.Stream(device) for _ in range(2)]  # type: ignore[no-untyped-call]
            self._computing = torch.cuda.current_stream(device)

    def over(self, tensor: Tensor) -> Tensor:
        """The tensor on the device, once it is there: for the thread that reads."""
        if not self._streams:
            return tensor.to(self._device)
        with torch.cuda.stream(self._streams[0]):
            there = tensor.pin_memory().to(self._device, non_blocking=True)
        self._streams[0].synchronize()
        there.record_stream(self._computing)
        return there

    def back(self, tensor: Tensor) -> Callable[[], Tensor]:
        """Begin to copy a tensor to the CPU when it has been computed; what is returned waits for it."""
        if not self._streams:
            return tensor.cpu
        stream = self._streams[1]
        stream.wait_stream(self._computing)
        with torch.cuda.stream(stream):
            here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            here.copy_(tensor, non_blocking=True)
            tensor.record_stream(stream)
            copied = stream.record_event()

        def wait() -> Tensor:
            copied.synchronize()
            return here

        return wait


@contextmanager
def behind(write: Callable[[Item], None]) -> Iterator[Callable[[Item], None]]:
    """A function that takes items for ``write``, which a thread calls; at the end all have been written.

    What ``write`` raises comes out of a later call, or at the end.
    """
    waiting: SimpleQueue[tuple[Item] | None] = SimpleQueue()
    room = Semaphore(BEHIND)
    failed: list[BaseException] = []
    dropped = False

    def work() -> None:
        while (got := waiting.get()) is not None:
            try:
                if not (failed or dropped):
                    write(got[0])
            except BaseException as error:
                failed.append(error)
            finally:
                room.release()

    def put(item: Item) -> None:
        room.acquire()
        if failed:
            raise failed[0]
        waiting.put((item,))

    thread = Thread(target=work, name="tweenlet-behind", daemon=True)
    thread.start()
    try:
        yield put
    except BaseException:
        dropped = True
        raise
    finally:
        waiting.put(None)
        thread.join()
    if failed:
        raise failed[0]
