"""Suffixes of videos and images, in lower case."""

from __future__ import annotations

from pathlib import Path

WRITABLE_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
"""Image formats to read and write."""
IMAGES = (*WRITABLE_IMAGES, ".bmp")
"""Image formats to read for training."""
VIDEOS = (
    *(".264", ".265", ".3gp", ".avi", ".flv", ".gif", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mkv"),
    *(".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv", ".y4m"),
)
"""Videos to look for in folders; a video named explicitly may have any suffix."""


def is_video(path: Path) -> bool:
    """Whether the suffix is that of a video."""
    return path.suffix.lower() in VIDEOS
