"""Draw docs/network.svg, the default network, from its config: what is drawn is what is built.

python scripts/draw_network.py [--check]        --check: exit with 1 where the drawing is stale
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

from tweenlet.network.config import DEFAULT, IntermediateFlowConfig

ROOT = Path(__file__).resolve().parent.parent
DRAWING = ROOT / "docs/network.svg"
WIDTH, BOX, GAP = 760, 64, 34
STYLE = """
  rect { fill: #f4f5fb; stroke: #5c6bc0; rx: 6 }
  rect.data { fill: #fff8e6; stroke: #c79a2d }
  text { font: 14px sans-serif; fill: #222; text-anchor: middle }
  text.note { font-size: 12px; fill: #555 }
  path { stroke: #777; fill: none; marker-end: url(#arrow) }
"""


def box(y: int, title: str, note: str, kind: str = "") -> str:
    """A labelled box over the width of the drawing, with its top at y."""
    middle = WIDTH // 2
    lines = [
        f'<rect x="20" y="{y}" width="{WIDTH - 40}" height="{BOX}"{f" class={kind!r}" if kind else ""}/>',
        f'<text x="{middle}" y="{y + 27}">{escape(title)}</text>',
        f'<text x="{middle}" y="{y + 48}" class="note">{escape(note)}</text>',
    ]
    return "\n".join(lines)


def drawing(config: IntermediateFlowConfig) -> str:
    """The SVG of a network of intermediate flow."""
    steps = [
        ("frames: two before, two after, and a time between the middle two", "RGB in [0, 1]", "data"),
        (
            "each frame: pyramid and features",
            f"{config.encoder[0]} channels, then {config.encoder[1]}, by convolutions",
            "",
        ),
    ]
    for number, level in enumerate(config.levels):
        context = "" if number == len(config.levels) - 1 else f", {config.context} of context"
        start = "frames and features" if number == 0 else "both frames warped by the flows so far"
        steps.append(
            (
                f"level {number + 1}: {level.blocks} residual blocks of {level.width} channels",
                f"from {start} at 1/{level.scale} of the size, "
                f"worked on at 1/{4 * level.scale}: flows, mask{context}",
                "",
            )
        )
    if config.four_frames:
        text = "velocities of the pairs before and after, from the coarse levels, bend the flows in time"
        steps.insert(-1, ("acceleration", text, ""))
    steps.append(("fetch and mix", "the middle frames along the flows, bicubic, weighed by the mask", ""))
    if config.head:
        steps.append(("residual head", f"{config.head} channels at half the size: a correction", ""))
    steps.append(("the frame at that time", "what stands still over a moving picture is left alone", "data"))
    parts, y = [], 20
    for number, (title, note, kind) in enumerate(steps):
        if number:
            parts.append(f'<path d="M {WIDTH // 2} {y - GAP} v {GAP - 8}"/>')
        parts.append(box(y, title, note, kind))
        y += BOX + GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - GAP + 20}" role="img">',
            "<title>The default network, from its config</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="8" markerHeight="8"',
            'orient="auto"><path d="M0 0 L8 4 L0 8 z" style="fill:#777;stroke:none;marker-end:none"/>',
            "</marker></defs>",
            f'<rect x="0" y="0" width="{WIDTH}" height="{y - GAP + 20}" style="fill:#fff;stroke:none"/>',
            *parts,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    if DEFAULT.intermediate is None:
        sys.exit("expected a default network of intermediate flow")
    text = drawing(DEFAULT.intermediate)
    if "--check" in sys.argv:
        if DRAWING.read_text() != text:
            sys.exit("docs/network.svg is stale: python scripts/draw_network.py draws it")
    else:
        DRAWING.write_text(text)
        print(DRAWING.relative_to(ROOT))
