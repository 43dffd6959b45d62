"""What may be shown of a configuration: secrets as `******`, everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel

from bridge.config.keys import (
    AUTH,
    AUTH_JWT,
    BATCH_ENABLE,
    CREDENTIALS,
    EGRESS,
    EVENTS,
    HTTP_AUTH,
    HTTP_AUTH_REQUESTS,
    HTTP_SERVER,
    LISTENERS,
    LOG,
    MQTT,
    NODE,
    PAYLOAD_KEY,
    SIGNATURE,
    STORE,
    SYS_TOPICS,
    WEBHOOK,
    WEBHOOK_TLS,
    Key,
)
from bridge.config.kinds import SOURCE
from bridge.config.node import Node
from bridge.config.settings import (
    AclRule,
    AclWho,
    Auth,
    Credentials,
    Endpoint,
    HttpAuth,
    HttpAuthRequest,
    HttpServer,
    Listener,
    Settings,
    Signature,
)
from bridge.config.units import plain, quote

MASK = "******"

_SECRET_NAME = re.compile(
    r"authorization|cookie|token|secret|passw|pwd|credential|signature|api[-_]?key|access[-_]?key|auth[-_]?key|private",
    re.IGNORECASE,
)
_SECRET_WORD = re.compile(r"^(x-)?(auth|key|sig|sas|code)$", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether a key, header or query parameter of this name holds a secret."""
    return bool(_SECRET_NAME.search(name) or _SECRET_WORD.match(name)) and not name.lower().endswith("file")


def url(text: str) -> str:
    """A URL without its user, password and secret query parameters."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return re.sub(r"//[^/@]*@", f"//{MASK}@", text)
    netloc = parts.netloc
    if "@" in netloc:
        netloc = f"{MASK}@{netloc.rpartition('@')[2]}"
    query = re.sub(r"([^&=?]+)=([^&]*)", lambda m: f"{m[1]}={MASK}" if is_secret(m[1]) else m[0], parts.query)
    return urlunsplit((parts.scheme, netloc, parts.path, query, parts.fragment))


def snippet(node: Node, name: str, *, secret: bool = False) -> str:
    """A node as HOCON on one line, secrets masked: for a message that shows today's spelling."""
    # the block auth is no secret as a whole, its members are by their own names
    body = _inline(
        node, secret or (is_secret(name) and not (name == "auth" and isinstance(node.value, dict)))
    )
    return f"{_name(name)} {body}" if isinstance(node.value, dict) else f"{_name(name)} = {body}"


def _name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_.-]+", name) else quote(name)


def _inline(node: Node, secret: bool) -> str:
    value = node.value
    if isinstance(value, dict):
        inner = ", ".join(snippet(child, name, secret=secret) for name, child in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(child, secret) for child in value) + "]"
    if secret:
        return quote(MASK)
    text = plain(node)
    if text is None:
        return "null"
    if "://" in text:
        text = url(text)
    return text if re.fullmatch(r"true|false|\d+(\.\d+)?([kKmMgG][bB]|ms|s|m|h|d)?", text) else quote(text)


# --- the effective settings ---------------------------------------------------------------------------------


