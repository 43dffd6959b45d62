"""The webhook block (INTEROP 1.1): every key, and the message for every way to get it wrong."""

# ruff: noqa: E501  messages stand in one piece, as they are printed

from __future__ import annotations

import pytest

from bridge.config.settings import BacklogBound, Encoding, Endpoint, Rule, Tls
from bridge.events.event import BY_HOOK_NAME, HOOK_EVENTS, MESSAGE_EVENTS, TOPIC_EVENTS, EventType
from tests.unit.config.conftest import FIXTURES, Read

KNOWN = ", ".join(sorted(BY_HOOK_NAME))
URLS = "http://host[:port][/path] or https://host[:port][/path]"
EVENTS = "events = [ { event = on_client_connack } ]"
CERTS = FIXTURES / "certs"


def endpoint(read: Read, inside: str) -> Endpoint:
    report = read("webhook {\n" + inside + "\n}")
    assert report.messages == []
    assert report.settings is not None
    (one,) = report.settings.webhooks
    return one


def test_all_keys(read: Read) -> None:
    assert endpoint(
        read,
        """
        enable = true
        url = "https://h.example:8443/a/b?c=d"
        headers { Content-Type = "application/json", X-Two = "2" }
        body { encoding = BASE62, base62_limit = 1KB }
        pool_size = 8
        cancel_timeout = 2500
        backlog { max_bytes = 64MB, max_age = 12h, on_full = REFUSE }
        events = [ { event = on_message_publish, topic = "a/#" }, { event = ON_CLIENT_CONNACK } ]
        """,
    ) == Endpoint(
        url="https://h.example:8443/a/b?c=d",
        headers=(("Content-Type", "application/json"), ("X-Two", "2")),
        encoding=Encoding.BASE62,
        base62_limit=1024,
        pool_size=8,
        cancel_timeout=2500,
        backlog=BacklogBound(max_bytes=64 << 20, max_age=43200, on_full="refuse"),
        events=(Rule(event=EventType.MESSAGE_PUBLISH, topic="a/#"), Rule(event=EventType.CLIENT_CONNACK)),
    )


@pytest.mark.parametrize("name", sorted(BY_HOOK_NAME))
def test_all_twelve_events_in_any_case(read: Read, name: str) -> None:
    rules = endpoint(read, f'url = "http://h"\nevents = [ {{ event = "{name.upper()}" }} ]').events
    assert rules == (Rule(event=BY_HOOK_NAME[name]),)


