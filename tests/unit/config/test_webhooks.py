"""Several webhooks in one file, EMQX's keys, and what of a body goes together."""

# ruff: noqa: E501  messages stand in one piece, as they are printed

from __future__ import annotations

from typing import Any

import pytest

from bridge.config import mask
from bridge.config.settings import BatchPolicy, CloudEvents, Encoding, Endpoint, NodeSettings, Rule
from bridge.events.event import BY_NAME, EMQX_ALL, HOOK_EVENTS, MESSAGE_EVENTS, EventType
from tests.unit.config.conftest import Read

E = EventType
EVENTS = "events = [ { event = on_client_connack } ]"
HEAD = f'webhooks.w {{ url = "http://h", {EVENTS}\n'


def endpoints(read: Read, text: str, environ: dict[str, str] | None = None) -> dict[str, Endpoint]:
    report = read(text, environ)
    assert report.messages == []
    assert report.settings is not None
    return {one.name: one for one in report.settings.webhooks}


def one(read: Read, inside: str) -> Endpoint:
    (endpoint,) = endpoints(read, f'webhooks.w {{ url = "http://h"\n{inside}\n}}').values()
    return endpoint


# --- names --------------------------------------------------------------------------------------------------


def test_webhooks_stand_beside_the_one_named_default(read: Read) -> None:
    text = f"""
    webhooks.line1 {{ url = "http://one", {EVENTS} }}
    webhook {{ url = "http://default", {EVENTS} }}
    webhooks {{
      Line_2 {{ url = "http://two", {EVENTS}, retry.schedule = mes }}
      3-c {{ url = "http://three", {EVENTS}, enable = false }}
      gone = null
      off {{ enable = false }}
    }}
    webhooks.line1.pool_size = 7
    """
    found = endpoints(read, text)
    assert list(found) == ["default", "line1", "Line_2", "3-c"]
    assert [e.url for e in found.values()] == ["http://default", "http://one", "http://two", "http://three"]
    assert found["line1"].pool_size == 7
    assert found["Line_2"].retry.schedule == "mes"
    assert not found["3-c"].enable


def test_default_may_stand_among_the_others(read: Read) -> None:
    assert list(endpoints(read, f'webhooks.default {{ url = "http://h", {EVENTS} }}')) == ["default"]


def test_one_may_begin_as_a_copy_of_another(read: Read) -> None:
    text = """
    webhook { url = "http://a", topics = [a], pool_size = 3, retry { schedule = mes, jitter = 0 } }
    webhooks.b = ${webhook} { url = "http://b", retry.jitter = 1 }
    webhooks { c = ${webhooks.b} { topics = [c] } }
    """
    found = endpoints(read, text)
    assert [(e.url, e.pool_size, e.retry.schedule, e.retry.jitter) for e in found.values()] == [
        ("http://a", 3, "mes", 0),
        ("http://b", 3, "mes", 1),
        ("http://b", 3, "mes", 1),
    ]
    assert [e.events[0].topic for e in found.values()] == ["a", "a", "c"]


