from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bridge.config.load import load
from bridge.config.report import Report

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "conf"


class Read:
    """`read(text)`: the report on a file with this text; `lines` are its messages with the file left out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "nanomq.conf"

    def __call__(
        self, text: str, environ: Mapping[str, str] | None = None, *, classic: bool | None = None
    ) -> Report:
        self.path.write_text(text, encoding="utf-8")
        return load(self.path, environ or {}, classic=classic)

    def lines(self, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        return shown(self(text, environ))


def shown(report: Report) -> list[str]:
    """`line: level: key: text`, or `file:line: …` for another file, or `VARIABLE: …`."""
    return [str(m).replace(f"{m.file}:", "", 1) if m.line is not None else str(m) for m in report.messages]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return Read(tmp_path)


@pytest.fixture
def fixture() -> Callable[..., Report]:
    """`fixture("name.conf", environ)`: the report on a file of tests/fixtures/conf."""

    def one(name: str, environ: Mapping[str, str] | None = None) -> Report:
        return load(FIXTURES / name, environ or {})

    return one
