"""Retries, breaker, order, limits, batches, the attempt log and retention, as a file has them."""

# ruff: noqa: E501  messages stand in one piece, as they are printed

from __future__ import annotations

from typing import Any

import pytest

from bridge.config import mask
from bridge.config.settings import (
    AttemptLog,
    BatchPolicy,
    BreakerPolicy,
    DeadBound,
    Egress,
    Endpoint,
    RateLimit,
    RetryPolicy,
    StoreSettings,
)

from .conftest import Read

HEAD = 'webhook { url = "http://h", events = [ { event = on_client_connack } ]\n'
TIME = "a time such as 500ms, 10s, 5m, 2h or 7d, or a number of seconds,"
SCHEDULES = "standard, mes, exponential, or the waits before each attempt, the first one 0s: [0s, 5s, 1m]"
STATUSES = "statuses from 200 to 599, such as 2xx, [200], [2xx, 304] or [200-204]"
NO_EFFECT = "it has no effect: the schedule is {}, expected webhook.retry.schedule = exponential"


def endpoint(read: Read, inside: str) -> Endpoint:
    report = read(f"{HEAD}{inside}\n}}")
    assert report.messages == []
    assert report.settings is not None
    (one,) = report.settings.webhooks
    text = mask.effective(report.settings)
    again = read(text.partition("\n\n")[0])  # the webhook block alone: it is quicker
    assert again.messages == []
    assert again.settings == report.settings
    return one


def test_nothing_set_is_as_it_was(read: Read) -> None:
    one = endpoint(read, "")
    assert one == Endpoint(url="http://h", events=one.events)
    assert (one.rate_limit, one.batch, one.max_in_flight, one.signature) == (None, None, None, ())


@pytest.mark.parametrize(
    ("inside", "policy"),
    [
        ("schedule = standard", RetryPolicy()),
        ("schedule = MES", RetryPolicy(schedule="mes")),
        ("schedule = exponential", RetryPolicy(schedule="exponential")),
        ("schedule = [0s, 5s, 1m]", RetryPolicy(schedule=(0, 5, 60))),
        ("schedule = [0\n500ms\n2h\n7d]", RetryPolicy(schedule=(0, 0.5, 7200, 604800))),
        ('schedule = "0s, 5s"', RetryPolicy(schedule=(0, 5))),
        ("schedule = [0s]", RetryPolicy(schedule=(0,))),
        (
            "exponential { base = 1s, factor = 1.5, max_attempts = 3, max_age = 1h }",
            RetryPolicy(schedule="exponential", base=1, factor=1.5, max_attempts=3, max_age=3600),
        ),
        ("schedule = exponential\nexponential.max_age = off", RetryPolicy(schedule="exponential")),
        ("schedule = exponential, base = 7s", RetryPolicy(schedule="exponential", base=7)),
        ("exponential {}", RetryPolicy()),
        ("exponential = null", RetryPolicy()),
        ("jitter = 0, max_retry_after = 10m", RetryPolicy(jitter=0, max_retry_after=600)),
    ],
)
def test_retry(read: Read, inside: str, policy: RetryPolicy) -> None:
    assert endpoint(read, f"retry {{ {inside} }}").retry == policy