def test_a_list_with_names(read: Read) -> None:
    text = f'webhooks = [ {{ name = a, url = "http://a", {EVENTS} }}\n{{ name = b, url = "http://b", {EVENTS} }} ]'
    found = endpoints(read, text, {"HOOKMQ_WEBHOOKS__B__POOL_SIZE": "3"})
    assert [(e.name, e.url, e.pool_size) for e in found.values()] == [
        ("a", "http://a", 32),
        ("b", "http://b", 3),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'webhook {{ url = "http://h", {EVENTS} }}\nwebhooks.default {{ url = "http://h" }}', "2: error: webhooks.default: found beside webhook (line 1), which is the one named default, expected one of the two"),
        (f'webhooks."a b" {{ url = "http://h", {EVENTS} }}', '1: error: webhooks."a b": found the name "a b", expected 1 to 64 letters, digits, _ and -'),
        (f'webhooks."a.b" {{ url = "http://h", {EVENTS} }}', '1: error: webhooks."a.b": found the name "a.b", expected 1 to 64 letters, digits, _ and -'),
        (f'webhooks.{"x" * 65} {{ url = "http://h", {EVENTS} }}', f'1: error: webhooks.{"x" * 65}: found the name "{"x" * 65}", expected 1 to 64 letters, digits, _ and -'),
        ('webhooks = "http://h"', '1: error: webhooks: found "http://h", expected one object for each name: webhooks.<name> { url = "http://…", events = [ … ] }'),
        ('webhooks { url = "http://h" }', '1: error: webhooks.url: found "http://h", expected one object for each name: webhooks.<name> { url = "http://…", events = [ … ] }'),
        (f"webhooks.a {{ {EVENTS} }}", '1: error: webhooks.a.url: missing, expected the receiver: url = "http://host:port/path"'),
        ('webhooks.a { url = "http://h" }', '1: warning: webhooks.a.events: no events: nothing will be sent; for example events = [ { event = "on_message_publish" } ]'),
        (f'webhooks = [ {{ url = "http://h", {EVENTS} }} ]', "1: error: webhooks[0]: found no name in it, expected name = …"),
        ("webhooks = [ a ]", '1: error: webhooks[0]: found a, expected an object: { name = line1, url = "http://…", events = [ … ] }'),
        (f'webhooks = [\n{{ name = a, url = "http://h", {EVENTS} }}\n{{ name = a, url = "http://h", {EVENTS} }} ]', "3: error: webhooks[1].name: found the name a again, expected another than at line 2"),
        (f'{HEAD} name = x }}', "2: warning: webhooks.w.name: it has no effect: a webhook is named by its block: webhooks.<name> { … }"),
        (f'webhoks.w {{ url = "http://h", {EVENTS} }}', "1: warning: webhoks: unknown key, it has no effect; did you mean webhooks?"),
    ],
)  # fmt: skip
def test_names_that_cannot_be(read: Read, text: str, message: str) -> None:
    assert read.lines(text) == [message]


def test_at_most_ten_thousand(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.config.webhook.MAX_WEBHOOKS", 2)
    text = "".join(f'webhooks.w{n} {{ url = "http://h", {EVENTS} }}\n' for n in range(3))
    assert read.lines(text) == ["1: error: webhooks: found 3 webhooks, expected at most 2"]


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("retry.jitter = 2", "error: webhooks.w.retry.jitter: found 2, expected a number from 0 to 1"),
        ("retry = mes", "error: webhooks.w.retry: found mes, expected an object: webhooks.w.retry { key = value … }"),
        ("retry.max_attempts = 3", "warning: webhooks.w.retry.max_attempts: it has no effect: the schedule is standard, expected webhooks.w.retry.schedule = exponential"),
        ("poolsize = 3", "warning: webhooks.w.poolsize: unknown key, it has no effect; did you mean webhooks.w.pool_size?"),
        ("encoding = base64", "warning: webhooks.w.encoding: an older spelling, read as webhooks.w.body.encoding"),
        ("rate_limit.burst = 5", "error: webhooks.w.rate_limit.burst: found a burst without a rate, expected webhooks.w.rate_limit.per_second"),
        ("signature = mes", 'error: webhooks.w.signature: found mes and no secret, expected webhooks.w.secret = "…", { env = NAME } or { file = "PATH" }'),
        ("secret = x", "error: webhooks.w.secret: found a secret and no signature, expected webhooks.w.signature = standard, mes, eryxon or hmac (only a secret that begins with whsec_ or whsk_ means standard by itself)"),
        ("signature { scheme = hmac, prefx = x }, secret = x", "warning: webhooks.w.signature.prefx: unknown key, it has no effect; did you mean webhooks.w.signature.prefix?"),
        ("headers.x = a, signature { scheme = hmac, header = X }, secret = x", "error: webhooks.w.signature.header: the signature goes into the header X, which webhooks.w.headers has too, expected it once"),
        ("credentials { kind = bearer, token = x, scop = y }", "warning: webhooks.w.credentials.scop: unknown key, it has no effect; did you mean webhooks.w.credentials.scope?"),
        ("ssl.versions = 3", "warning: webhooks.w.ssl.versions: unknown key, it has no effect; known keys of webhooks.w.ssl: enable, cacertfile, certfile, keyfile, key_password, verify_peer"),
        ("events = [ { event = x } ]", "error: webhooks.w.events[0].event: found x, expected one of "),
    ],
)  # fmt: skip
def test_messages_name_the_webhook(read: Read, inside: str, message: str) -> None:
    (line,) = read.lines(f"{HEAD}{inside}\n}}")
    assert line.startswith(f"2: {message}")


