"""`auth`: users and hashes, access rules, tokens, the HTTP server that decides."""

# ruff: noqa: E501  messages stand in one piece, as they are printed

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.config.mask import effective
from bridge.config.settings import (
    AclCache,
    AclRule,
    AclWho,
    Auth,
    HttpAuth,
    HttpAuthRequest,
    JwtAuth,
)
from tests.unit.config.conftest import Read

ARGON = "$argon2id$v=19$m=64,t=1,p=1$4vZTslUhQ8PKztEvZ6rDMw$q3xgbdeVMPtTBpG6DFvPSAZZSPU2Mrif8eAUtMCk1H4"
BCRYPT = "$2b$10$a4WmsJCCdYeTxBVxDiLk0Od0I/7SDlPbmb2K42OMDPCFMIdFSuHlC"


def auth(read: Read, text: str, warnings: int = 0) -> Auth:
    report = read(text)
    assert report.errors == []
    assert len(report.warnings) == warnings, report.warnings
    assert report.settings is not None
    return report.settings.auth


def one_rule(read: Read, text: str, warnings: int = 0) -> AclRule:
    (rule,) = auth(read, f"auth.acl {{ rules = [ {text} ] }}", warnings).acl
    return rule


# --- rules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ permit = allow }", {"permit": "allow"}),
        ('{ permit: "DENY", action: "Subscribe" }', {"permit": "deny", "action": "subscribe"}),
        ('{ permit = deny, username = "#", clientid = "#", ipaddr = "#" }', {"permit": "deny"}),
        ("{ permit = deny, username = a, clientid = 007 }", {"permit": "deny", "username": "a", "clientid": "007"}),
        ('{ permit = deny, ipaddr = "10.0.0.7" }', {"permit": "deny", "ipaddr": ("10.0.0.7/32",)}),
        ('{ permit = deny, ipaddrs = ["10.0.0.0/8", "fd00::/8"] }', {"permit": "deny", "ipaddr": ("10.0.0.0/8", "fd00::/8")}),
        ('{ permit = allow, topics = ["a/#", "@b/+", "c/${clientid}"] }', {"permit": "allow", "topics": ("a/#", "@b/+", "c/${clientid}")}),
        ('{ permit = allow, topics = "a" }', {"permit": "allow", "topics": ("a",)}),
        (
            '{ permit = deny, and = [{username = a}, {clientid = b}], or = [{ipaddr = "::1"}, {and = [{username = "#"}]}] }',
            {
                "permit": "deny",
                "all_of": (AclWho(username="a"), AclWho(clientid="b")),
                "any_of": (AclWho(ipaddr=("::1/128",)), AclWho(all_of=(AclWho(),))),
            },
        ),
    ],
)  # fmt: skip
def test_rules(read: Read, text: str, expected: dict[str, Any]) -> None:
    assert one_rule(read, text) == AclRule(**expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "auth.acl.rules[0].permit: missing, expected allow or deny"),
        ("{ permit = maybe }", "auth.acl.rules[0].permit: found maybe, expected allow or deny"),
        ("{ permit = allow, action = read }", "auth.acl.rules[0].action: found read, expected publish, subscribe or pubsub"),
        ("{ permit = allow, usrname = a }", "auth.acl.rules[0].usrname: unknown key, without which the rule would be another one; did you mean username?"),
        ('{ permit = allow, username = "" }', 'auth.acl.rules[0].username: found "", expected a username, or # for anyone'),
        ("{ permit = allow, username = [a] }", "auth.acl.rules[0].username: found [a], expected a username, or # for anyone"),
        ("{ permit = allow, topics = [] }", 'auth.acl.rules[0].topics: found an empty list, expected topic filters such as ["a/#", "@b/+", "c/${clientid}"]; without the key: every topic'),
        ('{ permit = allow, topics = ["a/#/b"] }', 'auth.acl.rules[0].topics[0]: found "a/#/b", which is no topic filter (# stands alone at the end, + alone in its level), expected topic filters such as ["a/#", "@b/+", "c/${clientid}"]; without the key: every topic'),
        ('{ permit = allow, topics = ["$share/g/a"] }', 'auth.acl.rules[0].topics[0]: found "$share/g/a", expected the filter alone that is shared'),
        ('{ permit = allow, ipaddr = "10.0.0.7/8" }', 'auth.acl.rules[0].ipaddr: found "10.0.0.7/8", expected an address or a network, such as "10.0.0.7" or "10.0.0.0/8", several as a list, or # for any; did you mean 10.0.0.0/8?'),
        ("{ permit = allow, or = [] }", 'auth.acl.rules[0].or: found an empty list, expected a list of one or more, such as auth.acl.rules[0].or = [ { username = "a" }, { clientid = "b" } ]'),
        ("{ permit = allow, and = [{topics = [a]}] }", "auth.acl.rules[0].and[0].topics: unknown key, without which the rule would be another one; known are username, clientid, ipaddr, ipaddrs, and, or"),
        ("{ permit = allow, topic = a, topics = [b] }", "auth.acl.rules[0].topic: found beside topics, expected topics alone"),
        ("allow", 'auth.acl.rules[0]: found allow, expected a rule such as { permit = deny, username = "#", action = subscribe, topics = ["$SYS/#"] }'),
    ],
)  # fmt: skip
def test_a_rule_that_is_not_understood_is_an_error(read: Read, text: str, message: str) -> None:
    assert read.lines(f"auth.acl.rules = [ {text} ]") == [f"1: error: {message}"]


