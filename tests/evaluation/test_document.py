from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import pytest

from tweenlet.evaluation.document import document, embedded, markdown_html, write_files
from tweenlet.evaluation.report import cell, table

HOSTILE = '<script>alert(1)</script> a|b \\ **c** `d` [e](f) &amp; "g"'


def test_paragraphs_lists_and_tables():
    text = "one\ntwo -> **three**\n\n- a\n- b\n\n| x | y |\n|---|--:|\n| q | 1 |\n| r | 2 |\n"
    html = markdown_html(text)
    assert "<p>one<br>\ntwo → <strong>three</strong></p>" in html
    assert "<ul><li>a</li><li>b</li></ul>" in html
    assert '<thead><tr><th class="text">x</th><th class="number">y</th></tr></thead>' in html
    assert '<tr><td class="text">r</td><td class="number">2</td></tr>' in html


def test_what_a_report_escapes_is_said_as_it_was():
    html = markdown_html(table(("name", "value"), [(cell(HOSTILE), "1")]))
    said = "&lt;script&gt;alert(1)&lt;/script&gt; a|b \\ **c** `d` [e](f) &amp;amp; &quot;g&quot;"
    assert f'<td class="long">{said}</td><td class="number">1</td>' in html
    assert "<script" not in markdown_html(HOSTILE)


def test_published_rows_and_long_columns_are_told_apart():
    rows = [
        ("ours", "1", "here"),
        ("theirs (published)", "2", "a source that is told at some length, with its year"),
    ]
    html = markdown_html(table(("name", "value", "source"), rows))
    assert html.count('class="published"') == 1
    assert '<tr class="published"><td class="text">theirs (published)</td>' in html
    assert html.count('class="long"') == 3


def test_a_document_allows_its_own_script_alone():
    plain, scripted = document("a < b", "<p>x</p>"), document("t", "<p>x</p>", "let a = 1;")
    assert "<title>a &lt; b</title>" in plain
    assert "script-src 'none'" in plain
    assert "<script" not in plain
    assert "script-src 'sha256-" in scripted
    assert "<script>let a = 1;</script>" in scripted
    for text in (plain, scripted):
        assert "default-src 'none'; img-src data:;" in text


def test_embedded_is_a_link_that_holds_the_picture():
    kind, _, content = embedded(b"\x00\xff", "webp").partition(";base64,")
    assert (kind, b64decode(content)) == ("data:image/webp", b"\x00\xff")


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = tmp_path / "new"
    write_files(folder, {"a": b"1", "b": b"2"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"1", "b": b"2"}

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:1])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"cannot write .*a: no space left"):
        write_files(folder, {"a": b"345"})
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"1", "b": b"2"}