def test_a_fault_in_one_is_told_beside_those_of_the_others(read: Read) -> None:
    text = "".join(f'webhooks.w{n} {{ url = "http://h", {EVENTS}, pool_size = 0 }}\n' for n in range(3))
    assert [m.key for m in read(text).errors] == [f"webhooks.w{n}.pool_size" for n in range(3)]


def test_variables_reach_them(read: Read) -> None:
    text = f'webhooks.Line-1 {{ url = "http://h", {EVENTS}, headers.X-Two = 2 }}'
    found = endpoints(
        read,
        text,
        {
            "HOOKMQ_WEBHOOKS__LINE_1__URL": "http://other",
            "HOOKMQ_WEBHOOKS__LINE_1__HEADERS__X_API_KEY": "k",
            "HOOKMQ_WEBHOOKS__LINE_1__HEADERS__X_TWO": "3",
            "HOOKMQ_WEBHOOKS__NEW_ONE__URL": "http://new",
            "HOOKMQ_WEBHOOKS__NEW_ONE__TRIGGERS": "client.ping",
            "HOOKMQ_WEBHOOKS__NEW_ONE__BODY": "${clientid}",
            "HOOKMQ_WEBHOOKS__NEW_ONE__BODY__TYPE": "text",
        },
    )
    assert found["Line-1"].url == "http://other"
    assert found["Line-1"].headers == (("X-Two", "3"), ("x-api-key", "k"))
    assert found["new_one"].events == (Rule(event=E.CLIENT_PING),)
    (line,) = [str(m) for m in read(text, {"HOOKMQ_WEBHOOKS__LINE_1__POOL_SIZE": "x"}).messages]
    assert line.startswith("HOOKMQ_WEBHOOKS__LINE_1__POOL_SIZE: error: webhooks.Line-1.pool_size: found x")


# --- events -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*BY_NAME, *(name.upper() for name in BY_NAME)])
def test_both_names_of_an_event(read: Read, name: str) -> None:
    meant = (Rule(event=BY_NAME[name.lower()]),)
    assert one(read, f'events = [ {{ event = "{name}" }} ]').events == meant
    assert one(read, f'triggers = ["{name}"]').events == meant


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("$events/message_delivered", E.MESSAGE_DELIVERED),
        ("$events/message/acked", E.MESSAGE_ACKED),
        ("$events/delivery_dropped", E.MESSAGE_DELIVERY_DROPPED),
        ("delivery.dropped", E.MESSAGE_DELIVERY_DROPPED),
        ("$EVENTS/client_check_authz_complete", E.CLIENT_CHECK_AUTHZ_COMPLETE),
        ("$events/auth/check_authn_complete", E.CLIENT_CHECK_AUTHN_COMPLETE),
        ("client_connack", E.CLIENT_CONNACK),
    ],
)
def test_the_rule_engines_names(read: Read, name: str, event: EventType) -> None:
    assert one(read, f'events = [ {{ event = "{name}" }} ]').events == (Rule(event=event),)


CLIENT = tuple(kind for kind in HOOK_EVENTS if kind.name.startswith("CLIENT_"))


@pytest.mark.parametrize(
    ("triggers", "kinds"),
    [
        ("all", EMQX_ALL),
        ("[ALL]", EMQX_ALL),
        ('"*"', HOOK_EVENTS),
        ('"client.*"', CLIENT),
        ('["on_client_*"]', CLIENT),
        ('["message.publish", "message.p*", on_message_publish]', (E.MESSAGE_PUBLISH,)),
        ('"client.ping, session.created"', (E.CLIENT_PING, E.SESSION_CREATED)),
        ('["*.connack", "$events/client_conn*"]', (E.CLIENT_CONNACK, E.CLIENT_CONNECT, E.CLIENT_CONNECTED)),
    ],
)
def test_triggers(read: Read, triggers: str, kinds: tuple[EventType, ...]) -> None:
    assert one(read, f"triggers = {triggers}").events == tuple(Rule(event=kind) for kind in kinds)