@pytest.mark.parametrize("type_", HOOK_EVENTS)
def test_a_topic_belongs_to_events_that_have_one(read: Read, type_: EventType) -> None:
    report = read(
        f'webhook {{ url = "http://h"\nevents = [ {{ event = on_{type_.action}, topic = "a" }} ] }}'
    )
    assert report.settings is not None
    (rule,) = report.settings.webhooks[0].events
    if type_ in TOPIC_EVENTS:
        assert report.messages == []
        assert rule.topic == "a"
    else:
        assert type_ not in MESSAGE_EVENTS
        assert rule.topic is None
        assert [str(m).partition("warning: ")[2] for m in report.messages] == [
            f"webhook.events[0].topic: it has no effect: on_{type_.action} has no topic;"
            " the event is sent for every client"
        ]


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (EVENTS, '1: error: webhook.url: missing, expected the receiver: url = "http://host:port/path"'),
        (
            'url = "127.0.0.1:8888"',
            f'2: error: webhook.url: found "127.0.0.1:8888" without http:// or https://, expected {URLS};'
            ' did you mean "http://127.0.0.1:8888"?',
        ),
        ('url = "ftp://h"', f'2: error: webhook.url: found "ftp://h", expected {URLS}'),
        ('url = "http://"', f'2: error: webhook.url: found "http://" without a host, expected {URLS}'),
        (
            'url = "http://h:99999"',
            f'2: error: webhook.url: found "http://h:99999", whose host or port is wrong, expected {URLS},'
            " a port from 1 to 65535",
        ),
        (
            'url = "http://h:0"',
            '2: error: webhook.url: found "http://h:0" with port 0, expected a port from 1 to 65535',
        ),
        (
            'url = "http://h/a b"',
            f'2: error: webhook.url: found "http://h/a b" with a space or control character in it,'
            f" expected {URLS} (a space is %20)",
        ),
        (
            'url = "http://h/#x"',
            f'2: error: webhook.url: found "http://h/#x" with a fragment (#…), which is never sent to a server,'
            f" expected {URLS}",
        ),
        (
            'url = "http://u:secret@h:x/?token=t"',
            f'2: error: webhook.url: found "http://******@h:x/?token=******", whose host or port is wrong,'
            f" expected {URLS}, a port from 1 to 65535",
        ),
        (
            'url = "http://-h-/"',
            f'2: error: webhook.url: found "http://-h-/", whose host is no name or address, expected {URLS}',
        ),
        ('url = ["http://h"]', '2: error: webhook.url: found ["http://h"], expected a text'),
        ("pool_size = 0", "2: error: webhook.pool_size: found 0, expected a whole number from 1 to 4096"),
        (
            'pool_size = "3.5"',
            '2: error: webhook.pool_size: found "3.5", expected a whole number from 1 to 4096',
        ),
        (
            "pool_size = true",
            "2: error: webhook.pool_size: found true, expected a whole number from 1 to 4096",
        ),
        (
            "pool_size { a = 1 }",
            "2: error: webhook.pool_size: found an object { … }, expected a whole number from 1 to 4096",
        ),
        (
            "cancel_timeout = 5 parsecs",
            "2: error: webhook.cancel_timeout: found 5 parsecs,"
            " expected a time such as 500ms or 5s, or a number of milliseconds, of at least 1ms",
        ),
        (
            "body.encoding = base64url",
            "2: error: webhook.body.encoding: found base64url, expected plain, base64, base62, base62_legacy or json",
        ),
        (
            "body = plain",
            "2: error: webhook.body: found plain, expected an object: webhook.body { key = value … }",
        ),
        (
            "backlog.max_bytes = 1KB",
            "2: error: webhook.backlog.max_bytes: found 1KB,"
            " expected a size such as 64KB, 10MB or 1GB, or a number of bytes, of at least 64KB",
        ),
        (
            "backlog.max_age = 0s",
            "2: error: webhook.backlog.max_age: found 0s,"
            " expected a time such as 500ms, 10s, 5m, 2h or 7d, or a number of seconds, greater than 0s",
        ),
        (
            "backlog.on_full = drop",
            "2: error: webhook.backlog.on_full: found drop, expected expire or refuse",
        ),
        ("enable = maybe", "2: error: webhook.enable: found maybe, expected true or false"),
        (
            'headers { "a b" = x }',
            '2: error: webhook.headers."a b": found the header name "a b",'
            " expected letters, digits and !#$%&'*+-.^_`|~ only",
        ),
        (
            'headers.authorization = "Bearer x\\r\\nX-Evil: 1"',
            "2: error: webhook.headers.authorization: found a value with a line break in it,"
            " expected printable ASCII on one line",
        ),
        (
            'headers.x = "caf\u00e9"',
            "2: error: webhook.headers.x: found a value with the character U+00E9 in it,"
            " expected printable ASCII on one line",
        ),
        ("headers.x = [1]", "2: error: webhook.headers.x: found an object or a list, expected a text"),
        (
            'headers = "Authorization: Bearer s3cret"',
            "2: error: webhook.headers: found a secret (not shown),"
            ' expected an object: headers { content-type = "application/json" }',
        ),
        (
            "events = on_client_connack",
            "2: error: webhook.events: found on_client_connack,"
            ' expected a list: [ { event = "on_message_publish", topic = "foo/#" } ]',
        ),
        (
            "events = [ on_client_connack ]",
            "2: error: webhook.events[0]: found on_client_connack,"
            ' expected an object: { event = "on_message_publish", topic = "foo/#" }',
        ),
        (
            "events = [ {} ]",
            f"2: error: webhook.events[0]: found no event in it, expected event = one of {KNOWN}",
        ),
        (
            "events = [\n{ event = on_client_connack }\n{ event = on_message_published }\n]",
            f"4: error: webhook.events[1].event: found on_message_published, expected one of {KNOWN};"
            " did you mean on_message_publish?",
        ),
        (
            'events = [ { event = "client.conack" } ]',
            f'2: error: webhook.events[0].event: found "client.conack", expected one of {KNOWN};'
            " did you mean client.connack?",
        ),
        *(
            (
                f'events = [ {{ event = on_message_publish, topic = "{topic}" }} ]',
                f'2: error: webhook.events[0].topic: found "{topic}", expected a topic filter of MQTT:'
                " levels between /, + for one whole level, # only as the last level",
            )
            for topic in ("a/#/b", "a+/b", "", "#a")
        ),
        (
            'events = [ { event = on_message_publish, topic = "$share/g/a" } ]',
            '2: error: webhook.events[0].topic: found "$share/g/a",'
            " expected a topic filter without $share: a webhook is no member of a shared subscription",
        ),
    ],
)
def test_errors(read: Read, inside: str, message: str) -> None:
    rest = "" if inside.startswith("url") or inside == EVENTS else '\nurl = "http://h"'
    rest += "" if "events" in inside else f"\n{EVENTS}"
    assert read.lines("webhook {\n" + inside + rest + "\n}") == [message]


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (
            "poolsize = 3",
            "2: warning: webhook.poolsize: unknown key, it has no effect; did you mean webhook.pool_size?",
        ),
        (
            "body.encodings = x",
            "2: warning: webhook.body.encodings: unknown key, it has no effect; did you mean webhook.body.encoding?",
        ),
        (
            "encoding = base64",
            "2: warning: webhook.encoding: an older spelling, read as webhook.body.encoding",
        ),
        (
            "events = []",
            "2: warning: webhook.events: no events: nothing will be sent;"
            ' for example events = [ { event = "on_message_publish" } ]',
        ),
        (
            "headers.Content-Length = 3",
            "2: warning: webhook.headers.Content-Length: HookMQ sets this header itself; yours is left out",
        ),
        (
            "headers { A = 1\na = 2 }",
            "3: warning: webhook.headers.a: the header a is given twice; this value is used",
        ),
        (
            "events = [ { event = on_client_connack, topics = x } ]",
            "2: warning: webhook.events[0].topics: unknown key, it has no effect;"
            " did you mean webhook.events[0].topic?",
        ),
        (
            'events = [ { action = on_message_publish, topic = "a/#" } ]',
            "2: warning: webhook.events[0].action: an older spelling;"
            ' today: { event = "on_message_publish", topic = "a/#" }',
        ),
        (
            "rules = [ { action = on_client_connack } ]",
            '2: warning: webhook.rules[0].action: an older spelling; today: { event = "on_client_connack" }',
        ),
        (
            'tls { cacertfile = "/none.pem" }',
            "2: warning: webhook.tls: it has no effect: the url begins with http://, expected https:// for TLS",
        ),
    ],
)
def test_warnings(read: Read, inside: str, message: str) -> None:
    rest = "" if "events" in inside or "rules" in inside else f"\n{EVENTS}"
    report = read("webhook {\n" + inside + '\nurl = "http://h"' + rest + "\n}")
    assert report.settings is not None
    assert message in read.lines(read.path.read_text())
    assert len(report.settings.webhooks) == 1