@pytest.mark.parametrize(
    ("inside", "ranges"),
    [
        ("2xx", ((200, 299),)),
        ("[200]", ((200, 200),)),
        ("200", ((200, 200),)),
        ("[2XX, 304]", ((200, 299), (304, 304))),
        ('"200-204"', ((200, 204),)),
        ("200 - 204", ((200, 204),)),
        ("[410, 204, 200-202, 203]", ((200, 204), (410, 410))),
        ("[2xx, 200-204, 3xx]", ((200, 399),)),
        ('"200, 202"', ((200, 200), (202, 202))),
    ],
)
def test_success(read: Read, inside: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert endpoint(read, f"success = {inside}").success == ranges


@pytest.mark.parametrize(
    ("inside", "field", "value"),
    [
        (
            "breaker { failures = 3, probe_interval = 500ms, disable_after = 5d }",
            "breaker",
            BreakerPolicy(failures=3, probe_interval=0.5, disable_after=432000),
        ),
        ("disable_after = 2h", "breaker", BreakerPolicy(disable_after=7200)),
        ("breaker.disable_after = off", "breaker", BreakerPolicy()),
        ("ordering = Client", "ordering", "client"),
        ("ordering = endpoint", "ordering", "endpoint"),
        ("max_parked = 5", "max_parked", 5),
        ("max_in_flight = 5", "max_in_flight", 5),
        ("max_in_flight = null", "max_in_flight", None),
        ("rate_limit { per_second = 0.5, burst = 7 }", "rate_limit", RateLimit(per_second=0.5, burst=7)),
        ("rate_limit.per_second = 100", "rate_limit", RateLimit(per_second=100)),
        ("rate_limit { per_second = off, burst = 7 }", "rate_limit", None),
        ("rate_limit {}", "rate_limit", None),
        ("batch.enable = true", "batch", BatchPolicy()),
        ("batch.max_events = 100", "batch", BatchPolicy()),
        ("batch { enable = false, max_events = 7 }", "batch", None),
        ("batch {}", "batch", None),
        (
            "batch { max_events = 4096, max_wait = 0s, format = cloudevents-batch }",
            "batch",
            BatchPolicy(max_events=4096, max_wait=0, format="cloudevents-batch"),
        ),
        ("dead { max_bytes = 100MB, max_age = 7d }", "dead", DeadBound(max_bytes=100 << 20, max_age=604800)),
        ("dead.max_bytes = 0", "dead", DeadBound(max_bytes=0)),
        (
            "attempts { successes = 0, max_age = 1h, max_rows = 100 }",
            "attempts",
            AttemptLog(successes=0, max_age=3600, max_rows=100),
        ),
    ],
)
def test_policies(read: Read, inside: str, field: str, value: Any) -> None:
    assert getattr(endpoint(read, inside), field) == value


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("retry = mes", "error: webhook.retry: found mes, expected an object: webhook.retry { key = value … }"),
        ("retry.schedule = daily", f"error: webhook.retry.schedule: found daily, expected {SCHEDULES}"),
        ("retry.schedule = []", f"error: webhook.retry.schedule: found an empty list, expected {SCHEDULES}, 1 to 1000 of them"),
        ("retry.schedule = [0s, soon]", f"error: webhook.retry.schedule: found [0s, soon], expected {SCHEDULES}; soon in it is not {TIME} from 0s to 365d"),
        ("retry.schedule = [0s, 400d]", f"error: webhook.retry.schedule: found [0s, 400d], expected {SCHEDULES}; 400d in it is not {TIME} from 0s to 365d"),
        ("retry.schedule = [5s, 1m, 1h, 1d]", "error: webhook.retry.schedule: found [5s, 1m, 1h, 1d], expected 0s as the first of the waits, since the first attempt is made at once: [0s, 5s, 1m, 1h, …]"),
        ("retry.schedul = mes", "warning: webhook.retry.schedul: unknown key, it has no effect; did you mean webhook.retry.schedule?"),
        ("retry.exponential.bas = 1s", "warning: webhook.retry.exponential.bas: unknown key, it has no effect; did you mean webhook.retry.exponential.base?"),
        ("retry.exponential = 3", "error: webhook.retry.exponential: found 3, expected an object: webhook.retry.exponential { key = value … }"),
        ("retry.exponential.base = 0s", f"error: webhook.retry.exponential.base: found 0s, expected {TIME} greater than 0s, up to 365d"),
        ("retry.exponential.factor = 0.5", "error: webhook.retry.exponential.factor: found 0.5, expected a number from 1 to 1000"),
        ("retry.exponential.max_attempts = 1001", "error: webhook.retry.exponential.max_attempts: found 1001, expected a whole number from 1 to 1000"),
        ("retry.exponential.max_age = x", f"error: webhook.retry.exponential.max_age: found x, expected off, or {TIME} greater than 0s, up to 365d"),
        ("retry.jitter = 1.5", "error: webhook.retry.jitter: found 1.5, expected a number from 0 to 1"),
        ("retry.max_retry_after = -1s", f"error: webhook.retry.max_retry_after: found -1s, expected {TIME} from 0s to 365d"),
        ("retry { schedule = mes, exponential.base = 1s }", f"warning: webhook.retry.exponential.base: {NO_EFFECT.format('mes')}"),
        ("retry { schedule = [0s], max_age = 1d }", f"warning: webhook.retry.max_age: {NO_EFFECT.format('a list of waits')}"),
        ("retry.max_attempts = 3", f"warning: webhook.retry.max_attempts: {NO_EFFECT.format('standard')}"),
        ("retry { schedule = exponential, base = 1s, exponential.base = 2s }", "warning: webhook.retry.base: another spelling of webhook.retry.exponential.base, which is given too and wins"),
        ("disable_after = 1h, breaker.disable_after = 2h", "warning: webhook.disable_after: another spelling of webhook.breaker.disable_after, which is given too and wins"),
        ("breaker.failures = 0", "error: webhook.breaker.failures: found 0, expected a whole number of at least 1"),
        ("breaker.disable_after = 0s", f"error: webhook.breaker.disable_after: found 0s, expected off, or {TIME} greater than 0s, up to 365d"),
        ("success = []", f"error: webhook.success: found an empty list, expected {STATUSES}"),
        ("success = 1xx", f"error: webhook.success: found 1xx, expected {STATUSES}"),
        ("success = [204-200]", f"error: webhook.success: found [204-200], expected {STATUSES}"),
        ("success = [200, 600]", f"error: webhook.success: found [200, 600], expected {STATUSES}"),
        ("success = [{ a = 1 }]", f"error: webhook.success: found a list [ … ], expected {STATUSES}"),
        ("ordering = topics", "error: webhook.ordering: found topics, expected none, client, topic or endpoint"),
        ("orderring = topic", "warning: webhook.orderring: unknown key, it has no effect; did you mean webhook.ordering?"),
        ("max_parked = 0", "error: webhook.max_parked: found 0, expected a whole number of at least 1"),
        ("max_in_flight = 0", "error: webhook.max_in_flight: found 0, expected a whole number of at least 1"),
        ("rate_limit.per_second = 0", "error: webhook.rate_limit.per_second: found 0, expected off, or a number greater than 0, up to 1000000"),
        ("rate_limit { per_second = x, burst = 5 }", "error: webhook.rate_limit.per_second: found x, expected off, or a number greater than 0, up to 1000000"),
        ("rate_limit.burst = 5", "error: webhook.rate_limit.burst: found a burst without a rate, expected webhook.rate_limit.per_second"),
        ("batch = on", "error: webhook.batch: found on, expected an object: webhook.batch { key = value … }"),
        ("batch.max_events = 5000", "error: webhook.batch.max_events: found 5000, expected a whole number from 1 to 4096"),
        ("batch.max_wait = 2d", f"error: webhook.batch.max_wait: found 2d, expected {TIME} from 0s to 1d"),
        ("batch.format = lines", "error: webhook.batch.format: found lines, expected array or cloudevents-batch"),
        ("attempts.max_rows = 9", "error: webhook.attempts.max_rows: found 9, expected a whole number of at least 100"),
        ("attempt.max_rows = 900", "warning: webhook.attempt: unknown key, it has no effect; did you mean webhook.attempts?"),
    ],
)  # fmt: skip
def test_messages(read: Read, inside: str, message: str) -> None:
    assert read.lines(f"{HEAD}{inside}\n}}") == [f"2: {message}"]


