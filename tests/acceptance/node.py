"""JavaScript in node, kept running: each call gives a function a JSON argument and reads its JSON result."""

from __future__ import annotations

import json
import subprocess
from types import TracebackType
from typing import Any, Self

_LOOP = """
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  let answer;
  try {
    answer = { result: call(JSON.parse(line)) };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + '\\n');
});
"""


class Node:
    """`source` defines `call`, a function of one argument. Use as a context."""

    def __init__(self, source: str) -> None:
        self._command = ["node", "-e", source + _LOOP]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=20)

    def __call__(self, argument: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(argument).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer
        return answer.get("result")
