"""What is found in files that users write: includes, substitutions, spellings, syntax errors."""

# ruff: noqa: E501  messages stand in one piece, as they are printed

from __future__ import annotations

import pytest
from pyhocon import period_parser
from pyhocon.config_tree import ConfigTree

from bridge.config import hocon
from bridge.config.load import load
from bridge.config.scan import Scan
from tests.unit.config.conftest import Read

WEBHOOK = 'webhook { url = "http://h", events = [ { event = on_client_connack } ] }\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a {\n b = 1\n c {\n d = 2\n}\n",
            "1: error: HOCON syntax: the { of a that opens here is never closed, expected }",
        ),
        ("a = [1,\n2\n", "1: error: HOCON syntax: the [ of a that opens here is never closed, expected ]"),
        ("a = 1\n}\n", '2: error: HOCON syntax: unexpected "}" at column 1, a bracket that nothing opened'),
        (
            "a {\n\tb = p@ss\n}",
            '2: error: HOCON syntax: unexpected "@" at column 14; a value with @ in it needs quotes: "…"',
        ),
        (
            'a {\n  b = "x\n}',
            "2: error: HOCON syntax: unexpected a double quote at column 7, expected a closing quote on the same line",
        ),
        (
            "a = 1\nb = file,console\n",
            "2: error: HOCON syntax: the line ends where = and a value, or {, were expected;"
            " a text with a comma in it needs quotes, a list needs [ … ]",
        ),
        (
            "bind = [::]:1883",
            "1: error: HOCON syntax: a value that begins with [ or { and goes on behind the bracket needs quotes",
        ),
        ("b\u00a0= 1", "1: error: HOCON syntax: unexpected '\\xa0' (NO-BREAK SPACE) at column 2"),
        ("[1, 2]", "1: error: found a list, expected keys and values"),
        ("a=" + "[" * 70, "1: error: HOCON syntax: more than 60 brackets inside one another"),
        ("\na = ${b}\nb = ${a}", "2: error: a substitution ${…} that leads back to itself"),
    ],
)
def test_syntax_errors_have_a_place(read: Read, text: str, message: str) -> None:
    assert read.lines(text) == [message]
    assert read(text).settings is None


def test_a_syntax_error_quotes_no_value(read: Read) -> None:
    assert "hunter2" not in "".join(read.lines("auth.password.admin = hunter2@home\n"))


def test_line_ends_and_byte_order_mark(read: Read) -> None:
    read.path.write_bytes(b"\xef\xbb\xbfmqtt {\r\n  max_lag = x\r\n}\r\n")
    assert [m.line for m in load(read.path, {}).messages] == [2]


def test_a_file_that_is_not_utf8(read: Read) -> None:
    read.path.write_bytes(b"a = 1\nb = \xff\n")
    assert str(load(read.path, {}).messages[0]) == (
        f"{read.path}: error: line 2 holds the byte 0xff, which is not UTF-8"
    )


def test_a_missing_file(read: Read) -> None:
    report = load(read.path, {})
    assert report.settings is None
    assert str(report.messages[0]) == f"{read.path}: error: cannot read the file: No such file or directory"
    assert "Is a directory" in str(load(read.folder, {}).messages[0])


# --- includes -----------------------------------------------------------------------------------------------


def test_messages_name_the_included_file_and_its_line(read: Read) -> None:
    (read.folder / "sub").mkdir()
    (read.folder / "sub" / "mqtt.conf").write_text('# first\nmax_lag = soon\ninclude "more.conf"\n')
    (read.folder / "sub" / "more.conf").write_text("{\n  turn_bytes = few\n}\n")
    report = read('mqtt {\n  include "sub/mqtt.conf"\n  max_sessions = none\n}\nlog.level = x')
    assert [(m.file.name, m.line, m.key) for m in report.errors] == [
        ("nanomq.conf", 3, "mqtt.max_sessions"),
        ("nanomq.conf", 5, "log.level"),
        ("more.conf", 2, "mqtt.turn_bytes"),
        ("mqtt.conf", 2, "mqtt.max_lag"),
    ]


