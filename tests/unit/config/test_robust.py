"""Whatever a file holds, `load` answers with a report, and no message shows a secret."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.config.load import load
from bridge.config.scan import scan
from tests.unit.config.conftest import FIXTURES

FILES = [p for p in sorted(FIXTURES.glob("*.conf")) if p.name != "nanomq_stock.conf"]
NOISE = [
    "{",
    "}",
    "[",
    "]",
    '"',
    '"""',
    "=",
    ":",
    ",",
    "\n",
    "#",
    "//",
    "${",
    "$",
    "\\",
    "+=",
    ".",
    "\x00",
    "é",
    "\t",
]
NOISE += ['include "pwd.conf"', "null", "10s", "webhook", "auth", "${?X}", "${webhook}", "= {", "= ["]


def report_on(text: str) -> None:
    """Reads `text` as HOCON, as a classic file, and as what it looks like."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nanomq.conf"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        for classic in (None, True, False):
            report = load(path, {}, classic=classic)
            assert (report.settings is None) == bool(report.errors)
            for message in report.messages:
                assert "\n" not in str(message)
                assert "Traceback" not in message.text
                assert "pydantic" not in message.text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet=st.sampled_from([*'ab{}[]"=:,\n#/$.\\ +é10s'])), st.randoms(use_true_random=False))
def test_any_text(text: str, rng: random.Random) -> None:
    report_on(text)
    report_on("webhook {\n" + text + "\n}")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
@pytest.mark.parametrize("seed", range(4))
def test_damaged_files(path: Path, seed: int) -> None:
    rng = random.Random(f"{path.name}{seed}")
    text = path.read_text()
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(NOISE) + text[at + rng.choice([0, 0, 1, 5, 40]) :]
    report_on(text)


POLICY = """webhook { url = "http://h", events = [ { event = on_client_connack } ]
  success = [2xx, "300-304"], ordering = client, max_in_flight = 3, disable_after = 5d
  retry { schedule = [0s, 5s, 1m], jitter = 0.1, exponential { base = 1s, factor = 2 } }
  rate_limit { per_second = 5, burst = 2 }, batch { max_events = 5, format = array }
  signature = [standard, { scheme = hmac, header = X-A, prefix = "sha256=", template = "{id}.{body}" }]
  secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", { env = NAME }, { file = "/none" }]
  credentials { kind = oauth2, token_url = "http://t", client_id = c, client_secret = { env = NAME } }
  proxy = "http://u:p@h:3128", attempts { successes = 5, max_age = 1d }
}
egress { allow = [10.0.0.0/8, "fd00::/8"], deny = [] }
sqlite.retention { max_age = 1d, max_bytes = 1GB }
"""


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_policy(seed: int) -> None:
    rng = random.Random(seed)
    text = POLICY
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(NOISE) + text[at + rng.choice([0, 0, 1, 5, 40]) :]
    report_on(text)


@given(st.text(alphabet=st.sampled_from([*'ab{}[]"=:,\n#/$.\\ +'])))
@settings(max_examples=300, deadline=None)
def test_the_walk_ends_on_any_text(text: str) -> None:
    lines = text.count("\n") + 1
    assert all(1 <= spot.line <= lines for spot in scan(text).spots.values())


@pytest.mark.parametrize(
    "text",
    [
        "a = " * 500,
        "{" * 5000,
        "a." * 900 + "b = 1",
        "a = " + "[" * 59 + "]" * 59,
        "a { " * 59 + "}" * 59,
        '"' * 9999,
        "webhook.headers = ${webhook}\nwebhook.url = ${webhook.headers}",
        "x = ${x}",
        "x = ${y}\ny = ${z}\nz = ${x}",
        "a = [1]\na = ${a} {b = 1}",
        "webhook { url { a = 1 } , events { a = 1 }, headers { a { b = [ { } ] } }, ssl = 3, backlog = [] }",
        "webhook { signature { scheme { a = 1 } }, secret = [ { } ], retry = [], success { a = 1 } }",
        "webhook { signature = [ null, {}, [] ], secrets = [ null, {} ], credentials { token = {} } }",
        "webhook { batch.max_events = [], retry { schedule { a = 1 }, exponential = [] }, proxy = [ [] ] }",
        "egress { allow = { a = 1 }, deny = [ null, [ ], 3, 10s ] }\nsqlite.retention = [ ]",
        "listeners { tcp { a { b { c = 1 } } } }",
        "auth { password { a { b { c = [ 1 ] } } } }",
    ],
    ids=lambda text: text[:20],
)
def test_odd_files(text: str) -> None:
    report_on(text)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "big.conf"
    path.write_bytes(b"#" * ((4 << 20) + 1))
    assert [m.text for m in load(path, {}).messages] == [
        "the file is larger than 4MB, which no configuration is"
    ]


def test_a_path_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    report = load(tmp_path / "file" / "nanomq.conf", {})
    assert [m.text for m in report.messages] == ["cannot read the file: Not a directory"]