def test_what_has_no_effect_changes_nothing_but_the_warning(read: Read) -> None:
    report = read(f"{HEAD} retry {{ schedule = standard, exponential {{ base = 9s, factor = 2 }} }} }}")
    assert [m.key for m in report.warnings] == ["webhook.retry.exponential.base"]  # 2 is the default anyway
    assert report.settings is not None
    assert report.settings.webhooks[0].retry.schedule == "standard"


def test_a_wrong_schedule_is_one_error(read: Read) -> None:
    assert len(read.lines(f"{HEAD} retry {{ schedule = x, exponential.base = 1s }} }}")) == 1


def test_all_errors_at_once(read: Read) -> None:
    inside = "retry.jitter = 2\nsuccess = x\nbreaker.failures = 0\nordering = x\nrate_limit.burst = 2\nbatch.format = x\nattempts.max_age = x\nsignature = x\nproxy = x\ncredentials.kind = x"
    report = read(f"{HEAD}{inside} }}\negress.allow = x\nsqlite.retention.max_age = x")
    assert [m.line for m in report.errors] == [*range(2, 14)]


# --- retention and egress -----------------------------------------------------------------------------------


def test_retention(read: Read) -> None:
    report = read("sqlite.retention { max_age = 0s, max_bytes = 4GB }")
    assert report.messages == []
    assert report.settings is not None
    assert report.settings.store == StoreSettings(retention_age=0, retention_bytes=4 << 30)
    assert read.lines("sqlite.retention = 3") == [
        "1: error: sqlite.retention: found 3, expected an object: sqlite.retention { key = value … }"
    ]
    assert read.lines("sqlite.retention.max_ages = 3s") == [
        "1: warning: sqlite.retention.max_ages: unknown key, it has no effect; did you mean sqlite.retention.max_age?"
    ]