def test_no_events_key_at_all(read: Read) -> None:
    assert "1: warning: webhook.events: no events" in read.lines('webhook { url = "http://h" }')[0]


def test_a_list_of_webhooks_is_an_error(read: Read) -> None:
    assert read.lines('webhook = [ { url = "http://h" } ]') == [
        "1: error: webhook: found a list [ … ],"
        ' expected one object: webhook { url = "http://…", events = [ … ] }'
    ]


def test_disabled(read: Read) -> None:
    report = read(f'webhook {{ enable = false, url = "http://h", {EVENTS} }}')
    assert report.settings is not None
    assert [w.enable for w in report.settings.webhooks] == [False]
    report = read("webhook { enable = false }")
    assert report.messages == []
    assert report.settings is not None
    assert report.settings.webhooks == ()


def test_headers_keep_order_case_and_text(read: Read) -> None:
    assert endpoint(
        read,
        f'url = "http://h"\n{EVENTS}\nheaders {{ "X-Plant" = 007\nb-Rate = 1.50, Z = 10s, a = true }}\n'
        "headers.x-api.version = 2",
    ).headers == (("X-Plant", "007"), ("b-Rate", "1.50"), ("Z", "10s"), ("a", "true"), ("x-api.version", "2"))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("HTTP://Example.COM", "http://example.com"),
        ("http://[::1]:8888/x", "http://[::1]:8888/x"),
        ("https://bücher.example/a%20b?c=d&e", "https://xn--bcher-kva.example/a%20b?c=d&e"),
        ("http://my_host.local.", "http://my_host.local."),
    ],
)
def test_urls(read: Read, url: str, kept: str) -> None:
    assert endpoint(read, f'url = "{url}"\n{EVENTS}').url == kept


