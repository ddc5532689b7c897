"""Document: a page as one self-contained HTML file, and its building blocks.

    Markdown ---> markdown_html --+
    pictures ---> embedded -------+-> document(document.html, page.css) -> write_files

Names (of files, samples, methods) are escaped, and the document's content security policy forbids loading
anything, and running any script but its own.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from tweenlet.runtime.atomic import write_bytes_atomically

LONG = 40
"""Letters from which on a table cell may wrap."""
_STROKE = re.compile(r"(?<!\\)\|")


def document(title: str, body: str, script: str = "") -> str:
    """Build a complete document from a body in HTML; ``script`` is the only JavaScript it can run."""
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return template("document.html").substitute(
        title=escape(title),
        allowed=f"'sha256-{digest}'" if script else "'none'",
        style=asset("page.css"),
        body=body,
        script=f"<script>{script}</script>\n" if script else "",
    )


def markdown_html(markdown: str, minor: Collection[str] = ()) -> str:
    """Convert Markdown to escaped HTML; only paragraphs, tables and plain lists are supported.

    Columns with headings in ``minor`` are hidden on a narrow screen.
    """
    return "\n".join(_block(block, minor) for block in re.split(r"\n{2,}", markdown.strip()) if block)


def table(head: str, rows: Sequence[str]) -> str:
    """A table in HTML, in a frame that scrolls if it is wider than the page."""
    body = "\n".join(rows)
    inner = f"<table>\n<thead>{head}</thead>\n<tbody>{body}</tbody>\n</table>"
    return f'<div class="table" tabindex="0">{inner}</div>'


def embedded(content: bytes, kind: str = "png") -> str:
    """A picture as a data URL; ``kind`` is "png" or "webp"."""
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def asset(name: str) -> str:
    """The text of a file next to this module."""
    return files("tweenlet.evaluation").joinpath(name).read_text(encoding="utf-8")


def template(name: str) -> Template:
    """A file next to this module, as a template."""
    return Template(asset(name))


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files by name, each atomically; OSError, with the file's name, if that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_bytes_atomically(folder / name, content)


def _block(block: str, minor: Collection[str]) -> str:
    if re.match(r"\|.*\n\|-", block):
        return _markdown_table(block, minor)
    lines = block.splitlines()
    if all(line.startswith("- ") for line in lines):
        return f"<ul>{''.join(f'<li>{_inline(line[2:])}</li>' for line in lines)}</ul>"
    return f"<p>{_inline(block)}</p>"


def _markdown_table(block: str, minor: Collection[str]) -> str:
    """Convert a table; columns whose rule ends in a colon are numbers, unless they hold long text."""
    lines = (_STROKE.split(line.strip()[1:-1]) for line in block.splitlines())
    head, rule, *rows = ([cell.strip() for cell in cells] for cells in lines)
    kinds = ["number" if dashes.endswith(":") else "text" for dashes in rule]
    for column, cells in enumerate(zip(*rows, strict=True)):
        if max(map(len, cells)) >= LONG:
            kinds[column] = "long"
        if head[column] in minor:
            kinds[column] += " minor"

    def row(cells: Sequence[str], tag: str) -> str:
        group = ' class="published"' if cells[0].endswith("(published)") else ""
        inner = zip(cells, kinds, strict=True)
        written = (f'<{tag} class="{kind}">{_inline(cell)}</{tag}>' for cell, kind in inner)
        return f"<tr{group}>{''.join(written)}</tr>"

    return table(row(head, "th"), [row(cells, "td") for cells in rows])


def _inline(text: str) -> str:
    r"""Convert the text of a paragraph or cell, escaped; ** ** is strong, -> an arrow, \| a bar."""
    safe = escape(text).replace("-&gt;", "→").replace("\n", "<br>\n")
    strong = re.sub(r"(?<!\\)\*\*(.+?)(?<!\\)\*\*", r"<strong>\1</strong>", safe)
    return re.sub(r"\\(&lt;|[\\|*`\[])", r"\1", strong)
