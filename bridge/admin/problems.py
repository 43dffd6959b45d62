"""Errors as the HTTP API tells them: RFC 9457, `application/problem+json`, for every status from 400 on."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

CONTENT_TYPE = "application/problem+json"

_encode = msgspec.json.Encoder().encode


class Problem(Exception):
    """An error for the client: `status`, one plain sentence, and members beside those of RFC 9457.

    The sentence names what was found and what was expected, and never holds a secret.
    """

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def response(self) -> web.Response:
        """The answer."""
        return problem(self.status, self.detail, headers=self.headers, **self.members)


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
) -> web.Response:
    """An answer in the form of RFC 9457. Its type is `about:blank`: the status says all (section 4.2.1)."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return web.Response(
        status=status, body=_encode({**body, **members}), content_type=CONTENT_TYPE, headers=headers
    )


def answer(value: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer in JSON."""
    return web.Response(status=status, body=_encode(value), content_type="application/json", headers=headers)