def test_topics_are_for_messages(read: Read) -> None:
    rules = one(read, 'triggers = all, topics = ["a/#", "b/+"]').events
    assert [(r.event, r.topic) for r in rules] == [
        (kind, topic)
        for kind in EMQX_ALL
        for topic in (("a/#", "b/+") if kind in MESSAGE_EVENTS else (None,))
    ]
    assert one(read, 'topics = ["a/#", a, a]').events == (
        Rule(event=E.MESSAGE_PUBLISH, topic="a/#"),
        Rule(event=E.MESSAGE_PUBLISH, topic="a"),
    )
    assert one(read, 'topics = "a/#"').events == (Rule(event=E.MESSAGE_PUBLISH, topic="a/#"),)
    assert one(read, "triggers = message.acked, topics = []").events == (Rule(event=E.MESSAGE_ACKED),)


def test_events_and_triggers_together(read: Read) -> None:
    assert one(
        read,
        'events = [ { event = on_message_publish, topic = "x" } { event = client.ping } ]\n'
        'triggers = [client.ping, message.publish], topics = ["a"]',
    ).events == (
        Rule(event=E.MESSAGE_PUBLISH, topic="x"),
        Rule(event=E.CLIENT_PING),
        Rule(event=E.MESSAGE_PUBLISH, topic="a"),
    )


TRIGGERS = 'all, or a list of events and patterns such as ["message.publish", "client.*"]'
DOTTED = ", ".join(sorted(kind.dotted for kind in HOOK_EVENTS))


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("triggers = [mesage.publish]", f"error: webhooks.w.triggers[0]: found mesage.publish, expected {TRIGGERS}; events: {DOTTED}; did you mean message.publish?"),
        ('triggers = "client.pong"', f'error: webhooks.w.triggers: found "client.pong", expected {TRIGGERS}; events: {DOTTED}; did you mean client.ping?'),
        ('triggers = "all, qqq"', f'error: webhooks.w.triggers: found "all, qqq", expected {TRIGGERS}; qqq is none; events: {DOTTED}'),
        ('triggers = ["q*"]', f'error: webhooks.w.triggers[0]: found "q*", expected {TRIGGERS}; events: {DOTTED}'),
        ("triggers { a = 1 }", f"error: webhooks.w.triggers: found an object {{ … }}, expected {TRIGGERS}; events: {DOTTED}"),
        ("triggers = []", f"error: webhooks.w.triggers: found an empty list, expected {TRIGGERS}"),
        ('triggers = client.ping, topics = ["a"]', "warning: webhooks.w.topics: it has no effect: triggers has no message event, and the others are sent for every topic"),
        ('topics = ["a/#/b"]', 'error: webhooks.w.topics[0]: found "a/#/b", expected a topic filter of MQTT: levels between /, + for one whole level, # only as the last level'),
        ('topics = ["$share/g/a"]', 'error: webhooks.w.topics[0]: found "$share/g/a", expected a topic filter without $share: a webhook is no member of a shared subscription'),
        (f'{EVENTS}, topics = ["a"]', "error: webhooks.w.topics: found beside events and without triggers, expected topic = … in each event, or triggers"),
    ],
)  # fmt: skip
def test_messages_of_triggers(read: Read, inside: str, message: str) -> None:
    assert read.lines(f'webhooks.w {{ url = "http://h"\n{inside}\n}}') == [f"2: {message}"]


