"""Hypothesis strategies: any packet that a version can carry."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from bridge.mqtt import reasons
from bridge.mqtt.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from tests.unit.mqtt.fixtures_properties import PROPERTIES

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
level = st.text(st.characters(exclude_characters="\0+#/", exclude_categories=["Cs"]), max_size=8)
topic_names = st.lists(level, min_size=1, max_size=6).map("/".join).filter(bool)
binary = st.binary(max_size=300)
packet_ids = st.integers(1, 65_535)
flag = st.integers(0, 1)
qos = st.integers(0, 2)

_u16, _u32 = st.integers(0, 65_535), st.integers(0, 0xFFFF_FFFF)
_special: dict[str, st.SearchStrategy[Any]] = {
    "response_topic": topic_names,
    "correlation_data": binary,
    "authentication_data": binary,
    "server_keep_alive": _u16,
    "topic_alias_maximum": _u16,
    "receive_maximum": st.integers(1, 65_535),
    "topic_alias": st.integers(1, 65_535),
    "maximum_packet_size": st.integers(1, 0xFFFF_FFFF),
    "user_property": st.lists(st.tuples(text, text), min_size=1, max_size=5),
}


def _value(name: str, sample: object, place: str) -> st.SearchStrategy[Any]:
    if name == "subscription_identifier":
        return st.lists(st.integers(1, 268_435_455), min_size=1, max_size=4 if place == "PUBLISH" else 1)
    if name in _special:
        return _special[name]
    if isinstance(sample, str):
        return text
    return flag if name.endswith(("_available", "_qos", "_indicator", "_information")) else _u32


def properties(place: str, role: str) -> st.SearchStrategy[Properties | None]:
    """Any set of properties of the place, never an empty one (it reads as `None`)."""
    optional = {
        name: _value(name, values[0][1], place)
        for _, name, places, values, _ in PROPERTIES
        if place in places
        and (name, place, role) != ("subscription_identifier", "PUBLISH", "server")
        and (name, place, role) != ("session_expiry_interval", "DISCONNECT", "client")
    }
    required = {"authentication_method": optional.pop("authentication_method")} if place == "AUTH" else {}

    def build(values: dict[str, Any]) -> Properties | None:
        if "authentication_data" in values and place == "CONNECT":
            values.setdefault("authentication_method", "m")
        return Properties(**values) if values else None

    return st.fixed_dictionaries(required, optional=optional).map(build)


@st.composite
def connects(draw: st.DrawFn, version: int) -> Connect:
    five = version == 5
    will = None
    if draw(st.booleans()):
        will_properties = draw(properties("WILL", "server")) if five else None
        will = Will(draw(topic_names), draw(binary), draw(qos), draw(st.booleans()), will_properties)
    username = draw(st.none() | text)
    password = draw(st.none() | binary) if five or username is not None else None
    return Connect(
        client_id=draw(text),
        protocol_version=version,
        clean_start=draw(st.booleans()),
        keepalive=draw(_u16),
        username=username,
        password=password,
        will=will,
        properties=draw(properties("CONNECT", "server")) if five else None,
        bridge=not five and draw(st.booleans()),
    )


@st.composite
def publishes(draw: st.DrawFn, version: int, role: str) -> Publish:
    level_ = draw(qos)
    extra = draw(properties("PUBLISH", role)) if version == 5 else None
    topic = draw(topic_names)
    if extra is not None and extra.topic_alias is not None and draw(st.booleans()):
        topic = ""
    return Publish(
        topic,
        draw(st.binary(max_size=300) | st.integers(0, 20_000).map(bytes)),
        level_,
        draw(st.booleans()),
        level_ > 0 and draw(st.booleans()),
        draw(packet_ids) if level_ else 0,
        extra,
    )


def _with_codes(cls: type[Any], place: str, codes: frozenset[int], role: str) -> st.SearchStrategy[Any]:
    return st.builds(cls, packet_ids, st.sampled_from(sorted(codes)), properties(place, role))


@st.composite
def _ends(draw: st.DrawFn, cls: type[Any], codes: frozenset[int], role: str) -> Packet:
    return cls(draw(st.sampled_from(sorted(codes))), draw(properties(cls.__name__.upper(), role)))


@st.composite
def _connacks(draw: st.DrawFn, version: int) -> Connack:
    code = draw(st.sampled_from(sorted(reasons.CONNACK_CODES if version == 5 else range(6))))
    present = version > 3 and not code and draw(st.booleans())
    return Connack(present, code, draw(properties("CONNACK", "client")) if version == 5 else None)


def packets(version: int, role: str) -> st.SearchStrategy[Packet]:
    """Any packet that `role` may read on an established connection."""
    five = version == 5
    none = st.none()

    def of(place: str) -> st.SearchStrategy[Properties | None]:
        return properties(place, role) if five else none

    kinds: list[st.SearchStrategy[Packet]] = [publishes(version, role)]
    for cls, codes in (
        (Puback, reasons.PUBACK_CODES),
        (Pubrec, reasons.PUBACK_CODES),
        (Pubrel, reasons.PUBREL_CODES),
        (Pubcomp, reasons.PUBREL_CODES),
    ):
        plain = st.builds(cls, packet_ids)
        kinds.append(plain | _with_codes(cls, cls.__name__.upper(), codes, role) if five else plain)
    if role == "server":
        options = (
            (st.booleans(), st.booleans(), qos) if five else (st.just(False), st.just(False), st.just(0))
        )
        subscription = st.builds(Subscription, text, qos, *options).filter(
            lambda s: not (s.no_local and s.topic_filter.startswith("$share/"))
        )
        several = st.lists(subscription, min_size=1, max_size=5)
        kinds.append(st.builds(Subscribe, packet_ids, several, of("SUBSCRIBE")))
        kinds.append(
            st.builds(Unsubscribe, packet_ids, st.lists(text, min_size=1, max_size=5), of("UNSUBSCRIBE"))
        )
        kinds.append(st.builds(Pingreq))
        kinds.append(
            _ends(Disconnect, reasons.DISCONNECT_CODES_OF_CLIENT, role) if five else st.builds(Disconnect)
        )
    else:
        suback_codes = sorted(reasons.SUBACK_CODES if five else reasons.SUBACK_CODES_V3)
        several_codes = st.lists(st.sampled_from(suback_codes), min_size=1, max_size=5)
        kinds.append(_connacks(version))
        kinds.append(st.builds(Suback, packet_ids, several_codes, of("SUBACK")))
        if five:
            unsuback_codes = st.lists(st.sampled_from(sorted(reasons.UNSUBACK_CODES)), min_size=1, max_size=5)
            kinds.append(st.builds(Unsuback, packet_ids, unsuback_codes, of("UNSUBACK")))
            kinds.append(_ends(Disconnect, reasons.DISCONNECT_CODES_OF_SERVER, role))
        else:
            kinds.append(st.builds(Unsuback, packet_ids))
        kinds.append(st.builds(Pingresp))
    if five:
        auth = reasons.AUTH_CODES_OF_CLIENT if role == "server" else reasons.AUTH_CODES_OF_SERVER
        kinds.append(_ends(Auth, auth, role))
    return st.one_of(kinds)
