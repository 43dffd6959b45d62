"""Signing in to the dashboard, its cookie, and what keeps other pages from using it."""

from __future__ import annotations

import asyncio
import re
import time
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import argon2
import bcrypt
import pytest

from tests.integration.admin.calling import ADMIN, SERVER, Answer, Api, problem
from tests.integration.admin.test_access import Issuer
from tests.integration.receiver import make_certificates

PATH = "/api/v2/session"
ENDPOINTS = "/api/v2/webhooks/endpoints"
PAGE = {"X-Requested-With": "hookmq"}
ENDPOINT = {"url": "http://127.0.0.1:9/", "events": ["work_order.*"]}


def sign_in(api: Api, username: str = ADMIN[0], password: str = ADMIN[1], **keys: Any) -> Any:
    return api.post(PATH, {"username": username, "password": password}, auth=None, **keys)


def cookie(answer: Answer) -> str:
    """The `Cookie` header that a browser sends after this answer."""
    found = SimpleCookie(answer.headers["Set-Cookie"])["hookmq_session"]
    return f"hookmq_session={found.value}"


class Browser:
    """A page that has signed in."""

    def __init__(self, api: Api, answer: Answer) -> None:
        assert answer.status == 200, answer
        self._api = api
        self.cookie = cookie(answer)
        self.document = answer.json

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        sent = {"Cookie": self.cookie, **{key.replace("_", "-"): text for key, text in headers.items()}}
        return await self._api.call(method, path, body, auth=None, headers=sent)

    async def change(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return await self.call(method, path, body, **{"X_CSRF_Token": self.document["csrf"], **headers})


async def test_the_pages(api: Api) -> None:
    """The shell and its files are for everybody, with headers that let nothing foreign in."""
    assert api.session is not None
    for path in ("/", "/dashboard"):
        async with api.session.get(api.url + path, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/dashboard/")
    shell = await api.get("/dashboard/", auth=None)
    assert shell.status == 200
    assert shell.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(
        part.strip().partition(" ")[::2] for part in shell.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in shell.headers["Content-Security-Policy"]
    assert shell.headers["X-Content-Type-Options"] == "nosniff"
    assert shell.headers["Referrer-Policy"] == "no-referrer"
    assert shell.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert shell.headers["Cache-Control"] == "no-cache"
    tag = shell.headers["ETag"]
    again = await api.get("/dashboard/", auth=None, headers={"If-None-Match": tag})
    assert (again.status, again.text, again.headers["ETag"]) == (304, "", tag)
    assert (await api.get("/dashboard/static/index.html", auth=None)).text == shell.text
    assert (await api.call("HEAD", "/dashboard/", auth=None)).headers["ETag"] == tag
    for path in ("nothing.js", "../assets.py", "%2e%2e/assets.py", "..%2fassets.py", "js", "", "%00"):
        problem(await api.get(f"/dashboard/static/{path}", auth=None), 404)


async def test_the_life_of_a_session(api: Api) -> None:
    answer = await sign_in(api)
    flags = answer.headers["Set-Cookie"]
    assert re.fullmatch(r"hookmq_session=[\w-]{43}; HttpOnly; Path=/; SameSite=Strict", flags)
    browser = Browser(api, answer)
    assert browser.document.keys() == {"username", "scopes", "csrf", "version", "anonymous"}
    assert browser.document["username"] == "admin"
    assert "admin" in browser.document["scopes"]
    assert browser.document["anonymous"] is False
    assert browser.cookie.partition("=")[2] not in answer.text
    shown = await browser.call("GET", PATH)
    assert shown.json == browser.document
    assert (await browser.call("GET", ENDPOINTS)).status == 200
    made = await browser.change("POST", ENDPOINTS, ENDPOINT)
    assert made.status == 201
    assert made.json["created_by"] == "admin"

    # another sign-in is another session, and this one's cookie is good no more where it came along
    other = Browser(api, await sign_in(api))
    assert other.cookie != browser.cookie
    assert other.document["csrf"] != browser.document["csrf"]
    third = Browser(api, await sign_in(api, headers={"Cookie": other.cookie}))
    problem(await other.call("GET", PATH), 401)
    assert (await browser.call("GET", PATH)).status == 200

    gone = await third.change("DELETE", PATH)
    assert gone.status == 204
    assert 'hookmq_session=""' in gone.headers["Set-Cookie"]
    assert "Max-Age=0" in gone.headers["Set-Cookie"]
    refused = await third.call("GET", PATH)
    assert problem(refused, 401)["detail"] == "the session has ended"
    problem(await third.change("POST", ENDPOINTS, ENDPOINT), 401)
    assert browser.cookie.partition("=")[2] not in api.log
    assert ADMIN[1] not in api.log
    assert browser.document["csrf"] not in api.log


async def test_what_cannot_sign_in(api: Api) -> None:
    for body in (
        {},
        {"username": "admin"},
        {"api_key": ""},
        {"username": "admin", "password": 1},
        {"x": "y"},
    ):
        problem(await api.post(PATH, body, auth=None), 422)
    both = {"username": "admin", "password": ADMIN[1], "api_key": "hmq_x"}
    problem(await api.post(PATH, both, auth=None), 422)
    problem(await api.post(PATH, [], auth=None), 422)
    problem(await api.post(PATH, data=b"username=admin", auth=None), 415)
    for name in ("Cookie", "cookie"):
        problem(await api.get(PATH, auth=None, headers={name: "hookmq_session=nonsense"}), 401)
    problem(await api.get(PATH, auth=None, headers={"Cookie": "hookmq_session=" + "x" * 5000}), 401)


async def test_no_dialog_of_the_browser(api: Api) -> None:
    """`WWW-Authenticate: Basic` opens one, and then nobody can sign out."""
    plain = await api.get(PATH, auth=None)
    assert plain.headers["WWW-Authenticate"].startswith("Basic ")
    for headers in (PAGE, {"Cookie": "hookmq_session=x"}, {"Sec-Fetch-Mode": "cors"}):
        refused = await api.get(PATH, auth=None, headers=headers)
        problem(refused, 401)
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="HookMQ"'
    refused = await sign_in(api, password="wrong")
    assert refused.headers["WWW-Authenticate"].startswith('Bearer realm="HookMQ"')


async def test_a_change_needs_the_token_of_the_session(api: Api) -> None:
    browser, other = Browser(api, await sign_in(api)), Browser(api, await sign_in(api))
    for token in ({}, {"X_CSRF_Token": ""}, {"X_CSRF_Token": other.document["csrf"]}, {"X_CSRF_Token": "x"}):
        refused = await browser.call("POST", ENDPOINTS, ENDPOINT, **token)
        assert "X-CSRF-Token" in problem(refused, 403)["detail"]
        problem(await browser.call("DELETE", PATH, **token), 403)
    assert (await browser.call("GET", ENDPOINTS)).json["total"] == 0
    assert (await browser.change("POST", ENDPOINTS, ENDPOINT)).status == 201
    # who shows a password or a key himself needs none
    assert (await api.post(ENDPOINTS, ENDPOINT)).status == 201


async def test_another_page_is_refused(api: Api) -> None:
    browser = Browser(api, await sign_in(api))
    host = api.url.removeprefix("http://")
    name, _, port = host.rpartition(":")
    foreign: list[dict[str, str]] = [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},  # another port of this machine is another page
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{name}:{int(port) % 65535 + 1}"},
    ]
    for headers in foreign:
        problem(await browser.call("GET", ENDPOINTS, **headers), 403)
        problem(await browser.change("POST", ENDPOINTS, ENDPOINT, **headers), 403)
        sent = {key.replace("_", "-"): text for key, text in headers.items()}
        problem(await sign_in(api, headers=sent), 403)
        assert "Access-Control-Allow-Origin" not in (await browser.call("GET", PATH, **headers)).headers
    own = {"Origin": api.url, "Sec_Fetch_Site": "same-origin"}
    assert (await browser.change("POST", ENDPOINTS, ENDPOINT, **own)).status == 201
    assert (await browser.call("GET", ENDPOINTS, Sec_Fetch_Site="none")).status == 200


async def test_scopes_of_a_key(api: Api) -> None:
    key = await api.key("viewer", "endpoints:read")
    browser = Browser(api, await api.post(PATH, {"api_key": key}, auth=None))
    assert browser.document["username"] == "viewer"
    assert browser.document["scopes"] == ["endpoints:read"]
    assert (await browser.call("GET", ENDPOINTS)).status == 200
    assert "endpoints:write" in problem(await browser.change("POST", ENDPOINTS, ENDPOINT), 403)["detail"]
    problem(await browser.call("GET", "/api/v4/clients"), 403)
    assert key not in (await browser.call("GET", PATH)).text
    await api.hookmq("api-key", "revoke", "viewer")
    problem(await browser.call("GET", ENDPOINTS), 401)
    problem(await api.post(PATH, {"api_key": key}, auth=None), 401)


async def test_a_token_as_a_key(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path / "keys")
    server = f'http_server {{ port = 0, auth_type = jwt, jwt.public.keyfile = "{issuer.path}" }}'
    async with Api(tmp_path, server=server) as api:
        now = int(time.time())
        token = issuer.token(sub="erp", exp=now + 600)
        browser = Browser(api, await api.post(PATH, {"api_key": token}, auth=None))
        assert browser.document["username"] == "erp"
        assert (await browser.change("POST", ENDPOINTS, ENDPOINT)).status == 201
        # a session is no longer good than what it was begun with; 30 s are for clocks that differ
        short = issuer.token(exp=now - 27)
        browser = Browser(api, await api.post(PATH, {"api_key": short}, auth=None))
        end = time.monotonic() + 20
        while (answer := await browser.call("GET", PATH)).status == 200:
            assert time.monotonic() < end
        problem(answer, 401)


async def test_sign_ins_are_slowed(api: Api) -> None:
    browser = Browser(api, await sign_in(api))
    for _ in range(5):
        problem(await sign_in(api, password="guess"), 401)
    refused = await sign_in(api)
    problem(refused, 429)
    assert refused.headers["Retry-After"] == "1"
    problem(await api.get(PATH), 429)  # the same count as with a password in the header
    assert (await browser.call("GET", PATH)).status == 200  # who is signed in stays so
    end = time.monotonic() + 10
    while (await sign_in(api)).status == 429:
        assert time.monotonic() < end


@pytest.mark.parametrize(
    "stored",
    [
        argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(ADMIN[1]),
        bcrypt.hashpw(ADMIN[1].encode(), bcrypt.gensalt(4)).decode(),
    ],
    ids=["argon2id", "bcrypt"],
)
async def test_a_hashed_password(tmp_path: Path, stored: str) -> None:
    server = SERVER.replace(ADMIN[1], stored)
    async with Api(tmp_path, server=server) as api:
        assert (await api.get(PATH)).status == 200
        assert (await api.get(PATH)).status == 200  # known by now
        browser = Browser(api, await sign_in(api))
        assert (await browser.call("GET", PATH)).status == 200
        for username, password in (
            ("admin", "guess"),
            ("other", ADMIN[1]),
            ("admin", stored),
            ("other", "x"),
        ):
            problem(await sign_in(api, username, password), 401)
        problem(await sign_in(api, "other"), 401)
        problem(await sign_in(api), 429)
        assert "Traceback" not in api.log


async def test_guesses_at_the_same_time_count_each(tmp_path: Path) -> None:
    """While one hash is computed a hundred other guesses could slip in."""
    stored = argon2.PasswordHasher(time_cost=2, memory_cost=65536, parallelism=1).hash(ADMIN[1])
    async with Api(tmp_path, server=SERVER.replace(ADMIN[1], stored)) as api:
        answers = await asyncio.gather(*[sign_in(api, password=f"guess{n}") for n in range(20)])
        found = sorted(answer.status for answer in answers)
        assert found == [401] * 5 + [429] * 15
        # the same right password by many at once is one question
    async with Api(tmp_path / "b", server=SERVER.replace(ADMIN[1], stored)) as api:
        answers = await asyncio.gather(*[sign_in(api) for _ in range(20)])
        assert [answer.status for answer in answers] == [200] * 20


async def test_a_changed_password_ends_sessions(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(ADMIN[1])
    server = SERVER.replace(f'"{ADMIN[1]}"', f'{{ file = "{secret}" }}')
    async with Api(tmp_path, server=server) as api:
        browser = Browser(api, await sign_in(api))
        key = await api.key("viewer", "endpoints:read")
        by_key = Browser(api, await api.post(PATH, {"api_key": key}, auth=None))
        code, out, _ = await api.hookmq("reload")
        assert code == 0
        assert (await browser.call("GET", PATH)).status == 200  # nothing has changed

        secret.write_text("another one")
        code, out, _ = await api.hookmq("reload")
        assert code == 0
        assert "http_server: who may use it has changed" in out
        problem(await browser.call("GET", PATH), 401)
        assert (await by_key.call("GET", PATH)).status == 200
        problem(await sign_in(api), 401)
        problem(await api.get(PATH), 401)
        browser = Browser(api, await sign_in(api, password="another one"))

        secret.write_text("")
        code, out, err = await api.hookmq("reload")
        assert code != 0  # and so nothing has changed
        assert (await browser.call("GET", PATH)).status == 200
        assert "another one" not in out + err + api.log

        api.configure(server.replace("admin", "chief").replace("port = 0", "port = 0, limit_conn = 7"))
        secret.write_text("another one")
        code, out, _ = await api.hookmq("reload")
        assert "http_server: changed, takes effect at the next start" in out
        problem(await browser.call("GET", PATH), 401)
        assert Browser(api, await sign_in(api, "chief", "another one")).document["username"] == "chief"


async def test_where_nobody_has_to_sign_in(tmp_path: Path) -> None:
    async with Api(tmp_path, server="http_server { port = 0, auth_type = no_auth }") as api:
        shown = await api.get(PATH, auth=None, headers=PAGE)
        assert shown.status == 200
        assert shown.json["anonymous"] is True
        csrf = shown.json["csrf"]
        assert len(csrf) == 43
        # a page, told by its Origin, needs the token; a program does not
        own = {"Origin": api.url}
        problem(await api.post(ENDPOINTS, ENDPOINT, auth=None, headers=own), 403)
        problem(await api.post(ENDPOINTS, ENDPOINT, auth=None, headers={**own, "X-CSRF-Token": "x"}), 403)
        headers = {**own, "X-CSRF-Token": csrf}
        assert (await api.post(ENDPOINTS, ENDPOINT, auth=None, headers=headers)).status == 201
        assert (await api.post(ENDPOINTS, ENDPOINT, auth=None)).status == 201
        problem(await api.get(PATH, auth=None, headers={"Sec-Fetch-Site": "cross-site"}), 403)
        # a name that a foreign page has made to point here
        evil = {"Host": "evil.example:" + api.url.rpartition(":")[2]}
        problem(await api.get(PATH, auth=None, headers=evil), 403)
        problem(await sign_in(api, headers=evil), 403)
        problem(await sign_in(api), 401)
        key = await api.key("viewer", "endpoints:read")
        browser = Browser(api, await api.post(PATH, {"api_key": key}, auth=None))
        problem(await browser.change("POST", ENDPOINTS, ENDPOINT), 403)  # as whom he has signed in


async def test_over_https_the_cookie_is_secure(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    files = f'certfile = "{certificates.server}", keyfile = "{certificates.server_key}"'
    async with Api(tmp_path, server=SERVER.replace("port = 0", f"port = 0, {files}")) as api:
        assert api.session is not None
        body = {"username": ADMIN[0], "password": ADMIN[1]}
        async with api.session.post(api.url + PATH, json=body, ssl=False) as answer:
            assert answer.status == 200
            assert "; Secure" in answer.headers["Set-Cookie"]


async def test_behind_a_proxy_with_tls_the_cookie_is_secure(api: Api) -> None:
    answer = await sign_in(api, headers={"Origin": api.url.replace("http:", "https:")})
    assert "; Secure" in answer.headers["Set-Cookie"]


async def test_who_signs_in_again_and_again_ends_his_own(api: Api) -> None:
    first = Browser(api, await sign_in(api))
    key = await api.key("viewer", "endpoints:read")
    keys = [Browser(api, await api.post(PATH, {"api_key": key}, auth=None)) for _ in range(33)]
    problem(await keys[0].call("GET", PATH), 401)
    assert (await keys[1].call("GET", PATH)).status == 200
    assert (await first.call("GET", PATH)).status == 200