def test_user_and_password_of_the_url_become_a_header(read: Read) -> None:
    one = endpoint(read, f'url = "http://us%40er:pa:ss@h:1/x"\n{EVENTS}')
    assert one.url == "http://h:1/x"
    assert one.headers == (("Authorization", "Basic dXNAZXI6cGE6c3M="),)
    report = read(f'webhook {{ url = "http://u:p@h", headers.AUTHORIZATION = x, {EVENTS} }}')
    assert report.settings is not None
    assert report.settings.webhooks[0].headers == (("AUTHORIZATION", "x"),)
    assert len(report.warnings) == 1


# --- TLS ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ssl", "tls"])
def test_tls_under_both_names(read: Read, name: str) -> None:
    files = f'cacertfile = "{CERTS}/cert.pem", certfile = "{CERTS}/cert.pem", keyfile = "{CERTS}/key.pem"'
    tls = endpoint(read, f'url = "https://h"\n{EVENTS}\n{name} {{ {files} }}').tls
    assert tls == Tls(
        cacertfile=CERTS / "cert.pem",
        certfile=CERTS / "cert.pem",
        keyfile=CERTS / "key.pem",
        verify_peer=True,
    )


def test_an_encrypted_key_needs_its_password(read: Read) -> None:
    files = f'certfile = "{CERTS}/cert.pem"\nkeyfile = "{CERTS}/key-encrypted.pem"'
    head = f'webhook {{ url = "https://h", {EVENTS}\nssl {{\n'
    assert read.lines(f"{head}{files} }} }}") == [
        f"4: error: webhook.ssl.keyfile: the key {CERTS}/key-encrypted.pem is encrypted, and key_password is missing"
    ]
    assert read.lines(f"{head}{files}\nkey_password = wrong }} }}") == [
        f"4: error: webhook.ssl.keyfile: the key {CERTS}/key-encrypted.pem is encrypted,"
        " and key_password does not open it"
    ]
    assert read(f"{head}{files}\nkey_password = sesame }} }}").messages == []


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ('cacertfile = "/none.pem"', "2: error: webhook.ssl.cacertfile: cannot read /none.pem: No such file or directory, expected a readable PEM file"),
        (f'cacertfile = "{CERTS}/key.pem"', f"2: error: webhook.ssl.cacertfile: found {CERTS}/key.pem, which holds no certificate, expected PEM certificates"),
        (f'keyfile = "{CERTS}/key.pem"', "2: error: webhook.ssl.keyfile: found a key without a certificate, expected certfile too"),
        (f'certfile = "{CERTS}/cert.pem", keyfile = "{CERTS}/other-key.pem"', f"2: error: webhook.ssl.keyfile: the key {CERTS}/other-key.pem does not belong to the certificate {CERTS}/cert.pem"),
        ("verify_peer = verify_none", "2: warning: webhook.ssl.verify_peer: the receiver's certificate is not checked: anyone on the way can read the events"),
        ("enable = false", "2: warning: webhook.ssl: enable = false leaves out these files only: a url with https:// always uses TLS"),
        ("versions = 3", "2: warning: webhook.ssl.versions: unknown key, it has no effect; known keys of webhook.ssl: enable, cacertfile, certfile, keyfile, key_password, verify_peer"),
    ],
)  # fmt: skip
def test_tls_messages(read: Read, inside: str, message: str) -> None:
    assert read.lines(f'webhook {{ url = "https://h", {EVENTS}\nssl {{ {inside} }} }}') == [message]