def test_rules_too_deep(read: Read) -> None:
    text = "{ and = [" * 12 + "{ username = a }" + "] }" * 12
    (line,) = read.lines(f"auth.acl.rules = [ {{ permit = deny, and = [ {text} ] }} ]")
    assert "found and/or more than 8 deep" in line


@pytest.mark.parametrize(
    "text",
    [
        "auth.acl = [ { permit = deny } ]",
        "auth.acl.rules = [ { permit = deny } ]",
        "auth { rules = [ { permit = deny } ] }",
        "acl { rules = [ { permit = deny } ] }",
        'authorization { sources = [ { type = file, rules = [ {"permit": "deny"} ] } ] }',
    ],
)
def test_rules_wherever_they_stand(read: Read, text: str) -> None:
    report = read(text)
    assert report.errors == []
    assert report.settings is not None
    assert report.settings.auth.acl == (AclRule(permit="deny"),)


def test_an_include(read: Read, tmp_path: Path) -> None:
    (tmp_path / "acl.conf").write_text(
        'rules = [\n  # one\n  {"permit": "allow", "username": "dashboard", "action": "subscribe", "topics": ["$SYS/#"]}\n'
        '  {"permit": "deny", "username": "#", "action": "subscribe", "topics": ["$SYS/#", "#"]}\n  {"permit": "allow"}\n]\n'
    )
    assert auth(read, 'auth { acl = {include "acl.conf"} }').acl == (
        AclRule(permit="allow", username="dashboard", action="subscribe", topics=("$SYS/#",)),
        AclRule(permit="deny", action="subscribe", topics=("$SYS/#", "#")),
        AclRule(permit="allow"),
    )


def test_switched_off(read: Read) -> None:
    made = auth(read, "auth.acl { enable = false, rules = [ { permit = deny } ] }", warnings=1)
    assert made.acl == ()


CLASSIC = """allow_anonymous=true
acl_nomatch=deny
acl_deny_action=disconnect
acl_cache_max_size=64
acl_cache_ttl=2m
acl.rule.10={"permit": "deny"}
acl.rule.2={"permit": "allow", "ipaddr": "127.0.0.1"}
acl.rule.1={"permit": "allow", "username": "a", "topics": ["t/${clientid}"]}
"""


def test_classic_rules_are_in_the_order_of_their_numbers(read: Read) -> None:
    report = read(CLASSIC)
    assert report.errors == []
    assert report.settings is not None
    assert report.settings.auth == Auth(
        no_match="deny",
        deny_action="disconnect",
        cache=AclCache(max_size=64, ttl=120),
        acl=(
            AclRule(permit="allow", username="a", topics=("t/${clientid}",)),
            AclRule(permit="allow", ipaddr=("127.0.0.1/32",)),
            AclRule(permit="deny"),
        ),
    )
    off = read("acl_enable=false\n" + CLASSIC)
    assert off.errors == []
    assert off.settings is not None
    assert (off.settings.auth.acl, off.settings.auth.no_match) == ((), "allow")


def test_a_classic_rule_that_is_no_json(read: Read) -> None:
    report = read('allow_anonymous=true\nacl.rule.1={"permit": }\n')
    assert [(m.line, m.key) for m in report.errors] == [(2, "acl.rule.1")]


# --- passwords ----------------------------------------------------------------------------------------------