# --- bodies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "fields"),
    [
        ("note = \"Schicht 3\\nzweite Zeile\"", {"note": "Schicht 3\nzweite Zeile"}),
        ('note = ""', {}),
        ("description = x", {"note": "x"}),
        ("method = put", {"method": "PUT"}),
        ("method = Delete", {"method": "DELETE"}),
        ("format = EMQX", {"format": "emqx"}),
        ("payload = string", {}),
        ("payload = json", {"encoding": Encoding.JSON}),
        ("payload = base64, body.encoding = BASE64", {"encoding": Encoding.BASE64}),
        ("payload = string, body.encoding = plain", {}),
        ("body.encoding = json", {"encoding": Encoding.JSON}),
        ("include = [topic, payload, topic]", {"include": ("topic", "payload")}),
        ('exclude = "ts, qos"', {"exclude": ("ts", "qos")}),
        ('where = "payload.temp > 80"', {"where": "payload.temp > 80"}),
        ('where = ""', {}),
        ('body = "{\\"a\\": ${payload}}"', {"format": "template", "template": '{"a": ${payload}}'}),
        ('body = """{"a": "${payload.x}"}"""', {"format": "template", "template": '{"a": "${payload.x}"}'}),
        ('body.template = "${clientid}", body.type = text', {"format": "template", "template": "${clientid}", "template_type": "text"}),
        ("body = 7", {"format": "template", "template": "7"}),
        ('body = "", format = template', {"format": "template", "template": ""}),
        ("format = template", {"format": "template"}),
        ('body = "${.}", include = [topic]', {"format": "template", "template": "${.}", "include": ("topic",)}),
        ("cloudevents { mode = binary, source = \"/plant/7\", type_prefix = \"com.example.\" }, format = cloudevents", {"format": "cloudevents", "cloudevents": CloudEvents(mode="binary", source="/plant/7", type_prefix="com.example.")}),
        ("abuse_protection = true", {"abuse_protection": True}),
        ("format = cloudevents, batch.max_events = 7", {"format": "cloudevents", "batch": BatchPolicy(max_events=7, format="cloudevents-batch")}),
        ("format = cloudevents, batch.format = array", {"format": "cloudevents", "batch": BatchPolicy()}),
        ("batch.format = cloudevents-batch, cloudevents.source = \"/x\"", {"batch": BatchPolicy(format="cloudevents-batch"), "cloudevents": CloudEvents(source="/x")}),
        ("request_timeout = 15s", {"cancel_timeout": 15000}),
        ("resource_opts { inflight_window = 7 }", {"max_in_flight": 7}),
        ('headers { content-type = "application/cloudevents+json" }, format = cloudevents', {"format": "cloudevents", "headers": (("content-type", "application/cloudevents+json"),)}),
        ('headers.x = "${clientid} ${payload.a[0]}"', {"headers": (("x", "${clientid} ${payload.a[0]}"),)}),
    ],
)  # fmt: skip
def test_what_requests_hold(read: Read, inside: str, fields: dict[str, Any]) -> None:
    expected = Endpoint(name="w", url="http://h", events=(Rule(event=E.CLIENT_CONNACK),), **fields)
    report = read(f"{HEAD}{inside}\n}}")
    assert report.messages == []
    assert report.settings is not None
    assert report.settings.webhooks == (expected,)
    again = read(mask.effective(report.settings))
    assert again.messages == []
    assert again.settings == report.settings


def test_a_url_with_placeholders(read: Read) -> None:
    url = "https://h:8443/${topic}/${payload.list[0].x}?c=${clientid}"
    assert endpoints(read, f'webhooks.w {{ url = "{url}", {EVENTS} }}')["w"].url == url


