"""A collector of traces for tests: OTLP over HTTP, protobuf in, spans as plain values out."""

from __future__ import annotations

from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.receiver import Receiver

ERROR = 2


class Got(NamedTuple):
    """One span that arrived; ids in hexadecimal, `parent` empty for a root."""

    name: str
    trace: str
    span: str
    parent: str
    state: str
    start: int
    end: int
    error: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector(Receiver):
    """Takes what is posted at /v1/traces."""

    def block(self, **keys: object) -> str:
        """The configuration that sends spans here."""
        more = "".join(f"  {name} = {value}\n" for name, value in keys.items())
        return (
            f'tracing {{\n  enable = true\n  endpoint = "{self.url("/v1/traces")}"\n'
            f"  scheduled_delay = 20ms\n{more}}}\n"
        )

    @property
    def spans(self) -> list[Got]:
        """All that have come, in the order of their coming."""
        found: list[Got] = []
        for request in self.requests:
            assert request.header("content-type") == "application/x-protobuf"
            for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
                of = _attributes(resource.resource.attributes)
                for scope in resource.scope_spans:
                    found += [
                        Got(
                            *(span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()),
                            *(span.trace_state, span.start_time_unix_nano, span.end_time_unix_nano),
                            *(span.status.code == ERROR, _attributes(span.attributes), of),
                        )
                        for span in scope.spans
                    ]
        return found

    async def wait_spans(self, count: int) -> list[Got]:
        """Wait for at least so many; sorted by their beginning."""
        await self.wait_for(lambda _: len(self.spans) >= count)
        return sorted(self.spans, key=lambda span: span.start)


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
