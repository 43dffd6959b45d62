"""Publishers of MQTT messages that are made over the API (`ManagedSettings`). Their password stays in the
document, and is never shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.admin.managed import ManagedSettings, May, Read
from bridge.admin.stored import Row
from bridge.config import publisher_json
from bridge.config.publisher import MAX_PUBLISHERS
from bridge.config.settings import PUBLISHERS, MqttPublisher
from bridge.delivery.account import ConnectionState, connection
from bridge.delivery.lane import Lane
from bridge.events.cloudevents import timestamp


class Publishers(ManagedSettings[MqttPublisher]):
    """All of them. For the loop's thread only.

    To publish at the broker of this process one needs the right to publish there by the API, too.
    """

    kind = MqttPublisher
    noun = "publisher"
    space = "managed-publisher"
    prefix = "pub_"
    names = PUBLISHERS
    most = MAX_PUBLISHERS

    def _read(self, identifier: str, row: Row) -> Read[MqttPublisher]:
        fault = self._within_bounds(row.document, row.trust)
        if fault is not None:
            return Read(None, [fault], [])
        found = publisher_json.read(
            identifier, row.document, self._environ, trust=row.trust, known=self.known
        )
        return Read(found.publisher, found.errors, found.warnings)

    def _shown(self, settings: MqttPublisher) -> dict[str, Any]:
        return publisher_json.show(settings)

    def _unread(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return {**publisher_json.show_unread(document), "connection": None}

    def _forbidden(self, settings: MqttPublisher, may: May) -> str:
        if settings.embedded and not may("publish"):
            return "to publish at HookMQ's own broker needs the scope publish"
        return ""

    def _state(self, settings: MqttPublisher, lanes: Mapping[str, Lane] | None) -> dict[str, Any]:
        found = self.webhooks.find(settings.name) if lanes is None else lanes.get(settings.name)
        state = connection(found) if isinstance(found, Lane) else None
        return {**super()._state(settings, lanes), "connection": None if state is None else shown(state)}


def shown(state: ConnectionState) -> dict[str, Any]:
    """A connection's state as the API shows it."""
    return {
        "connected": state.connected,
        "since": timestamp(state.since),
        "last_connected": None if state.last_connected is None else timestamp(state.last_connected),
        "last_error": state.last_error,
        "last_error_at": None if state.last_error_at is None else timestamp(state.last_error_at),
    }
