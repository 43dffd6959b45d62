"""What the reader of a configuration has to say: errors and warnings, each at its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bridge.config.settings import Settings


@dataclass(frozen=True)
class Message:
    """One finding. `line` is 1-based, None where it cannot be known (an include, a substitution)."""

    level: Literal["error", "warning"]
    file: Path
    line: int | None
    key: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line is not None else str(self.file)
        key = f"{self.key}: " if self.key else ""
        return f"{where}: {self.level}: {key}{self.text}"


@dataclass
class Report:
    """The outcome of reading a configuration: settings (None where there is an error) and all messages."""

    settings: Settings | None
    messages: list[Message] = field(default_factory=list)

    @property
    def errors(self) -> list[Message]:
        return [m for m in self.messages if m.level == "error"]

    @property
    def warnings(self) -> list[Message]:
        return [m for m in self.messages if m.level == "warning"]