def test_hashes(read: Read) -> None:
    made = auth(read, f'auth.password {{ a : "{ARGON}", "b.c" : "{BCRYPT}", d : plain }}')
    assert [(u, s.get_secret_value()) for u, s in made.password] == [
        ("a", ARGON),
        ("b.c", BCRYPT),
        ("d", "plain"),
    ]


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("$argon2id$v=19$m=64,t=1", "error: auth.password.u: found a damaged argon2 hash, expected it whole, as hookmq passwd writes it"),
        ("$2b$10$a4WmsJCCdYeTxBVxDiLk0O", "error: auth.password.u: found a damaged bcrypt hash, expected it whole, as hookmq passwd writes it"),
        (BCRYPT.replace("$10$", "$16$"), "warning: auth.password.u: a bcrypt hash of 16 rounds: each login takes seconds of a core"),
        ("$6$rounds=5000$abc$def", "warning: auth.password.u: it looks like a hash of a kind that HookMQ does not know, and is taken as the password itself; argon2id and bcrypt are known (hookmq passwd)"),
    ],
)  # fmt: skip
def test_hashes_that_are_none(read: Read, secret: str, message: str) -> None:
    assert read.lines(f'auth.password.u = "{secret}"') == [f"1: {message}"]


# --- http_auth ----------------------------------------------------------------------------------------------

STOCK = """auth.http_auth = {
  auth_req {
    url = "http://127.0.0.1:80/mqtt/auth"
    method = post
    headers.content-type = "application/x-www-form-urlencoded"
    params = {clientid = "%c", username = "%u", password = "%P"}
  }
  super_req { url = "http://user:pass@127.0.0.1:80/mqtt/superuser" }
  acl_req { url = "http://127.0.0.1:8991/mqtt/acl", method = "GET", params = "clientid=%c, topic=%t" }
  timeout = 3s
  connect_timeout = 0s
  pool_size = 8
  cache_ttl = 1m
}"""


def test_http_auth(read: Read) -> None:
    made = auth(read, STOCK, warnings=1).http_auth  # connect_timeout
    three = (("clientid", "%c"), ("username", "%u"), ("password", "%P"))
    assert made == HttpAuth(
        auth_req=HttpAuthRequest(
            url="http://127.0.0.1:80/mqtt/auth",
            headers=(("content-type", "application/x-www-form-urlencoded"),),
            params=three,
        ),
        super_req=HttpAuthRequest(
            url="http://127.0.0.1:80/mqtt/superuser",
            headers=(("Authorization", "Basic dXNlcjpwYXNz"),),
            params=three,
        ),
        acl_req=HttpAuthRequest(
            url="http://127.0.0.1:8991/mqtt/acl", method="GET", params=(("clientid", "%c"), ("topic", "%t"))
        ),
        timeout=3,
        pool_size=8,
        cache_ttl=60,
    )


def test_classic_http_auth(read: Read) -> None:
    report = read(
        "allow_anonymous=true\nauth.http.enable=true\nauth.http.auth_req.url=http://127.0.0.1:80/auth\n"
        "auth.http.auth_req.method=post\nauth.http.auth_req.headers.accept=*/*\n"
        "auth.http.auth_req.params=clientid=%c,username=%u,password=%P\nauth.http.timeout=5s\n"
    )
    assert report.errors == []
    assert report.settings is not None
    made = report.settings.auth.http_auth
    assert made is not None
    assert made.auth_req == HttpAuthRequest(
        url="http://127.0.0.1:80/auth",
        headers=(("accept", "*/*"),),
        params=(("clientid", "%c"), ("username", "%u"), ("password", "%P")),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("auth_req { method = POST }", 'error: auth.http_auth.auth_req.url: missing, expected url = "http://host:port/path"'),
        ('auth_req { url = "127.0.0.1/x" }', 'error: auth.http_auth.auth_req.url: found "127.0.0.1/x" without http:// or https://, expected http://host[:port][/path] or https://host[:port][/path]; did you mean "http://127.0.0.1/x"?'),
        ('auth_req { url = "http://h", method = HEAD }', "error: auth.http_auth.auth_req.method: found HEAD, expected POST, PUT, GET or DELETE"),
        ('auth_req { url = "http://h", params = "a,b" }', 'error: auth.http_auth.auth_req.params: found "a,b", expected an object such as { clientid = "%c", username = "%u" }, or "clientid=%c,username=%u"'),
        ('auth_req { url = "http://h", method = GET }', "warning: auth.http_auth.auth_req.method: with GET the password stands in the url, which servers and proxies log: use POST"),
        ('acl_req { url = "http://h" }, pool_size = 0', "error: auth.http_auth.pool_size: found 0, expected a whole number from 1 to 4096"),
        ('acl_rek { url = "http://h" }', "warning: auth.http_auth.acl_rek: unknown key, it has no effect; did you mean auth.http_auth.acl_req?"),
    ],
)  # fmt: skip
def test_http_auth_messages(read: Read, text: str, message: str) -> None:
    assert f"1: {message}" in read.lines(f"auth.http_auth {{ {text} }}")


