"""Calling the HTTP API of a real `hookmq start`.

async with Api(tmp_path, webhook(…)) as api:
    answer = await api.post("/api/v2/events", {"type": …})
    assert answer.status == 202
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from base64 import b64encode
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp

from tests.integration.process import ROOT, HookMQ

ADMIN = ("admin", "s3cret pass")
SERVER = f'http_server {{ port = 0, username = "{ADMIN[0]}", password = "{ADMIN[1]}" }}'
PROBLEM = "application/problem+json"


class Answer(NamedTuple):
    """One answer. `json` is None where the body is not JSON."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def problem(answer: Answer, status: int) -> dict[str, Any]:
    """The problem that an answer is, which must be one of RFC 9457 with that status."""
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == PROBLEM
    body = answer.json
    assert {"type", "title", "status", "detail"} <= body.keys()
    assert body["status"] == status
    found: dict[str, Any] = body
    return found


class Api(HookMQ):
    """A HookMQ with the API, called as its administrator unless a test says otherwise."""

    def __init__(self, folder: Path, *blocks: str, server: str = SERVER, **keys: Any) -> None:
        super().__init__(folder, server, *blocks, **keys)
        self.url = ""
        self.session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        await super().start()
        found = re.search(r"http api   (https?://\S+)$", self.stdout, re.MULTILINE)
        assert found, self.stdout
        self.url = found[1]
        if self.session is None:
            self.session = aiohttp.ClientSession()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.session is not None:
            await self.session.close()
        await super().__aexit__(kind, error, trace)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        auth: tuple[str, str] | str | None = ADMIN,
        headers: dict[str, str] | None = None,
        data: Any = None,
    ) -> Answer:
        """`body` is sent as JSON, `data` as it is; `auth`: user and password, or a Bearer token."""
        assert self.session is not None
        sent = dict(headers or {})
        if isinstance(auth, str):
            sent["Authorization"] = f"Bearer {auth}"
        elif auth is not None:
            sent["Authorization"] = "Basic " + b64encode(":".join(auth).encode()).decode()
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(method, self.url + path, data=data, headers=sent) as response:
            return Answer(response.status, response.headers, await response.text())

    async def get(self, path: str, **keys: Any) -> Answer:
        return await self.call("GET", path, **keys)

    async def post(self, path: str, body: Any = None, **keys: Any) -> Answer:
        return await self.call("POST", path, body, **keys)

    async def hookmq(self, *arguments: str) -> tuple[int, str, str]:
        """`hookmq …` on this process: exit code, standard output, standard error."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", *arguments, "--store", str(self.data)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def key(self, name: str, *scopes: str) -> str:
        """A new API key."""
        options = [part for scope in scopes for part in ("--scope", scope)]
        code, out, err = await self.hookmq("api-key", "create", "--name", name, *options)
        assert code == 0, err
        return out.strip()
