from __future__ import annotations

import gc
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from tweenlet.inference.fused import FusedSTMFNet
from tweenlet.network.config import MINI
from tweenlet.network.stmfnet import STMFNet
from tweenlet.ops.cpu import arena
from tweenlet.ops.cpu import library as native
from tweenlet.ops.cpu.arena import SMALLEST, Arena, empty, empty_channels_last
from tweenlet.runtime.malloc import retain_freed_memory

CPU = torch.device("cpu")
PAGE = 4096
kept = pytest.mark.skipif(
    not (retain_freed_memory() and native.library()), reason="no native code or memory not kept"
)


@pytest.fixture
def small():
    return Arena(10 * PAGE)


@kept
def test_the_first_gap_that_is_large_enough_is_taken(small):
    first, second, third = (small.take(size * PAGE) for size in (2, 1, 3))
    base = first.data_ptr()
    assert [(x.data_ptr() - base) // PAGE for x in (second, third)] == [2, 3]
    del second
    assert (small.take(2 * PAGE).data_ptr() - base) // PAGE == 6  # a gap of one page is too small
    del first  # now the gap has three
    assert small.take(3 * PAGE).data_ptr() == base
    del third


@kept
def test_gaps_that_touch_become_one_in_whatever_order_they_come(small):
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 0, 1), (2, 1, 0)):
        blocks = dict(enumerate(small.take(size * PAGE) for size in (2, 3, 4)))
        for number in order:
            del blocks[number]
        whole = small.take(10 * PAGE)
        assert whole is not None
        del whole


@kept
def test_none_where_no_gap_is_so_large(small):
    assert small.take(11 * PAGE) is None
    held = small.take(6 * PAGE)
    assert small.take(5 * PAGE) is None
    del held
    assert small.take(10 * PAGE) is not None


@kept
def test_a_view_holds_its_memory(small):
    view = small.take(8 * PAGE).view(torch.float32)[5:]
    view.fill_(3)
    assert small.take(3 * PAGE) is None
    assert (view == 3).all()


@kept
def test_threads_take_and_free_at_once():
    where = Arena(1000 * PAGE)
    wrong = []

    def work(number):
        for turn in range(200):
            blocks = [where.take((1 + turn % 5) * PAGE) for _ in range(3)]
            for block in blocks:
                block.fill_(number)
            wrong.extend(block for block in blocks if not (block == number).all())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert where.take(1000 * PAGE) is not None


@pytest.mark.parametrize("shape", [(1, 64, 100, 120), (1, 16, 5, 60, 70), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixels_lie_channels_last(shape, dtype):
    output = empty_channels_last(shape, dtype, CPU)
    form = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    assert output.shape == shape
    assert output.dtype == dtype
    assert output.is_contiguous(memory_format=form)


@pytest.mark.skipif(sys.platform != "linux", reason="what the system counts as memory is told by Linux alone")
def test_what_is_reserved_is_not_in_the_way_of_a_fork():
    region = Arena(3 << 30)
    start = region.take(PAGE).data_ptr()
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            begin, end = (int(text, 16) for text in line.split()[0].split("-"))
        elif line.startswith("VmFlags:") and begin <= start < end:
            assert "nr" in line.split()  # not reserved
            return
    pytest.fail("the region is not mapped")


@kept
def test_what_is_large_lies_in_the_region_and_what_is_small_does_not(monkeypatch):
    taken = []
    monkeypatch.setattr(arena._process_arena(), "take", taken.append)
    empty((SMALLEST // 4,), torch.float32, CPU)
    empty((SMALLEST // 4 - 1,), torch.float32, CPU)
    empty((SMALLEST,), torch.float32, torch.device("meta"))
    assert taken == [SMALLEST]


@pytest.mark.slow
@kept
def test_a_frame_leaves_nothing_behind():
    fast = FusedSTMFNet(STMFNet(MINI).eval())
    frames = torch.rand(1, 4, 3, 192, 256)
    fast(frames)

    def room():
        gc.collect()
        empty_channels_last((1, 64, 64, 64), torch.float32, CPU)  # what was freed before is a gap again
        return sum(size for _, size in arena._process_arena()._gaps)

    before = room()
    made = fast(frames)
    assert torch.equal(made, fast(frames))
    del made
    assert room() == before


@pytest.mark.slow
def test_without_kept_memory_there_is_no_region():
    script = "from tweenlet.ops.cpu import arena; print(arena._process_arena())"
    ran = subprocess.run(
        [sys.executable, "-c", script], env={"TWEENLET_KEEP_MEMORY": "0"}, capture_output=True, check=True
    )
    assert ran.stdout.strip() == b"None"
