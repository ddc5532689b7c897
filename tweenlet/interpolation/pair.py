"""Pair: write the images between two images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tweenlet import video
from tweenlet.interpolation.load import load_interpolator
from tweenlet.interpolation.sequences import interpolate
from tweenlet.interpolation.timing import OutputTiming
from tweenlet.runtime.folders import check_free
from tweenlet.video.images import ImageEncoder, is_image

if TYPE_CHECKING:
    import torch
    from torch import nn


def interpolate_pair(
    before: str | Path,
    after: str | Path,
    dst: str | Path,
    *,
    factor: int = 2,
    model: str | Path | nn.Module = "default",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
    engine: str | None = None,
    tile: int | str | None = "auto",
    flow_scale: float | str = "auto",
    overwrite: bool = False,
) -> list[Path]:
    """Write the images between two images of one scene.

    Args:
        before: the first image (PNG, JPEG, TIFF or WebP).
        after: the second image, of the same size.
        dst: the image to write. With a factor above 2 the images are numbered: "mid.png" becomes mid.1.png,
            mid.2.png ... Each appears once it is complete, or not at all.
        factor: one more than the number of images to write, 2 or more.
        model: as in :func:`tweenlet.interpolate_video`, like the following arguments.
        device: None = a CUDA device if there is one, else the CPU.
        dtype: precision of the network.
        engine: what runs the network.
        tile: longest side of a tile in pixels, "auto" or None.
        flow_scale: size of the frames on which the network estimates motion.
        overwrite: replace images that exist.

    Returns:
        The paths of the images, in order.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: as for :func:`tweenlet.interpolate_video`, and a `dst` that is no image.

    Examples:
        >>> tweenlet.interpolate_pair("before.png", "after.png", "middle.png")
        [PosixPath('middle.png')]

    """
    OutputTiming(factor)
    dst = Path(dst)
    if not is_image(dst):
        raise ValueError(f"expected the name of a PNG, JPEG, TIFF or WebP image to write, got {dst}")
    targets = [dst] if factor == 2 else [dst.with_stem(f"{dst.stem}.{k}") for k in range(1, factor)]
    for target in targets:
        check_free(target, overwrite, (before, after))
    with video.read([before, after], strict=True) as reader:
        real = list(reader)
        encoder = ImageEncoder(dst.suffix, reader.bits, reader.orientation, reader.is_transparent)
        frames = [frame.rgba() if encoder.keeps_alpha else frame.rgb() for frame in real]
    interpolator = load_interpolator(model, device, dtype, engine, tile, flow_scale)
    pictures = interpolate(
        frames, factor=factor, channels="first", model=interpolator, cuts=False, repeats="ignore"
    )[1:-1]
    with video.write_files(targets) as partials:
        for partial, picture in zip(partials, pictures, strict=True):
            encoder.write(picture, partial, real)
    return targets
