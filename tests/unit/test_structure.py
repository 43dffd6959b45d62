"""The rooms of the house: who may import whom (CONTRIBUTING.md), and what may not lie in the tree."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "bridge"

# What each room may import from the others; itself it may always.
ROOMS: dict[str, set[str]] = {
    "mqtt": set(),
    "events": {"mqtt"},
    "telemetry": set(),
    "journal": {"mqtt", "events", "telemetry"},
    "config": {"mqtt", "events"},
    "broker": {"mqtt", "events", "journal", "config", "telemetry"},
    "delivery": {"events", "journal", "config", "telemetry"},
    "sources": {"mqtt", "events", "journal", "config", "telemetry"},
    "traces": {"events", "journal", "config", "delivery", "telemetry"},
    "control": {"mqtt", "events", "journal", "config", "delivery"},
    "commands": {"config", "control", "events", "journal", "terminal"},
    "admin": {"mqtt", "events", "journal", "config", "broker", "delivery", "sources", "telemetry"},
}
# Modules beside the rooms. Those of the first kind put parts together, and no room imports them.
TOP = {
    "app": {*ROOMS, "garbage", "logs", "notify"},
    "amqtt_plugin": {"app", "config", "sources"},
    "cli": {"config", "app", "commands", "listen", "demo", "terminal", "verify"},
    "__main__": {"cli"},
    "demo": {"devices", "listen", "terminal"},
    "devices": {"mqtt"},
    "garbage": set(),
    "listen": {"terminal", "verify"},
    "logs": {"config"},
    "notify": set(),
    "terminal": set(),
    "verify": set(),
}
BINARY = {".so", ".whl", ".jar", ".exe", ".dll", ".dylib", ".o", ".a", ".pyc", ".gz", ".zip", ".db"}
VENDORED = {"vendor", "vendored", "_vendor", "third_party", "node_modules", "site-packages", "wheels"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute module name) of every import of `bridge`, also those inside functions."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, base] if base else up)
            # `from bridge import journal` imports a room; `from bridge import __version__` none.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def room(module: str) -> str | None:
    """`bridge.mqtt.packets.Publish` is in `mqtt`; `bridge.__version__` is in no room."""
    parts = module.split(".")
    if parts[0] != "bridge" or len(parts) < 2:
        return None
    return parts[1] if (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file() else None


def violations(path: Path) -> list[str]:
    here = room(module_name(path))
    if here is None:  # bridge/__init__.py
        allowed: set[str] = set()
    else:
        allowed = (ROOMS.get(here) if here in ROOMS else TOP.get(here, set())) or set()
    return [
        f"{path.relative_to(ROOT)}:{line}: {here or 'bridge'} may not import {target}"
        for line, name in imports(path)
        if (target := room(name)) is not None and target != here and target not in allowed
    ]


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    assert violations(path) == []


def test_every_room_and_module_is_known() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found <= set(ROOMS), "a new room: add it to ROOMS here and to CONTRIBUTING.md"
    assert {path.stem for path in PACKAGE.glob("*.py")} <= set(TOP) | {"__init__"}


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("mqtt", "import bridge.events.event"),
        ("mqtt", "from bridge import journal"),
        ("events", "def late():\n    from bridge.config.settings import Rule"),
        ("journal", "from ..broker import hooks"),
        ("broker", "from bridge.delivery import retry"),
        ("delivery", "from bridge.mqtt.packets import Publish"),
        ("config", "from bridge.cli import main"),
    ],
)
def test_a_wrong_import_is_found(
    where: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the test: each of these must be reported."""
    path = tmp_path / "bridge" / where / "probe.py"
    for name in ("mqtt", "events", "journal", "config", "broker", "delivery"):
        (tmp_path / "bridge" / name).mkdir(parents=True)
    (tmp_path / "bridge" / "cli.py").touch()
    path.write_text(text)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "bridge")
    assert len(violations(path)) == 1


def tracked() -> list[Path]:
    """The files of the tree as git knows them; outside a clone those of the package and the tests."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    ).stdout
    if listing:
        return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]
    return [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]


def test_nothing_is_vendored() -> None:
    paths = [path.relative_to(ROOT) for path in tracked()]
    assert [path for path in paths if VENDORED & set(path.parts) or path.suffix in BINARY] == []
    assert [path for path in paths if path.name.endswith((".min.js", ".min.css"))] == []


def test_no_file_names_a_package_host_or_a_machine_path() -> None:
    """Locks and scripts work with any mirror of a registry and in any folder."""
    hosts = "|".join(
        ["pypi" + r"\.org", "python" + "hosted", "registry" + r"\.npmjs", "regist" + r"ry\.yarnpkg"]
    )
    # Spelt in pieces, lest this file find itself.
    paths = "|".join(["/wor" + r"k/(main|shared|\.library)", "/ro" + "ot/", "/op" + "t/pypi"])
    pattern = re.compile(f"{hosts}|{paths}")
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {match[0]}"
            for number, line in enumerate(text.splitlines(), 1)
            if (match := pattern.search(line))
        ]
    assert found == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
