"""Suffixes by which files are taken for videos and images, in lower case."""

from __future__ import annotations

from pathlib import Path

WRITABLE_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
"""Images that are read and written."""
IMAGES = (*WRITABLE_IMAGES, ".bmp")
"""Images that are read as frames to train on."""
VIDEOS = (
    *(".264", ".265", ".3gp", ".avi", ".flv", ".gif", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mkv"),
    *(".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv", ".y4m"),
)
"""Videos that are looked for in folders; what is named on its own may have any suffix."""


def is_video(path: Path) -> bool:
    """Whether the suffix is that of a video."""
    return path.suffix.lower() in VIDEOS
