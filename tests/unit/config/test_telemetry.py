"""The blocks `prometheus` and `tracing`: what is refused, and how it is told."""

from __future__ import annotations

import pytest

from bridge.config.settings import Prometheus, Tracing
from tests.unit.config.conftest import Read, shown

POSSIBLE = (
    "expected a URL such as http://127.0.0.1:4318/v1/traces, without user, password and query"
    " (the variable OTEL_EXPORTER_OTLP_HEADERS holds what proves who calls)"
)


def test_what_is_given_is_taken(read: Read) -> None:
    report = read(
        'tracing { enable = true, endpoint = "https://c.example/v1/traces", sample_ratio = 0.5,'
        " max_queue_size = 100, scheduled_delay = 500ms, timeout = 2s }\n"
        "prometheus.enable_basic_auth = false\nhttp_server { username = a, password = b }"
    )
    assert shown(report) == []
    assert report.settings is not None
    assert report.settings.prometheus == Prometheus(enable_basic_auth=False)
    assert report.settings.tracing == Tracing(
        enable=True,
        endpoint="https://c.example/v1/traces",
        sample_ratio=0.5,
        max_queue_size=100,
        scheduled_delay=0.5,
        timeout=2.0,
    )


@pytest.mark.parametrize(
    "endpoint",
    [
        "collector:4318",
        "grpc://c:4317",
        "http://",
        "http://c:0/",
        "http://c:99999/",
        "http://user:s3cret@c/v1/traces",
        "http://c/v1/traces?key=s3cret",
        "http://c/a b",
    ],
)
def test_an_endpoint_that_cannot_be(read: Read, endpoint: str) -> None:
    report = read(f'tracing.endpoint = "{endpoint}"')
    (line,) = shown(report)
    assert line.startswith("1: error: tracing.endpoint: found ")
    assert line.endswith(POSSIBLE)
    assert "user:s3cret" not in line


@pytest.mark.parametrize("ratio", ["2", "-0.1", "many"])
def test_a_ratio_is_a_share(read: Read, ratio: str) -> None:
    (line,) = shown(read(f"tracing.sample_ratio = {ratio}"))
    assert line.startswith("1: error: tracing.sample_ratio: found ")


def test_metrics_for_everybody_are_for_this_machine_alone(read: Read) -> None:
    server = 'http_server { ip_addr = "10.0.0.5", username = a, password = b }'
    (line,) = shown(read(f"{server}\nprometheus.enable_basic_auth = false"))
    begins = "2: error: prometheus.enable_basic_auth: found false, and http_server.ip_addr is 10.0.0.5"
    assert line.startswith(begins)
