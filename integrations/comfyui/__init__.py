"""ComfyUI node: frames between the images of a batch, as video generators give them.

Put this folder into ComfyUI/custom_nodes under the name tweenlet, and install tweenlet into its Python.
"""

from __future__ import annotations

from typing import Any

import tweenlet


class TweenletInterpolate:
    """IMAGE, a tensor (B, H, W, 3) in [0, 1], to one with more frames; the given ones are unchanged."""

    CATEGORY = "image/animation"
    RETURN_TYPES = ("IMAGE", "FLOAT")
    RETURN_NAMES = ("images", "fps")
    FUNCTION = "interpolate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 (ComfyUI's name)
        """What the node is given, as ComfyUI asks for it."""
        rate = {"min": 1.0, "max": 1000.0, "step": 0.001}
        return {
            "required": {
                "images": ("IMAGE",),
                "fps": ("FLOAT", {"default": 16.0, **rate}),
                "to_fps": ("FLOAT", {"default": 24.0, **rate}),
                "cuts": ("BOOLEAN", {"default": True}),
                "repeats": (["keep", "smooth"],),
            },
            "optional": {"model": ("STRING", {"default": "default"})},
        }

    def interpolate(
        self, images: Any, fps: float, to_fps: float, cuts: bool, repeats: str, model: str = "default"
    ) -> tuple[Any, float]:
        """The denser images, on the device of those given, and their rate."""
        from comfy.utils import ProgressBar

        bar: list[Any] = []

        def progress(done: int, total: int | None) -> None:
            if not bar:
                bar.append(ProgressBar(total or 1))
            bar[0].update_absolute(done)

        out = tweenlet.interpolate(
            images, fps=fps, to=to_fps, channels="last", cuts=cuts, repeats=repeats, model=model,
            progress=progress,
        )  # fmt: skip
        return out, to_fps


NODE_CLASS_MAPPINGS = {"TweenletInterpolate": TweenletInterpolate}
NODE_DISPLAY_NAME_MAPPINGS = {"TweenletInterpolate": "Interpolate frames (tweenlet)"}
