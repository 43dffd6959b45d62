"""Spans of OpenTelemetry, from publish to delivered; needs the extra `otel`, and costs nothing without it."""


class TracingError(Exception):
    """Traces cannot be made; the text is one line with the key and the cause."""
