"""Image writer: frames and pictures into numbered image files of one folder."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

from tweenlet.runtime.atomic import Partial
from tweenlet.runtime.folders import MARK
from tweenlet.video.frame import Frame
from tweenlet.video.images import ImageEncoder
from tweenlet.video.reader import Reader
from tweenlet.video.writer import FixedRate, Picture, Writer, describe_left_out


class ImageWriter(Writer):
    """Pictures into numbered image files of one folder."""

    def __init__(
        self, folder: Path, pattern: str, name: str, template: Reader, rate: Fraction, overwrite: bool
    ) -> None:
        """``overwrite``: remove what is left of a longer sequence in the folder."""
        super().__init__(name)
        self._folder, self._pattern, self._overwrite = folder, pattern, overwrite
        suffix, alpha = Path(pattern).suffix, template.is_transparent
        self._encoder = ImageEncoder(suffix, template.bits, template.orientation, alpha)
        self.keeps_alpha = self._encoder.keeps_alpha
        self._partial = Partial(folder / "frames" if folder.is_dir() else folder, folder=True)
        self._count = 0
        self._before: Frame | None = None
        self._fixed_rate = FixedRate(name, rate)
        self.warnings += describe_left_out(template, name)

    def _write(
        self, picture: Picture, time: Fraction, duration: Fraction, between: tuple[Frame, Frame] | None
    ) -> None:
        if isinstance(picture, Frame):
            self._before = picture
        sources = between or (() if self._before is None else (self._before,))
        for _ in range(self._fixed_rate.repeats(time, duration)):
            self._count += 1
            self._encoder.write(picture, self._partial.path / (self._pattern % self._count), sources)

    def _complete(self) -> None:
        if not self._count:
            raise ValueError(f"no pictures were given for {self.name}")
        if not self._folder.exists():
            self._partial.commit(marked=False)
        else:
            self._move_images()
            if self._overwrite:
                self._remove_later_images()
        self.warnings += self._fixed_rate.warnings()

    def _move_images(self) -> None:
        """Move the images into a folder that exists."""
        self._partial.flush()
        for file in sorted(self._partial.path.iterdir()):
            if file.name != MARK:
                file.replace(self._folder / file.name)
        self._partial.discard()

    def _remove_later_images(self) -> None:
        """Remove the images of this pattern with numbers above those that were written."""
        begin, end = re.split(r"%0?\d*d", self._pattern)
        for file in self._folder.iterdir():
            number = file.name.removeprefix(begin).removesuffix(end)
            is_later = number.isdecimal() and int(number) > self._count
            if is_later and file.name == self._pattern % int(number):
                file.unlink()

    def _discard(self) -> None:
        self._partial.discard()