def test_quoted_placeholders_are_no_substitutions(read: Read) -> None:
    """Also where a variable of that name is there; unquoted ones are HOCON's."""
    text = 'webhooks.w { url = "http://h/${topic}", topics = ["#"], body = "a ${payload}"${payload}, body.type = text }'
    report = read(
        text.replace(", body.type", "\n body { type"), {}
    )  # broken on purpose: nothing but an error
    assert report.settings is None
    inside = 'topics = ["#"]\nwhere = "topic = \'a\'"\nheaders { x = "${topic}", y = ${topic} }'
    (endpoint,) = endpoints(
        read, f'webhooks.w {{ url = "http://h/${{topic}}"\n{inside} }}', {"topic": "from the environment"}
    ).values()
    assert endpoint.url == "http://h/${topic}"
    assert endpoint.headers == (("x", "${topic}"), ("y", "from the environment"))


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("method = PATCH", "error: webhooks.w.method: found PATCH, expected POST, PUT, GET or DELETE"),
        ("format = xml", "error: webhooks.w.format: found xml, expected nanomq, emqx, cloudevents, template, mes or eryxon"),
        ("payload = hex", "error: webhooks.w.payload: found hex, expected string, json or base64 (or, as body.encoding has them, base62 or base62_legacy)"),
        ("payload = json, body.encoding = plain", "error: webhooks.w.payload: found json beside body.encoding = plain (line 2), another spelling of the same, expected one of them"),
        ("body = base64", "error: webhooks.w.body: found base64, expected an object: webhooks.w.body { key = value … }"),
        ('body = "${payload}", format = emqx', "error: webhooks.w.body: found a template beside format = emqx, expected format = template or none"),
        ('body = "{${payload}"', "error: webhooks.w.body: at column 2: not JSON: Expecting property name enclosed in double quotes"),
        ('body.template = "a\\nb ${clintid}", body.type = text', "error: webhooks.w.body.template: at line 2, column 3 of it: unknown field clintid; did you mean clientid? possible: "),
        ('headers.x = "${clintid}"', "error: webhooks.w.headers.x: at column 1: unknown field clintid; did you mean clientid? possible: "),
        ('headers.host = "${clientid}"', "error: webhooks.w.headers.host: host cannot have placeholders"),
        ('headers.authorization = "Bearer ${my secret"', "error: webhooks.w.headers.authorization: at column 8: a placeholder that is none (not shown); a dollar sign is ${$}"),
        ('where = "payload.temp > 80 and topik = 3"', "error: webhooks.w.where: at column 23: found the field topik, expected "),
        ("where = [a]", "error: webhooks.w.where: found [a], expected a text of up to 65536 characters, in quotes"),
        ("include = [{ a = 1 }]", "error: webhooks.w.include: found a list [ … ], expected a list of a body's keys such as [clientid, topic, payload], at most 256"),
        ("include = [clintid]", "warning: webhooks.w.include: no body of the format nanomq has the key clintid; did you mean clientid?"),
        ("exclude = [pub_prop], format = emqx", "warning: webhooks.w.exclude: no body of the format emqx has the key pub_prop; did you mean pub_props?"),
        ('body { template = "${topic}", type = text }, include = [topic]', "warning: webhooks.w.include: it has no effect: the template says what the body holds (${.} is all fields)"),
        ("body.type = text", "warning: webhooks.w.body.type: it has no effect with format = nanomq, only with template"),
        ("cloudevents.mode = binary", "warning: webhooks.w.cloudevents.mode: it has no effect with format = nanomq, only with cloudevents"),
        ("format = cloudevents, payload = json", "warning: webhooks.w.payload: it has no effect with format = cloudevents: data is JSON, text or base64 by itself"),
        ('cloudevents.source = "a b"', 'error: webhooks.w.cloudevents.source: found "a b", expected a URI reference such as "/plant/7" or "https://plant.example/hookmq", no spaces'),
        ('cloudevents.type_prefix = "a b"', 'error: webhooks.w.cloudevents.type_prefix: found "a b", expected printable ASCII without spaces, such as "com.example.plant."'),
        ("method = get, include = [topic]", "warning: webhooks.w.include: it has no effect: GET has no body"),
        ("method = delete, batch.max_events = 3", "error: webhooks.w.method: found DELETE beside batch, expected POST or PUT: DELETE has no body"),
        ('headers.x = "${clientid}", batch.max_events = 3', "error: webhooks.w.headers.x: found placeholders beside batch: a batch has one header for several events, expected it without ${…}, or no batch"),
        ("format = cloudevents, cloudevents.mode = binary, batch.max_events = 3", "error: webhooks.w.cloudevents.mode: found binary beside batch, expected structured: a batch is one JSON array"),
        ('body { template = "${topic}", type = form }, batch.max_events = 3', "error: webhooks.w.body.type: found form beside batch, expected json: a batch is one JSON array"),
        ('format = cloudevents, headers { Content-Type = "application/json" }', "warning: webhooks.w.headers.Content-Type: it replaces the body's own Content-Type, which is application/cloudevents+json"),
        ('body { template = "a=${topic}", type = form }, headers { Content-Type = "application/json" }', "warning: webhooks.w.headers.Content-Type: it replaces the body's own Content-Type, which is application/x-www-form-urlencoded"),
        ("connect_timeout = 15s", "warning: webhooks.w.connect_timeout: it has no effect: cancel_timeout is the limit of an attempt, connecting included"),
        ("resource_opts { request_ttl = 45s }", "warning: webhooks.w.resource_opts.request_ttl: it has no effect: an event is kept until it is delivered, or as long as backlog.max_age and retry.schedule say"),
        ("resource_opts { inflight_windo = 45 }", "warning: webhooks.w.resource_opts.inflight_windo: unknown key, it has no effect; "),
        ("max_in_flight = 3, resource_opts.inflight_window = 4", "warning: webhooks.w.resource_opts.inflight_window: another spelling of webhooks.w.max_in_flight, which is given too and wins"),
        ("abuse_protection = maybe", "error: webhooks.w.abuse_protection: found maybe, expected true or false"),
    ],
)  # fmt: skip
def test_messages_of_bodies(read: Read, inside: str, message: str) -> None:
    lines = read.lines(f"{HEAD}{inside}\n}}")
    assert len(lines) == 1
    assert lines[0].startswith(f"2: {message}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://${topic}/x", "at column 8: `${topic}` stands before the path; scheme, user, host and port are fixed"),
        ("http://h:${qos}/x", "at column 10: `${qos}` stands before the path; scheme, user, host and port are fixed"),
        ("${topic}", "at column 1: expected http://host[:port]/path or https://…"),
        ("http://u:pa${s3cret}@h/x", "at column 12: a placeholder that is none (not shown); a dollar sign is ${$}"),
        ("http://h/${topic", "at column 10: `${` without its `}`; a dollar sign before `{` is written `${$}`"),
        ("http://h/${topci}", "at column 10: unknown field topci; did you mean topic? possible: "),
    ],
)  # fmt: skip
def test_urls_that_cannot_be(read: Read, url: str, message: str) -> None:
    (line,) = read.lines(f'webhooks.w {{ url = "{url}"\n{EVENTS} }}')
    assert line.startswith(f"1: error: webhooks.w.url: {message}")
    assert "s3cret" not in line


