"""A page as a document: one HTML file that needs nothing else, and the pieces that it is made of.

    Markdown ---> markdown_html --+
    pictures ---> embedded -------+-> document(document.html, page.css) -> write_files

Whatever may hold a name (of a file, a sample, a method) is escaped, and the document's own policy forbids it
to load anything, and to run any script but the one that it was made with.
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
"""Letters from which on a cell of a table is text that may take several lines."""
_STROKE = re.compile(r"(?<!\\)\|")


def document(title: str, body: str, script: str = "") -> str:
    """A complete document of a body in HTML; ``script`` is the only JavaScript that it can run."""
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return template("document.html").substitute(
        title=escape(title),
        allowed=f"'sha256-{digest}'" if script else "'none'",
        style=asset("page.css"),
        body=body,
        script=f"<script>{script}</script>\n" if script else "",
    )


def markdown_html(markdown: str, minor: Collection[str] = ()) -> str:
    """Paragraphs, tables and plain lists of Markdown as HTML, escaped; nothing else of Markdown is known.

    Columns whose heads are ``minor`` are left out on a narrow screen.
    """
    return "\n".join(_block(block, minor) for block in re.split(r"\n{2,}", markdown.strip()) if block)


def table(head: str, rows: Sequence[str]) -> str:
    """A table of rows in HTML, in a frame that scrolls where it is wider than the page."""
    body = "\n".join(rows)
    inner = f"<table>\n<thead>{head}</thead>\n<tbody>{body}</tbody>\n</table>"
    return f'<div class="table" tabindex="0">{inner}</div>'


def embedded(content: bytes, kind: str = "png") -> str:
    """A picture as a link that holds it; ``kind`` is "png" or "webp"."""
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def asset(name: str) -> str:
    """The text of a file that lies beside this one."""
    return files("tweenlet.evaluation").joinpath(name).read_text(encoding="utf-8")


def template(name: str) -> Template:
    """Such a file with places to fill."""
    return Template(asset(name))


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files by name, each whole or not at all; OSError, naming the file, where that fails."""
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
    """Columns whose rule ends in a colon hold numbers, unless there is long text in them."""
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
    r"""Text of a paragraph or cell, escaped; ** ** is strong, -> an arrow, \| a stroke; lines stay lines."""
    safe = escape(text).replace("-&gt;", "→").replace("\n", "<br>\n")
    strong = re.sub(r"(?<!\\)\*\*(.+?)(?<!\\)\*\*", r"<strong>\1</strong>", safe)
    return re.sub(r"\\(&lt;|[\\|*`\[])", r"\1", strong)
