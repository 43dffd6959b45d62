"""OpenTelemetry's classes: the one module that loads them. ImportError without the extra `otel`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.trace.status import Status, StatusCode

if TYPE_CHECKING:
    from bridge.traces.exporter import Span

_KINDS = {"consumer": SpanKind.CONSUMER, "client": SpanKind.CLIENT, "producer": SpanKind.PRODUCER}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Otlp:
    """Sends spans to one collector. For one thread."""

    def __init__(self, endpoint: str, timeout: float, node: str, version: str) -> None:
        # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes on top.
        self._resource = Resource({"service.version": version, "service.instance.id": node}).merge(
            Resource.create({"service.name": "hookmq"})
        )
        self._scope = InstrumentationScope("hookmq", version)
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what matters of it, we tell
        self._exporter = OTLPSpanExporter(endpoint=endpoint, timeout=timeout)

    def export(self, spans: Sequence[Span]) -> bool:
        """Whether the collector has taken them."""
        return self._exporter.export([self._made(span) for span in spans]) is SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """End, also what is being tried again."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _made(self, span: Span) -> ReadableSpan:
        trace = int(span.trace, 16)
        state = TraceState.from_header([span.state]) if span.state else None
        parent = None
        if span.parent:
            parent = SpanContext(trace, int(span.parent, 16), span.remote, _SAMPLED, state)
        return ReadableSpan(
            span.name,
            SpanContext(trace, int(span.span, 16), False, _SAMPLED, state),
            parent,
            self._resource,
            span.attributes,
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR if span.error else StatusCode.UNSET),
            start_time=span.start,
            end_time=span.end,
            instrumentation_scope=self._scope,
        )