def effective(settings: Settings) -> str:
    """All settings in force, defaults included, as HOCON that loads again; secrets are `******`.

    Masked are passwords, secrets and tokens, the user and password of a URL, its secret query parameters, and
    the values of headers such as Authorization, Cookie or X-Api-Key. A secret that is elsewhere shows where.
    What is unset stands as a comment.
    """
    blocks = [_webhook(one) for one in settings.webhooks] or [["# webhook: none, no event is sent"]]
    blocks += [["mqtt {", *_lines(MQTT.keys, settings.mqtt), "}"]]
    blocks += [_listener(listener) for listener in settings.listeners]
    blocks += [["log {", *_lines(LOG.keys, settings.log, rotation=settings.log.rotation), "}"]]
    blocks += [["sqlite {", *_lines(STORE.keys, settings.store), "}"]]
    blocks += [_auth(settings.auth)]
    blocks += [_http_server(settings.http_server)]
    blocks += [["node {", *_lines(NODE.keys, settings.node), "}"]]
    blocks += [["events {", *_lines(EVENTS.keys, settings.events), "}"]]
    sys_topics = settings.sys_topics
    lines = _lines(SYS_TOPICS.keys, sys_topics, sys_event_messages=sys_topics.events)
    blocks += [["sys_topics {", *lines, "}"]]
    blocks += [["egress {", *_lines(EGRESS.keys, settings.egress), "}"]]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _lines(keys: Iterable[Key], model: BaseModel, **parts: BaseModel | None) -> list[str]:
    """One line for each key: of `model`, or of the part whose name its own begins with (`rotation.size`).

    A part that is None is unset with all its keys.
    """
    lines = []
    for key in keys:
        holder = parts.get(key.name.partition(".")[0], model)
        value: Any = getattr(holder, key.field) if holder is not None else None
        if value is None and (holder is None or not key.kind.name.endswith("off")):
            lines.append(f"  # {key.name} is not set")
        else:
            lines.append(f"  {key.name} = {key.kind.show(value)}")
    return lines


def _webhook(endpoint: Endpoint) -> list[str]:
    shown = endpoint.model_copy(
        update={
            "url": url(endpoint.url),
            "proxy": url(endpoint.proxy) if endpoint.proxy is not None else None,
        }
    )
    parts = {
        name: getattr(endpoint, name)
        for name in (
            *("backlog", "retry", "dead", "breaker", "rate_limit", "batch", "attempts", "cloudevents"),
        )
    }
    keys = [k for k in WEBHOOK.keys if k not in (BATCH_ENABLE, PAYLOAD_KEY) and k.kind is not SOURCE]
    lines = [f"{endpoint.block} {{", *_lines(keys, shown, **parts), *_signing(endpoint)]
    if endpoint.credentials is not None:
        lines += ["  credentials {", *("  " + line for line in _credentials(endpoint.credentials)), "  }"]
    if endpoint.headers:
        lines.append("  headers {")
        for name, value in endpoint.headers:
            lines.append(f"    {_segment(name)} = {quote(MASK if is_secret(name) else value)}")
        lines.append("  }")
    if endpoint.tls is not None:
        lines += ["  ssl {", *("  " + line for line in _lines(WEBHOOK_TLS.keys, endpoint.tls)), "  }"]
    lines.append("  events = [")
    for rule in endpoint.events:
        topic = f", topic = {quote(rule.topic)}" if rule.topic is not None else ""
        lines.append(f'    {{ event = "on_{rule.event.action}"{topic} }}')
    return [*lines, "  ]", "}"]


def _signing(endpoint: Endpoint) -> list[str]:
    signatures = [_signature(signature) for signature in endpoint.signature]
    secrets = [SOURCE.show(secret) for secret in endpoint.secrets]
    lines = [f"  signature = {_one_or_list(signatures)}" if signatures else "  # signature is not set"]
    if len(secrets) < 2:
        return [*lines, f"  secret = {secrets[0]}" if secrets else "  # secret is not set"]
    return [*lines, f"  secrets = {_one_or_list(secrets)}"]


def _one_or_list(shown: list[str]) -> str:
    return shown[0] if len(shown) == 1 else "[" + ", ".join(shown) + "]"


def _signature(signature: Signature) -> str:
    if signature == Signature(scheme=signature.scheme):
        return signature.scheme
    members = ", ".join(
        f"{key.name} = {key.kind.show(getattr(signature, key.field))}" for key in SIGNATURE.keys
    )
    return f"{{ {members} }}"


def _credentials(credentials: Credentials) -> list[str]:
    given = [key for key in CREDENTIALS.keys if getattr(credentials, key.field) is not None]
    address = credentials.token_url
    return _lines(
        given,
        credentials.model_copy(update={"token_url": url(address)}) if address is not None else credentials,
    )


