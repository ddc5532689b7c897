r"""Teacher outputs: teachers' predictions for the samples of a dataset, computed and stored once.

    any program's frames --read_teacher_frames--\
                                                 > frames (3, h, w) uint8 RGB --store_frames--> (N, 3, h, w)
    a network, Batch in  --predict_all----------/

Frame n of the array is a teacher's prediction of the truth of sample n, with the sample's crop.
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
from tweenlet.training.data.clips import Pixels, list_frames, name_few, read_frames, read_image
from tweenlet.training.data.crops import downscale
from tweenlet.training.data.dataset import CropDataset, CropLocation, Progress, create_array, load_array


def read_teacher_frames(folder: Path, dataset: CropDataset) -> Iterator[Pixels]:
    """Read another program's predictions, and crop them like the samples.

    Args:
        folder: ``folder/CLIP/N.png`` is frame N of CLIP, counted from 0, predicted from its frames N-3, N-1,
            N+1 and N+3, and of the same size. N may have leading zeros, and the image another suffix. For a
            clip of seven frames, or a quintuplet, it is frame 3. CLIP is the name of the clip's folder, or of
            its file without the suffix; clips that share a name are told apart by parent folders, such as
            00001/0389 of Vimeo-90K.
        dataset: samples whose locations are known, all of stride 1.

    Returns:
        Crops (3, h, w) uint8 RGB in the order of the samples.

    Raises:
        ValueError: samples without a location or of another stride; later, a frame of another size than its
            clip.
        FileNotFoundError: frames are missing; checked before the first crop.
        OSError: a frame or its clip cannot be read.

    """
    locations = [location for location in dataset.locations if location is not None and location.stride == 1]
    if len(locations) < len(dataset):
        raise ValueError(
            f"expected {len(dataset)} samples with a location in footage at stride 1, got {len(locations)}: "
            "build them with --recipe.strides 1 --recipe.synthetic 0"
        )
    files = _find_files(folder, locations)
    height, width = dataset.frames.shape[-2:]
    return _crop_frames(locations, files, height, width)


def _find_files(folder: Path, locations: list[CropLocation]) -> dict[tuple[str, int], Path]:
    """The image for each (clip, first frame of the window)."""
    names = _short_names({location.clip for location in locations})
    images = {
        (clip, int(image.stem)): image
        for clip, name in names.items()
        if (folder / name).is_dir()
        for image in list_frames(folder / name)
        if image.stem.isdecimal()
    }
    truths = {(place.clip, place.first): (place.clip, place.first + 3) for place in locations}
    missing = [f"{names[clip]}/{number}" for clip, number in truths.values() if (clip, number) not in images]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(truths)} frames are missing in {folder}: {name_few(missing)}"
        )
    return {window: images[truth] for window, truth in truths.items()}


def _short_names(clips: Iterable[str]) -> dict[str, str]:
    """A name per clip: its own without a suffix, preceded by as many folders as tell all clips apart."""
    paths = {clip: Path(clip).with_suffix("") if Path(clip).is_file() else Path(clip) for clip in clips}
    deepest = max(len(path.parts) for path in paths.values())
    for depth in range(1, deepest + 1):
        names = {clip: "/".join(path.parts[-depth:]) for clip, path in paths.items()}
        if len(set(names.values())) == len(names):
            return names
    raise ValueError(f"expected clips that differ in more than a suffix, got {name_few(sorted(paths))}")


def _crop_frames(
    locations: list[CropLocation], files: dict[tuple[str, int], Path], height: int, width: int
) -> Iterator[Pixels]:
    """Yield each crop; a frame is read once for all consecutive crops of one scaled size."""
    clip, clip_shape = "", (0, 0)
    current, frame = None, np.empty((0, 0, 3), np.uint8)
    for location in locations:
        if location.clip != clip:
            clip, clip_shape = location.clip, next(read_frames(Path(location.clip))).shape[:2]
        size = (location.width, location.height)
        if current != (clip, location.first, size):
            file = files[clip, location.first]
            picture = read_image(file)
            if picture.shape[:2] != clip_shape:
                (h, w), (got_h, got_w) = clip_shape, picture.shape[:2]
                raise ValueError(f"{file}: expected {w}x{h} pixels as in {clip}, got {got_w}x{got_h}")
            current, frame = (clip, location.first, size), downscale(picture, size)
        area = (slice(location.top, location.top + height), slice(location.left, location.left + width))
        yield frame[area].transpose(2, 0, 1)


def predict_all(
    teacher: Callable[[Batch], Tensor],
    dataset: CropDataset,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
) -> Iterator[Pixels]:
    """Run a teacher on every sample, uncropped and not augmented.

    Args:
        teacher: maps a Batch on ``device`` to (B, 3, h, w) in [0, 1], without gradients.
        dataset: the samples.
        batch_size: samples per batch.
        device: device of the teacher.

    Returns:
        Frames (3, h, w) uint8 RGB, rounded, in the order of the samples.

    Raises:
        ValueError: the teacher returns another shape, or values that are not finite.

    """
    for batch in sequential(dataset, batch_size):
        with torch.no_grad():
            frames = teacher(batch.to(device))
        if frames.shape != batch.truth.shape:
            expected, got = tuple(batch.truth.shape), tuple(frames.shape)
            raise ValueError(f"expected frames of {expected} from the teacher, got {got}")
        if not frames.isfinite().all():
            raise ValueError(f"the teacher's frames are not finite, in the batch of {batch.sources[0]}")
        yield from (frames.float().clamp(0, 1) * 255).round().byte().cpu().numpy()


def store_frames(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    count: int,
    shape: tuple[int, int, int],
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Write frames into one .npy file, atomically.

    Args:
        path: the file.
        frames: ``count`` arrays of ``shape``, uint8.
        count: expected number of frames.
        shape: (3, h, w).
        progress: called with the name of the work under way, the units done and the total.

    Returns:
        The array (count, 3, h, w) uint8, memory-mapped.

    Raises:
        ValueError: fewer or more frames, or one of another shape or type.

    """
    with atomic_write(path) as partial:
        array = create_array(partial, (count, *shape))
        done = 0
        try:
            for done, frame in enumerate(frames, 1):
                if done > count:
                    raise ValueError(f"expected {count} frames, got more")
                if frame.shape != shape or frame.dtype != np.uint8:
                    raise ValueError(f"expected uint8 frames of {shape}, got {frame.dtype} of {frame.shape}")
                array[done - 1] = frame
                if progress:
                    progress("storing a teacher's frames", done, count)
            if done < count:
                raise ValueError(f"expected {count} frames, got {done}")
            array.flush()
        finally:
            del array  # Windows neither renames nor removes what is mapped
    return load_array(path)
