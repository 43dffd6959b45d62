"""Clients and their subscriptions as in NanoMQ and EMQX 4 (`/api/v4`): listed, looked up, disconnected.

A list is put together in slices while clients come and go: a row may be missing or come twice on the border
of two pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from aiohttp import web

from bridge.admin.paging import (
    MAX_LIMIT,
    REQ_PARAM_ERROR,
    check_names,
    choice,
    collect,
    listed,
    page_parameters,
    parameter,
    read_page,
    v4_members,
)
from bridge.admin.problems import Problem, answer
from bridge.admin.routes import Call, Route, json_content, problem_response
from bridge.broker.session import Session, Subscribed
from bridge.mqtt.topics import matches, parse_shared, valid_topic_name

CLIENT_FILTERS: Mapping[str, str] = {
    "clientid": "This client id.",
    "username": "This user name.",
    "ip_address": "This address.",
    "conn_state": "`connected` or `disconnected`.",
    "clean_start": "`true` or `false`: what the client asked for.",
    "proto_name": "`MQTT`, or `MQIsdp` for MQTT 3.1.",
    "proto_ver": "`3`, `4` or `5`.",
    "_like_clientid": "A part of the client id.",
    "_like_username": "A part of the user name.",
}
SUBSCRIPTION_FILTERS: Mapping[str, str] = {
    "clientid": "This client id.",
    "topic": "This topic filter.",
    "qos": "`0`, `1` or `2`.",
    "share": "This group of shared subscriptions.",
    "_match_topic": "Subscriptions that get messages of this topic.",
}


def local_time(ms: float) -> str:
    """Unix ms as both APIs write a time: local, to the second."""
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def client_row(call: Call, session: Session) -> dict[str, Any]:
    """A session for people: the members of NanoMQ's and EMQX 4's, as far as they are known here."""
    broker = call.plant.broker
    settings = broker.settings
    client = session.client
    connection = session.connection
    port = client.peername.rpartition(":")[2]
    row: dict[str, Any] = {
        "clientid": session.clientid,
        "client_id": session.clientid,
        "username": client.username or "",
        "node": call.plant.system.node,
        "conn_state": "connected" if connection is not None else "disconnected",
        "connected": connection is not None,
        "ip_address": client.peerhost,
        "ipv4": client.peerhost,
        "port": int(port) if port.isdecimal() else 0,
        "proto_name": client.proto_name,
        "proto_ver": client.proto_ver,
        "keepalive": client.keepalive,
        "clean_start": client.clean_start,
        "is_bridge": client.is_bridge,
        "expiry_interval": session.expiry,
        "connected_at": local_time(client.connected_at) if client.connected_at else "",
        "subscriptions_cnt": len(session.subscriptions),
        "max_subscriptions": settings.max_subscriptions,
        "inflight": len(session.inflight),
        "max_inflight": client.receive_maximum,
        "mqueue_len": len(session.queue),
        "max_mqueue": settings.max_mqueue_len,
        "mqueue_dropped": session.dropped,
        "awaiting_rel": len(session.awaiting_rel),
        "max_awaiting_rel": settings.max_awaiting_rel,
    }
    if connection is not None:
        if connection.will is not None:
            row["will_topic"] = connection.will.topic
    elif session.expires_at is not None:
        left_s = session.expires_at - broker.loop.time()
        row["disconnected_at"] = local_time(broker.now_ms() - (session.expiry - left_s) * 1000)
    return row


def _client_test(query: Mapping[str, str]) -> Callable[[Session], bool] | None:
    """What a client has to be; None: anything. Raises Problem (400)."""
    wanted, like = query.get("clientid"), query.get("_like_clientid")
    name, like_name, address = query.get("username"), query.get("_like_username"), query.get("ip_address")
    state = choice(query, "conn_state", ("connected", "disconnected"))
    clean = choice(query, "clean_start", ("true", "false"))
    protocol = choice(query, "proto_name", ("MQTT", "MQIsdp"))
    version = choice(query, "proto_ver", ("3", "4", "5"))
    if CLIENT_FILTERS.keys().isdisjoint(query):
        return None

    def fits(session: Session) -> bool:
        client = session.client
        username = client.username or ""
        return (
            (wanted is None or session.clientid == wanted)
            and (like is None or like in session.clientid)
            and (name is None or username == name)
            and (like_name is None or like_name in username)
            and (address is None or client.peerhost == address)
            and (state is None or (session.connection is not None) is (state == "connected"))
            and (clean is None or client.clean_start is (clean == "true"))
            and (protocol is None or client.proto_name == protocol)
            and (version is None or client.proto_ver == int(version))
        )

    return fits


async def get_clients(call: Call) -> web.Response:
    """All sessions, those that are away included."""
    check_names(call.query, CLIENT_FILTERS)
    page = read_page(call.query, MAX_LIMIT)
    fits = _client_test(call.query)
    sessions = list(call.plant.broker.sessions.values())
    return listed(await collect(sessions, page, fits, lambda s: client_row(call, s)), page, code=True)


async def get_client(call: Call) -> web.Response:
    """One, in a list; an empty list where there is none."""
    session = call.plant.broker.sessions.get(call.path["clientid"])
    return answer({"code": 0, "data": [client_row(call, session)] if session is not None else []})


async def get_user(call: Call) -> web.Response:
    """The clients of a user name."""
    check_names(call.query, ())
    page = read_page(call.query, MAX_LIMIT)
    name = call.path["username"]
    sessions = list(call.plant.broker.sessions.values())
    found = await collect(
        sessions, page, lambda s: (s.client.username or "") == name, lambda s: client_row(call, s)
    )
    return listed(found, page, code=True)


async def kick_client(call: Call) -> web.Response:
    """End a client's connection and its session."""
    call.must_be_able_to_store()
    broker = call.plant.broker
    session = broker.sessions.get(call.path["clientid"])
    if session is None:
        raise Problem(404, "no client has this client id")
    broker.kick(session)
    await call.stored()
    return answer({"code": 0})