# --- jwt ----------------------------------------------------------------------------------------------------


def test_jwt(read: Read, tmp_path: Path) -> None:
    secret = "x" * 32
    made = auth(
        read,
        f'auth.jwt {{ from = password, secret = "{secret}", verify_claims {{ username = "${{username}}", a.b = 1 }},'
        " acl_claim_name = rights, disconnect_after_expire = false }",
    ).jwt
    assert made is not None
    assert made.secret is not None
    assert made.model_dump(exclude={"secret"}) == JwtAuth(
        verify_claims=(("username", "${username}"), ("a.b", "1")),
        acl_claim_name="rights",
        disconnect_after_expire=False,
    ).model_dump(exclude={"secret"})
    (tmp_path / "k.pem").write_text("-----BEGIN PUBLIC KEY-----\n")
    path = tmp_path / "k.pem"
    emqx = '[ { name = "username", value = "${username}" } ]'
    made = auth(read, f'auth.jwt {{ public.keyfile = "{path}", verify_claims = {emqx} }}').jwt
    assert made == JwtAuth(public_keyfile=path, verify_claims=(("username", "${username}"),))
    assert auth(read, 'auth.jwt { enable = false, secret = "x" }', warnings=0).jwt is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from = password", "error: auth.jwt: found no key in it, expected either secret (HS256) or public.keyfile (RS256, ES256)"),
        ('secret = "0123456789"', "error: auth.jwt.secret: found a secret of 10 bytes, expected at least 32: a shorter one can be guessed by whoever has a token"),
        ('secret = "%%%%", secret_base64_encoded = true', "error: auth.jwt.secret: found a secret that is not base64, and secret_base64_encoded"),
        ('public.keyfile = "/no/such.pem"', "error: auth.jwt.public.keyfile: cannot read /no/such.pem: No such file or directory, expected a PEM public key"),
        ("secret = { env = NO_SUCH_VARIABLE }", "error: auth.jwt.secret: the environment variable NO_SUCH_VARIABLE is not set"),
        ('secret = "01234567890123456789012345678901", from = username', "error: auth.jwt.from: found username, expected password"),
        ('secret = "01234567890123456789012345678901", use_jwks = true', "warning: auth.jwt.use_jwks: it has no effect: HookMQ fetches no keys, expected public.keyfile"),
    ],
)  # fmt: skip
def test_jwt_messages(read: Read, text: str, message: str) -> None:
    assert read.lines(f"auth.jwt {{ {text} }}") == [f"1: {message}"]


# --- as a whole ---------------------------------------------------------------------------------------------


def test_what_is_in_force_loads_again_and_shows_no_secret(read: Read, tmp_path: Path) -> None:
    text = (
        'auth { allow_anonymous = false, no_match = deny, deny_action = disconnect, password { u : "hunter2" }\n'
        'acl.rules = [ {permit = deny, username = "a b", topics = ["@x/${clientid}", "y"], action = publish,\n'
        ' and = [{username = "#"}, {or = [{ipaddr = "::1"}]}]}, {permit = allow} ]\n'
        'jwt { secret = "hunter2hunter2hunter2hunter2hunter2", verify_claims { a = "${username}" } } }\n'
        + STOCK.replace("user:pass", "user:hunter2").replace("%c, topic", "%c, token=hunter2, topic")
    )
    report = read(text)
    assert report.settings is not None
    shown = effective(report.settings)
    assert "hunter2" not in shown
    again = read(shown.replace("******", "*" * 32))
    assert again.errors == []
    assert again.settings is not None
    one, other = report.settings.auth, again.settings.auth
    assert other.acl == one.acl
    assert (other.no_match, other.deny_action, other.cache) == (one.no_match, one.deny_action, one.cache)
    assert other.http_auth is not None
    assert one.http_auth is not None
    assert other.http_auth.auth_req == one.http_auth.auth_req


def test_no_match_alone(read: Read) -> None:
    assert read.lines("auth.no_match = deny") == [
        "1: warning: auth.no_match: found deny, and there is no access rule: nobody may publish or subscribe"
    ]