def test_passwords_of_an_include_stay_as_written(read: Read) -> None:
    (read.folder / "pwd.conf").write_text(
        '"admin" : "public"\nplant : 0815\njohn.doe: 12h\n"a.b":"x y"\nyes: true\nbig: 1e5\n'
    )
    settings = read('auth { password = {include "pwd.conf"} }').settings
    assert settings is not None
    assert [(user, secret.get_secret_value()) for user, secret in settings.auth.password] == [
        ("admin", "public"),
        ("plant", "0815"),
        ("john.doe", "12h"),
        ("a.b", "x y"),
        ("yes", "true"),
        ("big", "1e5"),
    ]


def test_includes_that_cannot_be(read: Read) -> None:
    (read.folder / "loop.conf").write_text('\ninclude "loop.conf"\n')
    text = 'include "none.conf"\nlog { include "http://h/x" }\ninclude "loop.conf"\ninclude package("x:y")\nlog.level = x\n'
    report = read(text)
    assert [(m.file.name, m.line, m.key, m.text) for m in report.messages] == [
        (
            "nanomq.conf",
            1,
            'include "none.conf"',
            f"cannot read {read.folder}/none.conf: No such file or directory",
        ),
        ("nanomq.conf", 2, 'include "http://h/x"', "HookMQ includes files only, expected a path"),
        ("nanomq.conf", 4, 'include "x:y"', "HookMQ includes files only, expected a path"),
        ("nanomq.conf", 5, "log.level", "found x, expected trace, debug, info, warn, error or fatal"),
        ("loop.conf", 2, 'include "loop.conf"', "the file includes itself"),
    ]


def test_a_quoted_name_in_a_dotted_key(read: Read) -> None:
    text = 'listeners.tcp."two words" { bind = 1884 }\nlisteners . "tcp".three.bind = 1885 // c\nauth.password."a.b" = "x{y"\n'
    settings = read(text).settings
    assert settings is not None
    assert [(one.name, one.port) for one in settings.listeners] == [("two words", 1884), ("three", 1885)]
    assert [(user, secret.get_secret_value()) for user, secret in settings.auth.password] == [("a.b", "x{y")]
    assert read.lines(text + 'webhook."url" = x\n')[0].startswith('4: error: webhook.url: found "x"')


def test_an_include_as_a_value(read: Read) -> None:
    (read.folder / "pwd.conf").write_text("u : s\nv = [x]\n")
    report = read(
        'auth.password = include "pwd.conf"\nlog.level = x\nmqtt = include url("http://127.0.0.1:9/x")'
    )
    assert [(m.file.name, m.line, m.key) for m in report.errors] == [
        ("nanomq.conf", 2, "log.level"),
        ("nanomq.conf", 3, 'include "http://127.0.0.1:9/x"'),
        ("pwd.conf", 2, "auth.password.v"),
    ]