# -- subscriptions -------------------------------------------------------------------------------------------


def subscription_row(call: Call, subscribed: Subscribed) -> dict[str, Any]:
    """A subscription for people."""
    options = subscribed.options
    return {
        "node": call.plant.system.node,
        "clientid": subscribed.session.clientid,
        "topic": options.topic_filter,
        "qos": options.qos,
        "nl": int(options.no_local),
        "rap": int(options.retain_as_published),
        "rh": options.retain_handling,
    }


def _all(sessions: list[Session]) -> Iterator[Subscribed]:
    for session in sessions:
        yield from list(session.subscriptions.values())  # it may change while others are served


def _subscription_test(query: Mapping[str, str]) -> Callable[[Subscribed], bool] | None:
    topic, share, match = query.get("topic"), query.get("share"), query.get("_match_topic")
    qos = choice(query, "qos", ("0", "1", "2"))
    if match is not None and not valid_topic_name(match):
        raise Problem(400, "_match_topic: expected a topic without wildcards")
    if topic is None and share is None and match is None and qos is None:
        return None

    def fits(subscribed: Subscribed) -> bool:
        options = subscribed.options
        if qos is not None and options.qos != int(qos):
            return False
        if topic is not None and options.topic_filter != topic:
            return False
        if share is None and match is None:
            return True
        shared = parse_shared(options.topic_filter)
        if share is not None and (shared is None or shared[0] != share):
            return False
        return match is None or matches(shared[1] if shared else options.topic_filter, match)

    return fits


async def get_subscriptions(call: Call) -> web.Response:
    """All subscriptions of all sessions."""
    check_names(call.query, SUBSCRIPTION_FILTERS)
    return await _subscriptions(call, call.query.get("clientid"))


async def get_client_subscriptions(call: Call) -> web.Response:
    """Those of one client."""
    check_names(call.query, SUBSCRIPTION_FILTERS.keys() - {"clientid"})
    return await _subscriptions(call, call.path["clientid"])


async def _subscriptions(call: Call, clientid: str | None) -> web.Response:
    page = read_page(call.query, MAX_LIMIT)
    fits = _subscription_test(call.query)
    sessions = call.plant.broker.sessions
    if clientid is None:
        chosen = list(sessions.values())
    else:
        chosen = [sessions[clientid]] if clientid in sessions else []
    found = await collect(_all(chosen), page, fits, lambda s: subscription_row(call, s))
    return listed(found, page, code=True)


_CLIENTID = parameter("clientid", "The client id, percent-encoded where needed.", place="path")
_BAD = {"400": problem_response(f"A parameter; `code` is {REQ_PARAM_ERROR}.")}


def _listing(operation: str, summary: str, schema: str, filters: Mapping[str, str], *more: Any) -> Any:
    return {
        "operationId": operation,
        "summary": summary,
        "tags": ["clients"],
        "parameters": [
            *more,
            *(parameter(name, text) for name, text in filters.items()),
            *page_parameters(MAX_LIMIT, "_"),
        ],
        "responses": {"200": {"description": "A page.", "content": json_content(schema)}, **_BAD},
    }


ROUTES = (
    Route(
        "GET",
        "/api/v4/clients",
        "clients:read",
        get_clients,
        _listing("getClients", "Clients, as in NanoMQ and EMQX 4.", "Clients", CLIENT_FILTERS),
        members=v4_members,
    ),
    Route(
        "GET",
        "/api/v4/clients/{clientid}",
        "clients:read",
        get_client,
        {
            "operationId": "getClient",
            "summary": "One client.",
            "tags": ["clients"],
            "parameters": [_CLIENTID],
            "responses": {
                "200": {
                    "description": "A list of one; an empty one where there is no such client.",
                    "content": json_content("Client"),
                }
            },
        },
        members=v4_members,
    ),
    Route(
        "DELETE",
        "/api/v4/clients/{clientid}",
        "clients:write",
        kick_client,
        {
            "operationId": "kickClient",
            "summary": "Disconnect a client, and end its session.",
            "description": "Its event says `kicked`; an MQTT 5 client is told 0x98. Its will is published.",
            "tags": ["clients"],
            "parameters": [_CLIENTID],
            "responses": {
                "200": {"description": "Done.", "content": json_content("ResultCode")},
                "404": problem_response("No client has this client id; `code` is 112."),
            },
        },
        members=v4_members,
    ),
    Route(
        "GET",
        "/api/v4/clients/username/{username}",
        "clients:read",
        get_user,
        _listing(
            "getClientsOfUser",
            "The clients of a user name.",
            "Clients",
            {},
            parameter("username", "The user name, percent-encoded where needed.", place="path"),
        ),
        members=v4_members,
    ),
    Route(
        "GET",
        "/api/v4/subscriptions",
        "clients:read",
        get_subscriptions,
        _listing("getSubscriptions", "Subscriptions.", "Subscriptions", SUBSCRIPTION_FILTERS),
        members=v4_members,
    ),
    Route(
        "GET",
        "/api/v4/subscriptions/{clientid}",
        "clients:read",
        get_client_subscriptions,
        _listing(
            "getClientSubscriptions",
            "The subscriptions of a client.",
            "Subscriptions",
            {name: text for name, text in SUBSCRIPTION_FILTERS.items() if name != "clientid"},
            _CLIENTID,
        ),
        members=v4_members,
    ),
)