def _listener(listener: Listener) -> list[str]:
    table = LISTENERS[listener.kind]
    name = "" if listener.name == "default" else "." + _segment(listener.name)
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    keys = [key for key in table.keys if key.name not in ("enable", "bind")]
    bind = f'  bind = "{host}:{listener.port}"'
    return [f"listeners.{listener.kind}{name} {{", bind, *_lines(keys, listener), "}"]


def _http_server(server: HttpServer | None) -> list[str]:
    if server is None:
        return ["# http_server: none, nothing listens there"]
    return ["http_server {", *_lines([key for key in HTTP_SERVER.keys if key.name != "enable"], server), "}"]


def _segment(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quote(name)


def _auth(auth: Auth) -> list[str]:
    lines = ["auth {", *_lines(AUTH.keys, auth, cache=auth.cache)]
    if auth.password:
        lines.append("  password {")
        lines += [f"    {quote(user)} = {quote(MASK)}" for user, _ in auth.password]
        lines.append("  }")
    if auth.acl:
        lines += ["  acl.rules = [", *[f"    {_rule(rule)}" for rule in auth.acl], "  ]"]
    if auth.jwt is not None:
        given = [key for key in AUTH_JWT.keys if key.name != "enable"]
        keys = [key for key in given if getattr(auth.jwt, key.field) is not None]
        claims = ", ".join([f"{quote(name)} = {quote(value)}" for name, value in auth.jwt.verify_claims])
        lines += ["  jwt {", *("  " + line for line in _lines(keys, auth.jwt))]
        lines += [*([f"    verify_claims {{ {claims} }}"] if claims else []), "  }"]
    if auth.http_auth is not None:
        lines += ["  http_auth {", *("  " + line for line in _http_auth(auth.http_auth)), "  }"]
    return [*lines, "}"]


def _http_auth(settings: HttpAuth) -> list[str]:
    lines = _lines([key for key in HTTP_AUTH.keys if key.name != "enable"], settings)
    for block in HTTP_AUTH_REQUESTS:
        name = block.name.rpartition(".")[2]
        request = getattr(settings, name)
        if request is not None:
            lines += [f"  {name} {{", *("  " + line for line in _request(block.keys, request)), "  }"]
    return lines


def _request(keys: Iterable[Key], request: HttpAuthRequest) -> list[str]:
    lines = _lines(keys, request.model_copy(update={"url": url(request.url)}))
    for name, pairs in (("headers", request.headers), ("params", request.params)):
        shown = [f"{_segment(key)} = {quote(_param(key, value))}" for key, value in pairs]
        lines.append(f"  {name} {{ {', '.join(shown)} }}")
    return lines


def _param(name: str, value: str) -> str:
    """A placeholder is no secret, whatever it is called."""
    return MASK if is_secret(name) and not re.fullmatch(r"%[A-Za-z]", value) else value


def _rule(rule: AclRule) -> str:
    members = [f"permit = {rule.permit}", f"action = {rule.action}", *_who(rule)]
    if rule.topics:
        members.append(f"topics = [{', '.join(map(quote, rule.topics))}]")
    return "{ " + ", ".join(members) + " }"


def _who(who: AclWho) -> list[str]:
    members = []
    if who.username is not None:
        members.append(f"username = {quote(who.username)}")
    if who.clientid is not None:
        members.append(f"clientid = {quote(who.clientid)}")
    if who.ipaddr:
        members.append(f"ipaddr = [{', '.join(map(quote, who.ipaddr))}]")
    for name, several in (("and", who.all_of), ("or", who.any_of)):
        if several:
            # one that means anyone
            shown = ["{ " + (", ".join(_who(one)) or 'username = "#"') + " }" for one in several]
            members.append(f"{name} = [{', '.join(shown)}]")
    return members
