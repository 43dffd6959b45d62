"""The dashboard's files: no way from a text to markup or to a script, and nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.admin.endpoint_schemas import STATES
from bridge.config.load import load

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
MAX_BYTES = 300_000
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


# -- docs/dashboard.md ---------------------------------------------------------------------------------------

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "dashboard.md").read_text()


def test_the_page_s_pictures_are_there_and_all_are_shown() -> None:
    named = set(re.findall(r"!\[[^\]]{5,}\]\((images/[^)]+)\)", PAGE))
    assert named == {f"images/{path.name}" for path in (DOCS / "images").glob("dashboard-*.png")}
    assert all((DOCS / name).stat().st_size < 200_000 for name in named)


def test_the_page_has_every_state() -> None:
    told = set(re.findall(r"(?m)^\| ([A-Z][a-z]+) \|", PAGE))
    block = re.search(r"const STATES = \{(.*?)\};", (STATIC / "js" / "ui.js").read_text(), re.DOTALL)
    assert block
    shown = dict(re.findall(r'(\w+): \["\w+", "(\w+)"', block[1]))
    assert told == set(shown.values())
    assert set(shown) == set(STATES)


def test_the_page_has_every_entry_of_the_menu() -> None:
    menu = re.search(r"const NAV = \[(.*?)\n\];", (STATIC / "js" / "main.js").read_text(), re.DOTALL)
    assert menu
    titles = re.findall(r'\["\w+", "([^"]+)", "\w+"\]', menu[1])
    assert len(titles) == 9
    headings = " ".join(re.findall(r"(?m)^#+ (.+)$", PAGE)).lower()
    assert [one for one in titles if one.lower().removeprefix("mqtt ") not in headings] == []


def test_the_page_s_configuration_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"```hocon\n(.*?)```", PAGE, re.DOTALL)
    conf = tmp_path / "nanomq.conf"
    conf.write_text(block)
    report = load(conf, {"ADMIN_PASSWORD": "s3cret"})
    assert report.errors == []
    assert report.settings is not None
    assert report.settings.http_server is not None
    assert f"http://127.0.0.1:{report.settings.http_server.port}/dashboard/" in PAGE