def test_pyhocon_itself_opens_nothing(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the two readers do not agree on what is an include, it is an error and never a file or a request."""
    monkeypatch.setattr(hocon, "scan", lambda text: Scan())
    (read.folder / "pwd.conf").write_text("u : s\n")
    for text in (f'include "{read.folder}/pwd.conf"', 'a = include url("http://127.0.0.1:9/x")'):
        assert read.lines(text) == ["1: error: an include in an odd place, expected it on a line of its own"]


# --- substitution -------------------------------------------------------------------------------------------


def test_substitutions_come_from_the_file_and_the_environment(read: Read) -> None:
    report = read(
        'port = 1999\nhost = ${HOST}\nlisteners.tcp.bind = ${HOST}":"${port}\n'
        'webhook { url = "http://one"\n url = ${?URL}\n events = [{event = on_client_connack}] }',
        {"HOST": "10.0.0.1"},
    )
    assert report.errors == []
    assert report.settings is not None
    assert (report.settings.listeners[0].host, report.settings.listeners[0].port) == ("10.0.0.1", 1999)
    assert report.settings.webhooks[0].url == "http://one"


def test_every_unknown_substitution_is_reported(read: Read) -> None:
    text = "webhook {\n  url = ${NO_URL}\n  pool_size = ${NO_POOL}\n  events = [ { event = ${NO_EVENT} } ]\n}\nlog.dir = x${NO_DIR}y"
    assert [line.split(" is ")[0] for line in read.lines(text)] == [
        "2: error: webhook.url: ${NO_URL}",
        "3: error: webhook.pool_size: ${NO_POOL}",
        "4: error: webhook.events[0].event: ${NO_EVENT}",
        "6: error: log.dir: ${NO_DIR}",
    ]


def test_a_bad_value_by_substitution_is_at_its_key(read: Read) -> None:
    assert read.lines(WEBHOOK + "mqtt.max_sessions = ${N}", {"N": "many"}) == [
        '2: error: mqtt.max_sessions: found "many", expected a whole number of at least 1'
    ]


def test_a_placeholder_without_quotes(read: Read) -> None:
    text = 'webhook { url = "http://h"\ntopics = ["#"]\nbody = ${payload.temp}\nnote = ${temp} }'
    what = "is neither a key of this file nor an environment variable"
    assert read.lines(text) == [
        f"3: error: webhook.body: ${{payload.temp}} {what} (a placeholder needs quotes around it)",
        f"4: error: webhook.note: ${{temp}} {what} (${{?temp}} is for one that may be missing)",
    ]


# --- blocks in many parts -----------------------------------------------------------------------------------


def test_parts_of_a_block_merge_with_substitutions_and_without(read: Read) -> None:
    """pyhocon's own way, for objects that substitutions name, and ours for the others come to the same."""
    parts = """
    mqtt { max_sessions = 5, max_retained = 3 }
    webhook { url = "http://one", headers { a = 1, b = 2 } }
    mqtt.max_connections = 7
    webhook.headers { b = 3, c = ${N} }
    webhook.events = [ { event = on_client_connack } ]
    mqtt { max_sessions = 6 }
    webhook { pool_size = %s, headers = null }
    webhook { headers { d = 4 } }
    """
    ours = read(parts % "6", {"N": "x"})
    pyhocons = read(parts % "${mqtt.max_sessions}" + "log.file = ${webhook.headers.d}", {"N": "x"})
    appended = read(parts % "6" + "log.to = [file]\nlog.to += [console]", {"N": "x"})
    for report in (ours, pyhocons, appended):
        assert report.messages == []
        assert report.settings is not None
        assert report.settings.webhooks[0].headers == (("d", "4"),)
        assert report.settings.webhooks[0].pool_size == 6
        assert (report.settings.mqtt.max_sessions, report.settings.mqtt.max_connections) == (6, 7)
    assert appended.settings is not None
    assert appended.settings.log.to == ("file", "console")
    assert ConfigTree._put.__module__ == "pyhocon.config_tree"  # others in the process keep theirs


@pytest.mark.parametrize("with_variable", [False, True])
def test_many_named_blocks_cost_no_square(
    read: Read, monkeypatch: pytest.MonkeyPatch, *, with_variable: bool
) -> None:
    """Counted in keys looked up, which is where pyhocon's copies go."""
    calls = 0
    parse_key = ConfigTree.parse_key

    def counted(key: str) -> list[str]:
        nonlocal calls
        calls += 1
        return parse_key(key)  # type: ignore[no-any-return]

    monkeypatch.setattr(ConfigTree, "parse_key", staticmethod(counted))

    def cost(number: int) -> int:
        nonlocal calls
        calls = 0
        note = "note = ${N}" if with_variable else ""
        text = "".join(
            f'webhooks.w{n} {{ url = "http://h/{n}"\ntopics = [a]\n{note} }}\n' for n in range(number)
        )
        report = read(text, {"N": "x"})
        assert report.messages == []
        assert report.settings is not None
        assert len(report.settings.webhooks) == number
        return calls

    assert cost(80) < 2.5 * cost(40)


def test_times_are_the_same_with_dateutil_installed(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyhocon makes other values of times, and of more words, where it finds dateutil."""

    class RelativeDelta:
        def __init__(self, **units: int) -> None:
            self.units = units

    monkeypatch.setattr(period_parser, "period_impl", RelativeDelta)
    monkeypatch.setitem(period_parser.period_type_map, "years", ["y", "year", "years"])
    report = read('mqtt { connect_timeout = 10s }\nwebhook { url = "http://h", headers { a = 12h, b = 2y } }')
    assert report.errors == []
    assert report.settings is not None
    assert report.settings.mqtt.connect_timeout == 10
    assert report.settings.webhooks[0].headers == (("a", "12h"), ("b", "2y"))
    assert period_parser.period_impl is RelativeDelta  # others in the process keep theirs
    assert "years" in period_parser.period_type_map
