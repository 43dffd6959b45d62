"""Commands to a running HookMQ, as people and scripts give them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import subprocess
import sys
from typing import Any

from bridge.cli import main
from tests.integration.process import HookMQ


async def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`hookmq …` to its end."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bridge", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


async def given(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same without a process of its own, which takes half a second to start."""

    def work() -> subprocess.CompletedProcess[str]:
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = main(arguments)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())

    return await asyncio.to_thread(work)


async def said(hookmq: HookMQ, *arguments: str) -> str:
    """The standard output of a command that goes well."""
    done = await given(*arguments, "--store", str(hookmq.data))
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


async def asked(hookmq: HookMQ, *arguments: str) -> Any:
    """What a command answers as JSON."""
    return json.loads(await said(hookmq, *arguments, "--json"))
