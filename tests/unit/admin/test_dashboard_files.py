"""The dashboard's files: no way from a text to markup or to a script, and nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parents[3] / "bridge" / "admin" / "dashboard" / "static"
FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
FORBIDDEN = {
    "markup made of text": r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment"
    r"|DOMParser|setHTML|srcdoc\s*=",
    "code made of text": r"\beval\s*\(|new Function\b|setTimeout\(\s*[\"'`]|javascript:",
    "an inline style": r"\.style\b|\bcssText\b|setAttribute\(\s*[\"']style|\bstyle:",
    "a handler as text": r"setAttribute\(\s*[\"']on",
    "a place outside": r"[\"'`](?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9-]+\.(?!example)[a-z]{2,}",
}
MAX_BYTES = 250_000
"""Of all files together, so that the first page is there at once on a slow line."""


def test_there_are_files() -> None:
    assert len(SCRIPTS) > 15
    assert {"index.html", "app.css", "favicon.svg"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_markup_or_code_of_text(path: Path) -> None:
    text = path.read_text()
    found = {name: match[0] for name, pattern in FORBIDDEN.items() if (match := re.search(pattern, text))}
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "x.innerHTML = y",
        "x.insertAdjacentHTML('beforeend', y)",
        "document.write(y)",
        "eval(y)",
        "x.style.color = y",
        "x.setAttribute('onclick', y)",
        'import "https://cdn.evil.io/x.js"',
    ],
)
def test_each_of_these_would_be_found(text: str) -> None:
    assert any(re.search(pattern, text) for pattern in FORBIDDEN.values())


def test_the_shell_has_neither_inline_scripts_nor_styles() -> None:
    text = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=", text) == []
    assert [url for url in re.findall(r'(?:src|href)="([^"]+)"', text) if not url.startswith("static/")] == []


def test_the_stylesheet_loads_nothing() -> None:
    assert re.findall(r"@import|url\(", (STATIC / "app.css").read_text()) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_import_is_a_file(path: Path) -> None:
    for name in re.findall(r'(?:from|import)\s*\(?"(\.[^"]+)"', path.read_text()):
        assert (path.parent / name).resolve() in SCRIPTS, name


def test_it_stays_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < MAX_BYTES
