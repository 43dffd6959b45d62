"""The dashboard's files: read once, sent with strong entity tags and a policy that lets nothing foreign in.

There is nothing secret in them: who may see what is the API's to decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

FOLDER = Path(__file__).parent / "static"
HOME = "/dashboard/"
STATIC = "/dashboard/static/"
SHELL = "index.html"
MAX_BYTES = 8 << 20
"""Of all files together: they are kept in memory."""
TYPES: Mapping[str, str] = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Asset(NamedTuple):
    """One file."""

    body: bytes
    type: str
    tag: str


class Assets:
    """All files of the dashboard, and what is answered for them."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files: dict[str, Asset] = {}
        total = 0
        for path in sorted(folder.rglob("*")):
            kind = TYPES.get(path.suffix)
            if kind is None or not path.is_file():
                continue
            body = path.read_bytes()
            total += len(body)
            if total > MAX_BYTES:
                raise ValueError(f"{folder}: more than {MAX_BYTES} bytes")
            tag = f'"{sha256(body).hexdigest()[:32]}"'
            self._files[path.relative_to(folder).as_posix()] = Asset(body, kind, tag)

    def mount(self, router: web.UrlDispatcher) -> None:
        """Add the paths: `/`, `/dashboard/` and the files."""
        router.add_get("/", self._redirect)
        router.add_get(HOME.rstrip("/"), self._redirect)
        router.add_get(HOME, self._shell)
        router.add_get(STATIC + "{path:.*}", self._file)

    async def _redirect(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=303, headers={"Location": HOME})

    async def _shell(self, request: web.Request) -> web.StreamResponse:
        return self._answer(request, SHELL)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return self._answer(request, request.match_info["path"])

    def _answer(self, request: web.Request, name: str) -> web.Response:
        found = self._files.get(name)
        if found is None:
            raise web.HTTPNotFound
        headers = {**HEADERS, "ETag": found.tag}
        known = request.headers.get("If-None-Match", "")[:1024]
        if known == "*" or found.tag in known:  # RFC 9110 section 13.1.2; the tags hold no comma
            return web.Response(status=304, headers=headers)
        charset = "utf-8" if found.type.startswith("text/") else None
        return web.Response(body=found.body, content_type=found.type, charset=charset, headers=headers)
