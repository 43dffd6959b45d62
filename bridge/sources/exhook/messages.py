"""The messages of EMQX's ExHook as classes of protobuf, made of one small table (INTEROP 2.4).

`emqx.exhook.v2` (EMQX 5.0 to 5.8) and `v3` (5.9 and later) have the same messages with the same numbers, so
that one set of classes reads both. `ClientInfo.password` (4) is not in the table: no code here can see it.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FILE = "hookmq/exhook.proto"
_PACKAGE = "hookmq.exhook"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
    "int64": _Field.TYPE_INT64,
}

_CLIENT = "clientinfo=1 ClientInfo"
_META = "RequestMeta"
_TABLE = {
    # what the others are made of
    "BrokerInfo": "version=1 string, sysdescr=2 string, uptime=3 int64, datetime=4 string",
    "RequestMeta": "node=1 string, version=2 string, sysdescr=3 string, cluster_name=4 string",
    "HookSpec": "name=1 string, topics=2 *string",
    "Property": "name=1 string, value=2 string",
    "SubOpts": "qos=1 uint32, rh=3 uint32, rap=4 uint32, nl=5 uint32",
    "TopicFilter": "name=1 string, qos=2 uint32, subopts=3 SubOpts",  # qos: EMQX before 5.4
    "ConnInfo": (
        "node=1 string, clientid=2 string, username=3 string, peerhost=4 string, sockport=5 uint32,"
        " proto_name=6 string, proto_ver=7 string, keepalive=8 uint32, peerport=9 uint32"
    ),
    "ClientInfo": (
        "node=1 string, clientid=2 string, username=3 string, peerhost=5 string, sockport=6 uint32,"
        " protocol=7 string, mountpoint=8 string, is_superuser=9 bool, anonymous=10 bool, cn=11 string,"
        " dn=12 string, peerport=13 uint32"
    ),
    "Message": (
        "node=1 string, id=2 string, qos=3 uint32, from=4 string, topic=5 string, payload=6 bytes,"
        " timestamp=7 uint64, headers=8 map"
    ),
    # requests
    "ProviderLoadedRequest": f"broker=1 BrokerInfo, meta=2 {_META}",
    "ProviderUnloadedRequest": f"meta=1 {_META}",
    "ClientConnectRequest": f"conninfo=1 ConnInfo, props=2 *Property, meta=3 {_META}, user_props=4 *Property",
    "ClientConnackRequest": (
        f"conninfo=1 ConnInfo, result_code=2 string, props=3 *Property, meta=4 {_META},"
        " user_props=5 *Property"
    ),
    "ClientConnectedRequest": f"{_CLIENT}, meta=2 {_META}",
    "ClientDisconnectedRequest": f"{_CLIENT}, reason=2 string, meta=3 {_META}",
    "ClientSubscribeRequest": (
        f"{_CLIENT}, props=2 *Property, topic_filters=3 *TopicFilter, meta=4 {_META}, user_props=5 *Property"
    ),
    "ClientUnsubscribeRequest": (
        f"{_CLIENT}, props=2 *Property, topic_filters=3 *TopicFilter, meta=4 {_META}, user_props=5 *Property"
    ),
    "SessionCreatedRequest": f"{_CLIENT}, meta=2 {_META}",
    "SessionSubscribedRequest": f"{_CLIENT}, topic=2 string, subopts=3 SubOpts, meta=4 {_META}",
    "SessionUnsubscribedRequest": f"{_CLIENT}, topic=2 string, meta=3 {_META}",
    "SessionResumedRequest": f"{_CLIENT}, meta=2 {_META}",
    "SessionDiscardedRequest": f"{_CLIENT}, meta=2 {_META}",
    "SessionTakenoverRequest": f"{_CLIENT}, meta=2 {_META}",
    "SessionTerminatedRequest": f"{_CLIENT}, reason=2 string, meta=3 {_META}",
    "MessagePublishRequest": f"message=1 Message, meta=2 {_META}, props=3 *Property, user_props=4 *Property",
    "MessageDeliveredRequest": f"{_CLIENT}, message=2 Message, meta=3 {_META}",
    "MessageDroppedRequest": f"message=1 Message, reason=2 string, meta=3 {_META}",
    "MessageAckedRequest": f"{_CLIENT}, message=2 Message, meta=3 {_META}",
    # the one answer that holds anything
    "LoadedResponse": "hooks=1 *HookSpec",
}
"""By message: `name=number type` for each field; `*` before a type is `repeated`, `map` is
`map<string, string>`."""


def _make() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    for name, fields in _TABLE.items():
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            (field, _, number), kind = text.split(" ")[0].partition("="), text.split(" ")[1]
            made = message.field.add(name=field, number=int(number), label=_Field.LABEL_OPTIONAL)
            if kind.startswith("*"):
                made.label = _Field.LABEL_REPEATED
                kind = kind[1:]
            if kind in _SCALARS:
                made.type = _SCALARS[kind]
                continue
            made.type = _Field.TYPE_MESSAGE
            if kind == "map":
                made.label = _Field.LABEL_REPEATED
                kind = f"{name}.{_entry(message, field)}"
            made.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()  # its own: nothing of it meets another library's
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _TABLE
    }


def _entry(message: Any, field: str) -> str:
    """The message that a map's entries are, as protobuf wants it."""
    name = field.capitalize() + "Entry"
    entry = message.nested_type.add(name=name)
    entry.options.map_entry = True
    for number, part in enumerate(("key", "value"), 1):
        entry.field.add(name=part, number=number, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
    return name


MESSAGES = _make()
"""The classes by name; each has `FromString` and `SerializeToString`."""
