"""The W3C trace context of a message: what its publisher put among the MQTT 5 user properties."""

from __future__ import annotations

from bridge.mqtt.packets import Properties
from bridge.telemetry.trace_context import of_pairs


def trace_of(properties: Properties | None) -> str | None:
    """The context as `Event.trace` has it; None where there is none, or none that is valid."""
    if properties is None or properties.user_property is None:
        return None
    return of_pairs(properties.user_property)
