"""Prefetch: decoding ahead and encoding behind, each in its own thread, while the caller computes.

    items ── thread ──> AHEAD ready ──> the caller ──> BEHIND waiting ──> thread ── write
               │                            │                               │
      DeviceCopier.to_device           CUDA device               HostCopy.wait: until it
                                        computes                    has been copied

Order is kept and few items are held. An error in a thread is raised in the caller, at the step where it would
occur without threads or at the next; leaving by an exception drops the queue. No thread outlives its `with`.
Decoders, encoders, numpy and torch release the GIL. Threads synchronise by SimpleQueues only, because a
signal handler that raises within a Semaphore's method can leave its waiter asleep.

Cores are not divided among the stages: torch keeps a thread per core, and OpenMP's threads sleep while they
wait (`tweenlet.runtime.openmp`), so that a decoder or encoder takes a core only while it has work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from numpy.typing import NDArray

from tweenlet.interpolation.pictures import Picture
from tweenlet.runtime.arrays import to_numpy

if TYPE_CHECKING:
    import torch

AHEAD, BEHIND = 2, 2
"""Most items read ahead, and most items waiting to be written."""

Item = TypeVar("Item")


@contextmanager
def prefetch(items: Iterable[Item]) -> Iterator[Iterator[Item]]:
    """Read items in a thread, AHEAD items in advance, from the first request on."""
    ready: SimpleQueue[tuple[Item] | BaseException | None] = SimpleQueue()
    room = _tokens(AHEAD)
    stopped = False

    def read() -> None:
        try:
            source = iter(items)
            while room.get() and not stopped:
                ready.put((next(source),))
        except StopIteration:
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    def taken() -> Iterator[Item]:
        thread.start()
        while isinstance(item := ready.get(), tuple):
            room.put(True)
            yield item[0]
        if item is not None:
            raise item

    thread = Thread(target=read, name="tweenlet-prefetch", daemon=True)
    try:
        yield taken()
    finally:
        stopped = True
        room.put(True)
        if thread.is_alive():
            thread.join()


def _tokens(count: int) -> SimpleQueue[bool]:
    """A semaphore: a queue of tokens."""
    tokens: SimpleQueue[bool] = SimpleQueue()
    for _ in range(count):
        tokens.put(True)
    return tokens


@dataclass(frozen=True)
class HostCopy:
    """A pending copy of a picture to host memory."""

    picture: Picture
    arrived: torch.cuda.Event | None = None

    def wait(self) -> NDArray[Any]:
        """Wait for the copy, and return it."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return to_numpy(self.picture)


class DeviceCopier:
    """Copies pictures to a device and back; on a CUDA device, concurrently with computation.

    CUDA copies use pinned memory and a stream of their own. Without a device, pictures stay arrays.
    """

    def __init__(self, device: torch.device | None) -> None:
        self._device: torch.device | None = device
        self._streams: list[torch.cuda.Stream] = []
        if device is not None and device.type == "cuda":
            import torch

            self._streams = [torch.cuda.Stream(device) for _ in range(2)]  # type: ignore[no-untyped-call]
            self._computing = torch.cuda.current_stream(device)

    def to_device(self, values: NDArray[Any]) -> Picture:
        """Copy a picture to the device and wait; called in the reading thread."""
        if self._device is None:
            return values
        import torch

        tensor = torch.from_numpy(values)
        if not self._streams:
            return tensor.to(self._device)
        with torch.cuda.stream(self._streams[0]):
            there = tensor.pin_memory().to(self._device, non_blocking=True)
        self._streams[0].synchronize()
        there.record_stream(self._computing)
        return there

    def to_host(self, picture: Picture) -> HostCopy:
        """Start to copy a picture to the host once it is computed."""
        if not self._streams:
            return HostCopy(to_numpy(picture))
        import torch

        stream = self._streams[1]
        stream.wait_stream(self._computing)
        with torch.cuda.stream(stream):
            here = torch.empty(picture.shape, dtype=picture.dtype, pin_memory=True)
            here.copy_(picture, non_blocking=True)
            picture.record_stream(stream)
            return HostCopy(here, stream.record_event())


class WriteQueue(Generic[Item]):
    """Passes items to ``write`` in a thread; leaving the `with` waits until all are written.

    Errors of ``write`` are raised by a later :meth:`put`, or at the end.
    """

    def __init__(self, write: Callable[[Item], None]) -> None:
        self._write = write
        self._waiting: SimpleQueue[tuple[Item] | None] = SimpleQueue()
        self._room = _tokens(BEHIND)
        self._error: BaseException | None = None
        self._dropped = False
        self._thread = Thread(target=self._work, name="tweenlet-write", daemon=True)

    def put(self, item: Item) -> None:
        """Queue an item; blocks while BEHIND others wait."""
        self._room.get()
        if self._error is not None:
            raise self._error
        self._waiting.put((item,))

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            try:
                if self._error is None and not self._dropped:
                    self._write(item[0])
            except BaseException as error:
                self._error = error
            finally:
                self._room.put(True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dropped = kind is not None
        self._waiting.put(None)
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error