def test_what_a_url_with_placeholders_does_not_go_with(read: Read) -> None:
    text = f'webhooks.w {{ url = "http://h/${{topic}}"\n{EVENTS}\nabuse_protection = true\nbatch.max_events = 3 }}'
    assert read.lines(text) == [
        "1: error: webhooks.w.url: found placeholders beside batch: a batch has one url for several events, expected it without ${…}, or no batch",
        "3: error: webhooks.w.abuse_protection: found beside placeholders in the url, expected one url: permission is asked for one alone",
    ]


# --- node ---------------------------------------------------------------------------------------------------


def test_node(read: Read) -> None:
    report = read('node { name = "hookmq@gateway" }')
    assert report.messages == []
    assert report.settings is not None
    assert report.settings.node == NodeSettings(name="hookmq@gateway")
    assert report.settings.node.shown == "hookmq@gateway"
    assert read(mask.effective(report.settings)).settings == report.settings
    assert NodeSettings().shown.startswith("hookmq@")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('node { name = "emqx@a", cookie = s3cret\ndata_dir = data, process_limit = 2097152 }', "1: warning: node.cookie: accepted, and has no effect here (node.cookie, node.data_dir, node.process_limit): of this block HookMQ reads name alone"),
        ('node.name = "a b"', '1: error: node.name: found "a b", expected printable ASCII without spaces, such as "hookmq@gateway"'),
        ("node.nam = a", "1: warning: node.nam: unknown key, it has no effect; did you mean node.name?"),
        ("node = a", "1: error: node: found a, expected an object: node { key = value … }"),
    ],
)  # fmt: skip
def test_messages_of_node(read: Read, text: str, message: str) -> None:
    assert read.lines(text) == [message]


# --- all of it shown ----------------------------------------------------------------------------------------


def test_effective_shows_every_webhook_and_no_secret(read: Read) -> None:
    text = f"""
    webhook {{ url = "http://h", {EVENTS} }}
    webhooks.line-1 {{
      url = "http://u:s3cret@h/${{topic}}?token=s3cret", triggers = all, topics = ["a/#"], format = emqx
      headers {{ x = "${{clientid}}", x-api-key = "s3cret" }}
      signature = mes, secret = s3cret
    }}
    """
    report = read(text)
    assert report.messages == []
    assert report.settings is not None
    shown = mask.effective(report.settings)
    assert "s3cret" not in shown
    assert "webhooks.line-1 {" in shown
    assert 'x = "${clientid}"' in shown
    again = read(shown)
    assert again.errors == []
    assert again.settings is not None
    for before, after in zip(report.settings.webhooks, again.settings.webhooks, strict=True):
        assert (after.name, after.format, after.events) == (before.name, before.format, before.events)
