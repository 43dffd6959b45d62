"""An endpoint as a JSON document: every key of the file, the same checks, and shown so that it can be read
again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from bridge.config import mask
from bridge.config.json_node import MAX_DEPTH, merge_patch
from bridge.config.keys import CREDENTIALS, SIGNATURE, WEBHOOK, WEBHOOK_TLS
from bridge.config.settings import Endpoint
from bridge.config.webhook_json import ALIASES, Read, read, schema, show

URL = "https://erp.example/hook"
STANDARD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLISH = {"event": "on_message_publish", "topic": "a/#"}


def given(document: dict[str, Any], **keys: Any) -> Read:
    return read("ep_1", {"url": URL, **document}, {}, **keys)


def made(document: dict[str, Any], **keys: Any) -> Endpoint:
    found = given(document, **keys)
    assert found.errors == []
    assert found.endpoint is not None
    return found.endpoint


def faults(document: dict[str, Any], **keys: Any) -> dict[str, str]:
    return dict(given(document, **keys).errors)


# One value for each key that differs from its default, with what it needs beside it.
VALUES: dict[str, dict[str, Any]] = {
    "enable": {"active": False},
    "note": {"description": "the ERP"},
    "url": {"url": "https://other.example/${topic}"},
    "method": {"method": "PUT"},
    "format": {"format": "eryxon"},
    "payload": {"payload": "base64"},
    "include": {"include": ["topic", "payload"]},
    "exclude": {"exclude": ["ts"]},
    "types": {"types": ["work_order.*"]},
    "where": {"where": "topic = 'a'"},
    "body.encoding": {"body": {"encoding": "base62"}},
    "body.base62_limit": {"body": {"base62_limit": "32KB"}},
    "body.template": {"body": {"template": '{"t": "${topic}"}'}},
    "body.type": {"body": {"type": "text", "template": "${topic}"}},
    "cloudevents.mode": {"format": "cloudevents", "cloudevents": {"mode": "binary"}},
    "cloudevents.source": {"format": "cloudevents", "cloudevents": {"source": "/plant"}},
    "cloudevents.type_prefix": {"format": "cloudevents", "cloudevents": {"type_prefix": "p."}},
    "abuse_protection": {"abuse_protection": True},
    "pool_size": {"pool_size": 4},
    "cancel_timeout": {"cancel_timeout": "3s"},
    "backlog.max_bytes": {"backlog": {"max_bytes": "10MB"}},
    "backlog.max_age": {"backlog": {"max_age": "1d"}},
    "backlog.on_full": {"backlog": {"on_full": "refuse"}},
    "success": {"success": [200, "202-204"]},
    "retry.schedule": {"retry": {"schedule": [0, "5s", "1m"]}},
    "retry.exponential.base": {"retry": {"schedule": "exponential", "exponential": {"base": 2.5}}},
    "retry.exponential.factor": {"retry": {"schedule": "exponential", "exponential": {"factor": 3}}},
    "retry.exponential.max_attempts": {
        "retry": {"schedule": "exponential", "exponential": {"max_attempts": 4}}
    },
    "retry.exponential.max_age": {"retry": {"schedule": "exponential", "exponential": {"max_age": "2h"}}},
    "retry.jitter": {"retry": {"jitter": 0}},
    "retry.max_retry_after": {"retry": {"max_retry_after": 60}},
    "dead.max_bytes": {"dead": {"max_bytes": 1000}},
    "dead.max_age": {"dead": {"max_age": "1h"}},
    "breaker.failures": {"breaker": {"failures": 3}},
    "breaker.probe_interval": {"breaker": {"probe_interval": 5}},
    "breaker.disable_after": {"breaker": {"disable_after": "3d"}},
    "ordering": {"ordering": "client"},
    "max_parked": {"max_parked": 5},
    "max_in_flight": {"max_in_flight": 2},
    "rate_limit.per_second": {"rate_limit": {"per_second": 2.5}},
    "rate_limit.burst": {"rate_limit": {"per_second": 2, "burst": 9}},
    "batch.enable": {"batch": {"enable": True}},
    "batch.max_events": {"batch": {"max_events": 9}},
    "batch.max_wait": {"batch": {"max_wait": "2s"}},
    "batch.format": {"batch": {"format": "cloudevents-batch"}},
    "secret": {"secret": STANDARD},
    "proxy": {"proxy": "http://proxy.example:3128"},
    "attempts.successes": {"attempts": {"successes": 5}},
    "attempts.max_age": {"attempts": {"max_age": "1d"}},
    "attempts.max_rows": {"attempts": {"max_rows": 500}},
}
OTHERS: dict[str, dict[str, Any]] = {
    "headers": {"headers": {"X-Line": "7", "a.b": "c"}},
    "events": {"events": [PUBLISH, "client.connected", "on_client_connack", "work_order.*"]},
    "triggers": {"triggers": ["message.*"], "topics": ["a/#", "b"]},
    "secrets": {"secrets": [STANDARD, STANDARD.replace("M", "N")]},
    "scheme": {"secret": "s", "signature": "hmac"},
    "header": {
        "secret": "s",
        "signature": {"scheme": "hmac", "header": "x-own", "prefix": "v=", "encoding": "base64"},
    },
    "several": {
        "secret": STANDARD,
        "signature": ["mes", "standard", {"scheme": "hmac", "template": "{id}.{body}"}],
    },
    "ssl": {"ssl": {"verify_peer": False}},
    "basic": {"credentials": {"kind": "basic", "username": "u", "password": {"env": "SECRET"}}},
    "oauth2": {
        "credentials": {
            "kind": "oauth2",
            "token_url": "https://id.example/token",
            "client_id": "c",
            "client_secret": {"env": "SECRET"},
            "scope": "hooks",
        }
    },
}  # fmt: skip


def test_there_is_a_value_for_every_key() -> None:
    assert VALUES.keys() == {key.name for key in WEBHOOK.keys}


@pytest.mark.parametrize("name", [*VALUES, *OTHERS])
def test_every_key_is_set_and_shown_as_it_is_read(name: str) -> None:
    document = (VALUES | OTHERS)[name]
    found = read("ep_1", {"url": URL, "events": [PUBLISH], **document}, {"SECRET": "s3cret"})
    assert found.errors == []
    endpoint = found.endpoint
    assert endpoint is not None
    default = made({"events": [PUBLISH]})
    key = next((key for key in WEBHOOK.keys if key.name == name), None)
    assert endpoint != default or (key is not None and key.name == "batch.enable")
    shown = show(endpoint)
    assert jsonschema_rs.is_valid(schema(), shown), name
    secrets = {"secret", "secrets"} & document.keys()
    again = read("ep_1", shown | {one: document[one] for one in secrets}, {"SECRET": "s3cret"})
    assert again.errors == []
    assert again.endpoint == endpoint


@pytest.mark.parametrize("name", [*VALUES, *OTHERS])
def test_every_value_is_one_of_the_schema(name: str) -> None:
    assert jsonschema_rs.is_valid(schema(), {"url": URL, **(VALUES | OTHERS)[name]})


def test_the_schema_has_every_key() -> None:
    def leaves(part: dict[str, Any], prefix: str = "") -> set[str]:
        found: set[str] = set()
        for name, member in part["properties"].items():
            inner = member.get("properties") if member.get("type") == "object" else None
            found |= leaves(member, f"{prefix}{name}.") if inner else {prefix + name}
        return found

    found = leaves(schema())
    renamed = {today: alias for alias, today in ALIASES.items()}
    assert {renamed.get(key.name, key.name) for key in WEBHOOK.keys} <= found
    for block, prefix in ((WEBHOOK_TLS, "ssl."), (CREDENTIALS, "credentials.")):
        assert {prefix + key.name for key in block.keys} <= found
    signature = next(
        part for part in schema()["properties"]["signature"]["oneOf"] if part["type"] == "object"
    )
    assert signature["properties"].keys() == {key.name for key in SIGNATURE.keys}


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"url": "ftp://x"}, "/url", "expected http://host"),
    ({"url": 7}, "/url", "found 7, expected string"),
    ({"pool_size": "4"}, "/pool_size", 'found "4", expected integer'),
    ({"pool_size": True}, "/pool_size", "found true, expected integer"),
    ({"pool_size": 0}, "/pool_size", "expected a whole number from 1 to 4096"),
    ({"active": "yes"}, "/active", 'found "yes", expected boolean'),
    ({"active": True, "enable": True}, "/active", "found beside enable"),
    ({"retry": {"schedule": "often"}}, "/retry/schedule", "expected standard, mes, exponential"),
    ({"retry": {"schedule": [1, 2]}}, "/retry/schedule", "0s as the first"),
    ({"retry": []}, "/retry", "found an empty list"),
    ({"rety": {}}, "/rety", "unknown key; did you mean retry?"),
    ({"retry": {"jiter": 1}}, "/retry/jiter", "unknown key; did you mean retry.jitter?"),
    ({"events": "work_order.*"}, "/events", "expected a list"),
    ({"events": ["a b"]}, "/events/0", "expected a type of event"),
    ({"events": [{"event": "on_message_publis"}]}, "/events/0/event", "did you mean on_message_publish?"),
    ({"events": [{"topic": "a"}]}, "/events/0", "found no event in it"),
    ({"events": [{"event": "on_message_publish", "topic": "a/#/b"}]}, "/events/0/topic", "a topic filter"),
    ({"events": [7]}, "/events/0", "expected an object"),
    ({"rules": []}, "/rules", "unknown key; did you mean events?"),
    ({"headers": {"a b": "c"}}, "/headers/a b", "header name"),
    ({"headers": {"a/~b": "c\n"}}, "/headers/a~1~0b", "found the header name"),
    ({"where": "a >> b"}, "/where", "column"),
    ({"body": {"template": "${nothing.}"}}, "/body/template", "column"),
    ({"secret": STANDARD, "secrets": [STANDARD]}, "/secrets", "expected one of the two"),
    ({"secret": "", "format": "mes"}, "/secret", "a secret (not shown)"),
    ({"signature": "mes"}, "/signature", "found mes and no secret, expected secret ="),
    ({"secret": "s", "signature": "standard"}, "/secret", "whsec_"),
    ({"headers": {"Authorization": mask.MASK}}, "/headers/Authorization", "stays as it is"),
    ({"url": f"https://{mask.MASK}@h/"}, "/url", "stays as it is"),
    ({"credentials": {"kind": "bearer"}}, "/credentials", "found no token"),
    ({"ssl": {"cacertfile": "/nowhere.pem"}}, "/ssl/cacertfile", "cannot read"),
    ({"rate_limit": {"burst": 4}}, "/rate_limit/burst", "expected rate_limit.per_second"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "path", "text"), WRONG)
def test_what_is_wrong_is_told_with_its_place(document: dict[str, Any], path: str, text: str) -> None:
    found = faults(document)
    assert path in found
    assert text in found[path]
    assert "\0" not in str(found)


def test_all_is_told_at_once_and_no_secret_with_it() -> None:
    found = given({"url": "https://u:s3cret@h:0/", "pool_size": 0, "secret": "s3cret", "format": "nanomq"})
    assert {path for path, _ in found.errors} == {"/url", "/pool_size", "/secret"}
    assert "s3cret" not in str(found)


def test_an_url_is_needed() -> None:
    for document in ({}, {"active": False}, {"url": None}):
        assert "missing" in dict(read("ep_1", document, {}).errors)["/url"]


def test_what_is_nested_too_deep() -> None:
    value: Any = {}
    for _ in range(MAX_DEPTH + 500):
        value = {"a": value}
    assert "nested deeper" in str(faults({"retry": value}))


def test_what_says_nothing_is_a_warning() -> None:
    found = given({"events": ["work_order.crated"]}, known=lambda: ("work_order.created",))
    assert found.errors == []
    [(path, text)] = found.warnings
    assert (path, "did you mean work_order.created" in text) == ("/events", True)


def test_one_for_business_events_is_the_mes_documents() -> None:
    endpoint = made({"events": ["work_order.*"]})
    assert (endpoint.format, endpoint.retry.schedule, endpoint.success) == ("mes", "mes", ((200, 200),))
    assert made({"events": ["work_order.*"], "retry": {"jitter": 0}}).retry.schedule == "standard"
    assert made({"events": ["work_order.*"], "format": "mes"}).retry.schedule == "standard"
    assert made({"events": ["work_order.*", PUBLISH]}).format == "nanomq"
    assert made({"events": ["a.b"], "success": "2xx"}).success == ((200, 299),)


def test_no_secret_is_shown() -> None:
    endpoint = made(
        {
            "url": "https://h/?token=s3cret",
            "secret": "s3cret",
            "format": "mes",
            "headers": {"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret", "X-Line": "7"},
            "proxy": "http://user:s3cret@proxy.example:3128",
        }
    )
    shown = show(endpoint)
    assert "s3cret" not in str(shown)
    assert shown["headers"]["X-Line"] == "7"
    endpoint = made({"credentials": {"kind": "bearer", "token": "s3cret"}})
    assert "s3cret" not in str(show(endpoint))
    assert "s3cret" not in str(show(made({"url": "https://u:s3cret@h/"})))


# -- tenants -------------------------------------------------------------------------------------------------

NOT_A_TENANTS: list[tuple[dict[str, Any], str]] = [
    ({"secret": {"file": "FILE"}}, "/secret"),
    ({"secret": {"env": "HOME"}}, "/secret"),
    ({"secrets": [STANDARD, {"env": "HOME"}]}, "/secrets/1"),
    ({"credentials": {"kind": "bearer", "token": {"file": "FILE"}}}, "/credentials/token"),
    ({"ssl": {"cacertfile": "FILE"}}, "/ssl/cacertfile"),
    ({"tls": {"certfile": "FILE", "keyfile": "FILE"}}, "/tls/keyfile"),
    ({"ssl": {"cacert": "FILE"}}, "/ssl/cacert"),
    ({"backlog": {"on_full": "refuse"}}, "/backlog/on_full"),
    ({"backlog": {"max_bytes": "2GB"}}, "/backlog/max_bytes"),
    ({"pool_size": 33}, "/pool_size"),
    ({"request_timeout": "10m"}, "/request_timeout"),
    ({"cancel_timeout": "10m"}, "/cancel_timeout"),
    ({"attempts": {"max_rows": 1_000_000}}, "/attempts/max_rows"),
    ({"dead": {"max_age": "300d"}}, "/dead/max_age"),
    ({"max_parked": 10_001}, "/max_parked"),
]


@pytest.mark.parametrize(("document", "path"), NOT_A_TENANTS)
def test_what_a_tenant_may_not(document: dict[str, Any], path: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(STANDARD)
    text = json.dumps(document).replace("FILE", str(file))
    document = json.loads(text)
    found = given(document, trust="tenant")
    assert found.endpoint is None
    assert path in dict(found.errors)
    assert str(file) not in str(found)
    assert faults(document).get(path) is None or "ssl" in text or "tls" in text


def test_a_tenants_endpoint_is_one() -> None:
    assert made({"secret": STANDARD}, trust="tenant").trust == "tenant"
    assert made({}).trust == "operator"


# -- merge patch ---------------------------------------------------------------------------------------------

# RFC 7396, appendix A
CASES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), CASES)
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result
