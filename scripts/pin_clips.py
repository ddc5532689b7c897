"""Pin the clips of a list: fill in the SHA-256 and size of every file, and windows where there is a number.

    python scripts/pin_clips.py tweenlet/evaluation/lists/public.json --download
    python scripts/pin_clips.py mine.json --footage my_videos/

Clips that are not there are left as they are, and named. What is pinned already is verified, not changed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from tweenlet.evaluation.compare import hide_frames
from tweenlet.evaluation.lists import ClipList, Footage, ListedClip, locate_files, sha256_of
from tweenlet.evaluation.samples import Clip
from tweenlet.runtime.atomic import write_bytes_atomically


def pin(path: Path, footage: Path | None = None, download: bool = False) -> list[str]:
    """Write a list anew with what its clips tell; the names of clips that are not there.

    Errors as :func:`tweenlet.evaluation.lists.open_clip_list`.
    """
    values = json.loads(path.read_text(encoding="utf-8"))
    own, missing = Footage(footage), []
    for clip, entry in zip(ClipList.read(path).clips, values["clips"], strict=True):
        places = locate_files(clip, own, download)
        if places is None:
            missing.append(clip.name)
        else:
            _fill(entry, clip, places)
    text = json.dumps(values, indent=1, ensure_ascii=False)
    rows = re.sub(
        r"\[[\s\d,]+\]", lambda numbers: f"[{' '.join(numbers[0][1:-1].split())}]", text
    )  # windows on one line
    write_bytes_atomically(path, f"{rows}\n".encode())
    return missing


def _fill(entry: dict[str, Any], clip: ListedClip, places: tuple[Path, ...]) -> None:
    hashes = [sha256_of(place) for place in places]
    if clip.frames:
        entry["frames"] = {file.name: digest for file, digest in zip(clip.files, hashes, strict=True)}
    else:
        entry |= {"sha256": hashes[0], "bytes": places[0].stat().st_size}
    if isinstance(clip.windows, int):
        (chosen,) = hide_frames(clip.path_in(places), clip.windows).benchmark.sequences
        assert isinstance(chosen, Clip)
        entry["windows"] = list(chosen.windows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fill in the hashes and windows of a list of clips.")
    parser.add_argument("list", type=Path)
    parser.add_argument("--footage", type=Path, help="a folder in which files are looked for")
    parser.add_argument("--download", action="store_true", help="fetch what is not there")
    options = parser.parse_args()
    try:
        absent = pin(options.list, options.footage, options.download)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    for name in absent:
        print(f"not there, left as it is: {name}", file=sys.stderr)
    sys.exit(bool(absent))
