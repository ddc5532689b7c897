"""Prefetch: decoding ahead and encoding behind, each in a thread of its own, while the caller computes.

    items ── thread ──> AHEAD ready ──> the caller ──> BEHIND waiting ──> thread ── write
               │                            │                               │
      DeviceCopier.to_device           CUDA device               HostCopy.wait: until it
                                        computes                    has been copied

Order is kept and few items are held. What fails in a thread is raised in the caller, where it would have been
raised without threads or at the next step; leaving by an exception drops what waits. No thread outlives its
`with`. Decoders, encoders and numpy leave the interpreter to others while they work, as torch does. Threads
meet at SimpleQueues only: a signal that raises within a Semaphore's method can leave its waiter asleep.

Threads are not counted out among the stages: torch keeps a thread for each core, and OpenMP's threads sleep
while they wait (`tweenlet.runtime.openmp`), so that a decoder or an encoder takes a core only while it
has work.
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
"""How many items are ready before they are asked for, and wait to be written, at most."""

Item = TypeVar("Item")


@contextmanager
def prefetch(items: Iterable[Item]) -> Iterator[Iterator[Item]]:
    """The same items, read in a thread: begun when the first is asked for, AHEAD items before they are."""
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
    """A semaphore: one puts what others get."""
    tokens: SimpleQueue[bool] = SimpleQueue()
    for _ in range(count):
        tokens.put(True)
    return tokens


@dataclass(frozen=True)
class HostCopy:
    """A copy of a picture in the memory of the CPU, under way."""

    picture: Picture
    arrived: torch.cuda.Event | None = None

    def wait(self) -> NDArray[Any]:
        """The picture, when it has arrived."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return to_numpy(self.picture)


class DeviceCopier:
    """Copies pictures to a device and back, on a CUDA device beside what is computed there.

    A copy runs along with the computing from memory that the system cannot move, and in a stream of its own.
    Without a device pictures stay arrays.
    """

    def __init__(self, device: torch.device | None) -> None:
        self._device: torch.device | None = device
        self._streams: list[torch.cuda.Stream] = []
        if device is not None and device.type == "cuda":
            import torch

            self._streams = [torch.cuda.Stream(device) for _ in range(2)]  # type: ignore[no-untyped-call]
            self._computing = torch.cuda.current_stream(device)

    def to_device(self, values: NDArray[Any]) -> Picture:
        """A picture on the device, once it is there: for the thread that reads."""
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
        """Begin to copy a picture to the CPU when it has been computed."""
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
    """Items for ``write``, which a thread calls; on leaving the `with` all have been written.

    What ``write`` raises comes out of a later :meth:`put`, or at the end.
    """

    def __init__(self, write: Callable[[Item], None]) -> None:
        self._write = write
        self._waiting: SimpleQueue[tuple[Item] | None] = SimpleQueue()
        self._room = _tokens(BEHIND)
        self._error: BaseException | None = None
        self._dropped = False
        self._thread = Thread(target=self._work, name="tweenlet-write", daemon=True)

    def put(self, item: Item) -> None:
        """Queue one more item; waits while BEHIND others do."""
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
