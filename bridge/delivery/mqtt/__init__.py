"""Events as MQTT messages: at the broker of this process, or at another one over a connection.

`place` says where messages go and what is the same in all of them, `message` is one on its way, `embedded`
and `remote` are the transports, and `link` is a remote one's connection: the only module that loads a client
library, when it is needed.
"""

from __future__ import annotations

import asyncio

from bridge.config.settings import MqttPublisher, Trust
from bridge.delivery.connect import Network
from bridge.delivery.mqtt.embedded import EmbeddedTransport
from bridge.delivery.mqtt.place import Place
from bridge.delivery.mqtt.remote import RemoteTransport
from bridge.events.interface import Format, Origin


def wire_mqtt(
    publisher: MqttPublisher,
    made: Format,
    origin: Origin,
    network: Network,
    loop: asyncio.AbstractEventLoop,
    *,
    trust: Trust,
) -> tuple[Place, EmbeddedTransport | RemoteTransport]:
    """Where a publisher's messages go, and what carries them. Raises EndpointError."""
    place = Place(publisher, made, origin.store_id)
    if publisher.embedded:
        return place, EmbeddedTransport(place, publisher.max_in_flight, network, loop)
    connector = network.connector(place, name=publisher.name, trust=trust, key="server")
    timeout = publisher.cancel_timeout / 1000
    return place, RemoteTransport(place, publisher.max_in_flight, timeout, loop, connector)
