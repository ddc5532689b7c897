r"""Taught: pictures that teachers made for the samples of a store, kept on disk once.

    any program's frames --frames_from--\
                                         > pictures (3, h, w) uint8 RGB --keep--> one array (N, 3, h, w)
    a network, Batch in  --made_by-----/

Picture n of the array is a teacher's idea of the truth of sample n, cut as the sample is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tweenlet.runtime.atomic import atomic_write
from tweenlet.training.data.batches import Batch, sequential
from tweenlet.training.data.clips import Pixels, images_in, name_few, read_frames, read_image
from tweenlet.training.data.crops import CropLocation, downscale
from tweenlet.training.data.store import CropDataset, Progress


def read_teacher_frames(folder: Path, samples: CropDataset) -> Iterator[Pixels]:
    """The crops (3, h, w) uint8 RGB of frames that any program made, as the samples were cut, in their order.

    ``folder/<name of the clip>/<n>.png`` is frame n of the clip, counted from 0, made from its frames n-3,
    n-1, n+1 and n+3, and as large as they are; n may have leading zeros and the image another suffix. Of a
    clip of seven frames, a quintuplet too, it is frame 3.

    The name is that of the clip's folder, or of its file without the suffix; where two clips share it, with
    the folders above them that tell them apart, as 00001/0389 of Vimeo-90K.

    ValueError where the samples have no places in footage at stride 1;
    FileNotFoundError where frames are missing: both before the first picture. ValueError for a frame of
    another size than its clip and OSError where either cannot be read: once it is their turn.
    """
    locations = _places(samples)
    files = _files(folder, locations)
    height, width = samples.frames.shape[-2:]
    return _crops(locations, files, height, width)


def _places(samples: CropDataset) -> list[CropLocation]:
    locations = [place for place in samples.locations if place is not None and place.stride == 1]
    if len(locations) < len(samples):
        raise ValueError(
            f"expected {len(samples)} samples with a place in footage at stride 1, got {len(locations)}: "
            "harvest with strides=(1,) and synthetic=0"
        )
    return locations


def _files(folder: Path, locations: list[CropLocation]) -> dict[tuple[str, int], Path]:
    """The file for each (clip, first frame of the window)."""
    names = _names({place.clip for place in locations})
    made = {
        (clip, int(image.stem)): image
        for clip, name in names.items()
        if (folder / name).is_dir()
        for image in images_in(folder / name)
        if image.stem.isdecimal()
    }
    truths = {(place.clip, place.first): (place.clip, place.first + 3) for place in locations}
    missing = [f"{names[clip]}/{n}" for clip, n in truths.values() if (clip, n) not in made]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(truths)} frames are missing in {folder}: {name_few(missing)}"
        )
    return {window: made[truth] for window, truth in truths.items()}


def _names(clips: Iterable[str]) -> dict[str, str]:
    """A name for each clip: its own without a suffix, after as many folders as make all names differ."""
    paths = {clip: Path(clip).with_suffix("") if Path(clip).is_file() else Path(clip) for clip in clips}
    deepest = max(len(path.parts) for path in paths.values())
    for depth in range(1, deepest + 1):
        names = {clip: "/".join(path.parts[-depth:]) for clip, path in paths.items()}
        if len(set(names.values())) == len(names):
            return names
    raise ValueError(f"expected clips that differ in more than a suffix, got {name_few(sorted(paths))}")


def _crops(
    locations: list[CropLocation], files: dict[tuple[str, int], Path], height: int, width: int
) -> Iterator[Pixels]:
    """Each crop in turn; a frame is read once for all the crops of one size that follow each other."""
    clip, shape = "", (0, 0)
    seen, whole = None, np.empty((0, 0, 3), np.uint8)
    for place in locations:
        if place.clip != clip:
            clip, shape = place.clip, next(read_frames(Path(place.clip))).shape[:2]
        size = (place.width, place.height)
        if seen != (clip, place.first, size):
            file = files[clip, place.first]
            picture = read_image(file)
            if picture.shape[:2] != shape:
                (h, w), (got_h, got_w) = shape, picture.shape[:2]
                raise ValueError(f"{file}: expected {w}x{h} pixels as in {clip}, got {got_w}x{got_h}")
            seen, whole = (clip, place.first, size), downscale(picture, size)
        area = (slice(place.top, place.top + height), slice(place.left, place.left + width))
        yield whole[area].transpose(2, 0, 1)


def predict_all(
    teacher: Callable[[Batch], Tensor],
    samples: CropDataset,
    size: int = 8,
    device: torch.device | str = "cpu",
) -> Iterator[Pixels]:
    """What a teacher makes of every sample in turn, (3, h, w) uint8 RGB, rounded.

    The teacher takes a Batch of `size` samples on a device and returns (B, 3, h, w) in [0, 1], without
    gradients. ValueError where it returns another shape or what is not a number.
    """
    for batch in sequential(samples, size):
        with torch.no_grad():
            pictures = teacher(batch.to(device))
        if pictures.shape != batch.truth.shape:
            expected, got = tuple(batch.truth.shape), tuple(pictures.shape)
            raise ValueError(f"expected pictures of {expected} from the teacher, got {got}")
        if not pictures.isfinite().all():
            raise ValueError(f"the teacher's pictures are not finite, in the batch of {batch.sources[0]}")
        yield from (pictures.float().clamp(0, 1) * 255).round().byte().cpu().numpy()


def store_frames(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    count: int,
    shape: tuple[int, int, int],
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Write `count` pictures of a shape (3, h, w) into one .npy, which appears whole or not at all.

    Returns the array (count, 3, h, w) uint8, left on disk. ValueError where there are fewer or more pictures,
    or one of another shape or type.
    """
    with atomic_write(path) as partial:
        kept = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(count, *shape))
        done = 0
        for done, picture in enumerate(pictures, 1):
            if done > count:
                raise ValueError(f"expected {count} pictures, got more")
            if picture.shape != shape or picture.dtype != np.uint8:
                raise ValueError(
                    f"expected uint8 pictures of {shape}, got {picture.dtype} of {picture.shape}"
                )
            kept[done - 1] = picture
            if progress:
                progress("keeping a teacher's pictures", done, count)
        if done < count:
            raise ValueError(f"expected {count} pictures, got {done}")
        kept.flush()
    return CropDataset.array(path)
