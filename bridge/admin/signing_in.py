"""Signing in to the dashboard, and out: `/api/v2/session`.

The answer has the session's CSRF token; the cookie goes to the browser alone, where no script can read it.
"""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import web

from bridge import __version__
from bridge.admin.access import Access
from bridge.admin.named import only_members
from bridge.admin.pages import invalid
from bridge.admin.problems import Problem, answer
from bridge.admin.routes import JSON_TYPES, Call, Route, decode_object, json_content, problem_response
from bridge.admin.scopes import Principal
from bridge.admin.sessions import COOKIE

log = logging.getLogger(__name__)

PATH = "/api/v2/session"
MAX_CREDENTIAL = 8190
"""Characters of a name, a password or a key."""


def _access(call: Call) -> Access:
    assert call.access is not None  # noqa: S101  the server gives it
    return call.access


def _shown(principal: Principal, csrf: str, *, anonymous: bool) -> dict[str, Any]:
    return {
        "username": principal.name,
        "scopes": sorted(principal.scopes),
        "csrf": csrf,
        "version": __version__,
        "anonymous": anonymous,
    }


async def sign_in(call: Call) -> web.Response:
    """Begin a session."""
    access = _access(call)
    body = decode_object(call.body)
    only_members(body, "username", "password", "api_key")
    for name, value in body.items():
        if not isinstance(value, str) or not value or len(value) > MAX_CREDENTIAL:
            raise invalid(name, f"expected a text of 1 to {MAX_CREDENTIAL} characters")
    given = frozenset(body)
    address = call.peername.rpartition(":")[0].strip("[]")
    if given == {"api_key"}:
        principal = access.by_token(body["api_key"], address)
    elif given == {"username", "password"}:
        found = access.by_password(
            body["username"].encode("utf-8", "surrogatepass"),
            body["password"].encode("utf-8", "surrogatepass"),
            address,
            scripted=True,
        )
        principal = found if isinstance(found, Principal) else await found
    else:
        raise Problem(422, "expected username and password, or api_key")
    if call.page.token:
        before = access.sessions.find(call.page.token)
        if before is not None:
            access.sessions.end(before)
    token, session = access.sessions.begin(principal)
    log.info("http_server: %r has signed in from %s", principal.name, address)
    made = answer(_shown(principal, session.csrf, anonymous=False))
    made.set_cookie(COOKIE, token, path="/", httponly=True, samesite="Strict", secure=call.secure)
    return made


async def get_session(call: Call) -> web.Response:
    """Who is signed in."""
    access = _access(call)
    principal = call.principal
    if principal.session is not None:
        return answer(_shown(principal, principal.session.csrf, anonymous=False))
    anonymous = access.open and "Authorization" not in call.headers
    return answer(_shown(principal, access.csrf if anonymous else "", anonymous=anonymous))


async def sign_out(call: Call) -> web.Response:
    """End the session."""
    session = call.principal.session
    if session is not None:
        _access(call).sessions.end(session)
    made = web.Response(status=204)
    made.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=call.secure)
    return made


_SIGNED_IN = {
    "description": "Who is signed in, and what a request that changes something sends as `X-CSRF-Token`.",
    "content": json_content("Session"),
}
ROUTES = (
    Route(
        *("POST", PATH, None, sign_in),
        {
            "operationId": "signIn",
            "summary": "Sign in: a cookie in place of a password or a key.",
            "description": "With `http_server`'s user, or with an API key (or a JWT) as `api_key`, whose "
            "scopes the session has. The cookie `hookmq_session` is HttpOnly and SameSite=Strict; it is good "
            "until it was not used for 12 hours, for 7 days at most.",
            "tags": ["session"],
            "requestBody": {"required": True, "content": json_content("SignIn")},
            "responses": {
                "200": {
                    **_SIGNED_IN,
                    "headers": {"Set-Cookie": {"schema": {"type": "string"}}},
                },
                "422": problem_response("Neither username and password nor api_key."),
            },
        },
        JSON_TYPES,
        public=True,
    ),
    Route(
        *("GET", PATH, None, get_session),
        {
            "operationId": "getSession",
            "summary": "Who is signed in.",
            "tags": ["session"],
            "responses": {"200": _SIGNED_IN},
        },
    ),
    Route(
        *("DELETE", PATH, None, sign_out),
        {
            "operationId": "signOut",
            "summary": "Sign out: the cookie is good for nothing from then on.",
            "tags": ["session"],
            "responses": {"204": {"description": "There is no session any more."}},
        },
    ),
)