NETWORKS = 'a list of networks such as [10.0.0.0/8, 192.168.7.4, "fd00::/8"]'


@pytest.mark.parametrize(
    ("text", "allow", "deny"),
    [
        ("allow = [10.0.0.0/8, 192.168.7.4]", ("10.0.0.0/8", "192.168.7.4/32"), ()),
        ('deny = ["FD00::/8", "::1"]', (), ("fd00::/8", "::1/128")),
        ("allow = 10.0.0.0/8", ("10.0.0.0/8",), ()),
        ('allow = "10.0.0.0/8, 10.0.0.0/8"', ("10.0.0.0/8",), ()),
        ("allow = [], deny = []", (), ()),
        ("allow = [10.0.0.0/8], deny = [10.1.0.0/16]", ("10.0.0.0/8",), ("10.1.0.0/16",)),
        ('allow = [10.0.0.0/8], deny = ["::/0"]', ("10.0.0.0/8",), ("::/0",)),
    ],
)
def test_egress(read: Read, text: str, allow: tuple[str, ...], deny: tuple[str, ...]) -> None:
    report = read(f"egress {{ {text} }}")
    assert report.messages == []
    assert report.settings is not None
    assert report.settings.egress == Egress(allow=allow, deny=deny)
    again = read(mask.effective(report.settings).rpartition("\n\n")[2])
    assert again.settings == report.settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allow = [10.0.0.1/8]", f"error: egress.allow: found [10.0.0.1/8], expected {NETWORKS}; did you mean 10.0.0.0/8?"),
        ("allow = [localhost]", f"error: egress.allow: found [localhost], expected {NETWORKS}; localhost is none"),
        ("deny = [10.0.0.0/33]", f"error: egress.deny: found [10.0.0.0/33], expected {NETWORKS}; 10.0.0.0/33 is none"),
        ("deny = [[]]", f"error: egress.deny: found a list [ … ], expected {NETWORKS}; an empty list is none"),
        ("denny = []", "warning: egress.denny: unknown key, it has no effect; did you mean egress.deny?"),
        ('allow = ["fd00:1::/32"], deny = ["fd00::/8"]', "warning: egress.allow: fd00:1::/32 has no effect: egress.deny has fd00::/8, and is stronger"),
        ("allow = [10.1.0.0/16], deny = [10.0.0.0/8]", "warning: egress.allow: 10.1.0.0/16 has no effect: egress.deny has 10.0.0.0/8, and is stronger"),
    ],
)  # fmt: skip
def test_egress_messages(read: Read, text: str, message: str) -> None:
    assert read.lines(f"egress {{ {text} }}") == [f"1: {message}"]


def test_egress_is_a_block(read: Read) -> None:
    assert read.lines("egress = [10.0.0.0/8]") == [
        "1: error: egress: found [10.0.0.0/8], expected an object: egress { key = value … }"
    ]
    assert read.lines("egres { allow = [] }") == [
        "1: warning: egres: unknown key, it has no effect; did you mean egress?"
    ]
