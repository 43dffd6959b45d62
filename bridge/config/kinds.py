"""Kinds of values of the delivery policy: schedules, statuses, networks, secrets, parts of signatures."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from bridge.config.node import Node, found
from bridge.config.secret import file_of
from bridge.config.settings import Secret
from bridge.config.units import SECONDS, Bad, Kind, Range, plain, quote, show_seconds
from bridge.events.head import FRAMING

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name, RFC 9110 section 5.6.2."""
OURS = FRAMING | {"webhook-id", "webhook-timestamp", "webhook-attempt", "webhook-signature"}
"""Headers that HookMQ sets itself: those of the connection, and those of each attempt."""


def items(node: Node) -> list[Node]:
    """The elements of a list; those of `"a, b"` too, as a variable may have it."""
    if isinstance(node.value, list):
        return node.value
    text = plain(node)
    if text is None:
        return [node]
    return [Node(part.strip(), node.key, node.place, part.strip()) for part in text.split(",")]


# --- schedules ----------------------------------------------------------------------------------------------

_PRESETS = ("standard", "mes", "exponential")
_SCHEDULE = "standard, mes, exponential, or the waits before each attempt, the first one 0s: [0s, 5s, 1m]"
MAX_STEPS = 1000
"""Attempts of a list of waits."""
_WAITS = Range(0, 365 * 86400.0)


def _read_schedule(node: Node, bounds: Range) -> str | tuple[float, ...]:
    if not isinstance(node.value, list):
        word = (plain(node) or "").strip().lower()
        if word in _PRESETS:
            return word
        if "," not in word:
            raise Bad(_SCHEDULE)
    waits: list[float] = []
    for item in items(node):
        try:
            waits.append(SECONDS.read(item, _WAITS))
        except Bad as e:
            raise Bad(f"{_SCHEDULE}; {found(item)} in it is not {e}") from None
    if not 1 <= len(waits) <= MAX_STEPS:
        raise Bad(f"{_SCHEDULE}, 1 to {MAX_STEPS} of them")
    if waits[0] != 0:
        meant = ", ".join(show_seconds(w) for w in (0.0, *waits[:3])) + (", …" if len(waits) > 3 else "")
        raise Bad(f"0s as the first of the waits, since the first attempt is made at once: [{meant}]")
    return tuple(waits)


def _show_schedule(value: str | tuple[float, ...]) -> str:
    return value if isinstance(value, str) else "[" + ", ".join(map(show_seconds, value)) + "]"


SCHEDULE = Kind("schedule", _read_schedule, _show_schedule)

# --- statuses -----------------------------------------------------------------------------------------------

_STATUSES = "statuses from 200 to 599, such as 2xx, [200], [2xx, 304] or [200-204]"


def _read_statuses(node: Node, bounds: Range) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for item in items(node):
        text = (plain(item) or "").strip().lower()
        match = re.fullmatch(r"([2-5])xx|([2-5]\d\d)(?:\s*-\s*([2-5]\d\d))?", text)
        if match is None:
            raise Bad(_STATUSES)
        low = int(match[1]) * 100 if match[1] else int(match[2])
        high = low + 99 if match[1] else int(match[3] or low)
        if high < low:
            raise Bad(_STATUSES)
        ranges.append((low, high))
    if not ranges:
        raise Bad(_STATUSES)
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _show_statuses(value: tuple[tuple[int, int], ...]) -> str:
    shown = []
    for low, high in value:
        if low == high:
            shown.append(str(low))
        elif low % 100 == 0 and high == low + 99:
            shown.append(f"{low // 100}xx")
        else:
            shown.append(f'"{low}-{high}"')
    return shown[0] if len(shown) == 1 and shown[0].endswith("xx") else "[" + ", ".join(shown) + "]"


STATUSES = Kind("statuses", _read_statuses, _show_statuses)

# --- networks -----------------------------------------------------------------------------------------------


def _read_networks(node: Node, bounds: Range) -> tuple[str, ...]:
    possible = 'a list of networks such as [10.0.0.0/8, 192.168.7.4, "fd00::/8"]'
    networks: list[str] = []
    for item in items(node):
        text = (plain(item) or "").strip()
        try:
            networks.append(str(ipaddress.ip_network(text)))
            continue
        except ValueError:
            pass
        try:
            meant = f"; did you mean {ipaddress.ip_network(text, strict=False)}?"
        except ValueError:
            meant = "" if isinstance(node.value, list) and not node.value else f"; {found(item)} is none"
        raise Bad(possible + meant)
    return tuple(dict.fromkeys(networks))


def _show_networks(value: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(quote, value)) + "]"


NETWORKS = Kind("list of networks", _read_networks, _show_networks)

# --- addresses ----------------------------------------------------------------------------------------------


def _read_address(node: Node, bounds: Range) -> str:
    text = (plain(node) or "").strip()
    if text.lower() == "localhost":
        return "localhost"
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise Bad("an IP address such as 127.0.0.1, 0.0.0.0 or ::1, or localhost") from None


ADDRESS = Kind("IP address", _read_address, quote)

# --- secrets ------------------------------------------------------------------------------------------------

_FORMS = 'a text in quotes, { env = NAME } or { file = "PATH" }'


def _read_source(node: Node, bounds: Range) -> Secret:
    if not isinstance(node.value, dict):
        text = plain(node)
        if not text:
            raise Bad(_FORMS)
        path = file_of(text)
        return Secret(value=SecretStr(text)) if path is None else Secret(file=path)
    members = {name: child for name, child in node.value.items() if not child.is_null}
    (name, child), *more = members.items() or [("", node)]
    text = plain(child)
    if more or name not in ("env", "file") or not text or "\x00" in text:
        raise Bad(_FORMS)
    if name == "file":
        return Secret(file=Path(text))
    if not re.fullmatch(r"(?!whs[a-z]+_)[A-Za-z_][A-Za-z0-9_.-]{0,127}", text):  # may be the secret itself
        raise Bad(f"{_FORMS}, NAME being that of an environment variable")
    return Secret(env=text)


def _show_source(value: Secret) -> str:
    if value.env is not None:
        return f"{{ env = {quote(value.env)} }}"
    return f"{{ file = {quote(str(value.file))} }}" if value.file is not None else quote("******")


SOURCE = Kind("secret", _read_source, _show_source, secret=True)
"""A secret as it stands, or where it is: read at load, and when HookMQ starts."""

# --- signatures ---------------------------------------------------------------------------------------------


def _read_header_name(node: Node, bounds: Range) -> str:
    text = plain(node) or ""
    if not TOKEN.fullmatch(text) or len(text) > 256:
        raise Bad("a header's name: letters, digits and !#$%&'*+-.^_`|~ only")
    return text


def _read_prefix(node: Node, bounds: Range) -> str:
    text = plain(node)
    if text is None or not re.fullmatch(r"([\x21-\x7e][\x20-\x7e]{0,255})?", text):
        raise Bad('printable ASCII that does not begin with a space, such as "sha256="')
    return text


def _read_template(node: Node, bounds: Range) -> str:
    possible = 'a text with {body} once in it, and {id} and {timestamp} where you wish: "{timestamp}.{body}"'
    text = plain(node)
    if text is None or len(text) > 1024 or not text.isprintable():
        raise Bad(possible)
    unknown = [name for name in re.findall(r"\{(\w+)\}", text) if name not in ("id", "timestamp", "body")]
    if unknown:
        raise Bad(f"{possible}; {{{unknown[0]}}} is not known")
    if text.count("{body}") != 1:
        raise Bad(possible)
    return text


HEADER_NAME = Kind("header name", _read_header_name, quote)
PREFIX = Kind("text", _read_prefix, quote)
TEMPLATE = Kind("text", _read_template, quote)

# --- WebSockets ---------------------------------------------------------------------------------------------


def _read_url_path(node: Node, bounds: Range) -> str:
    text = plain(node)
    if text is None or not re.fullmatch(r"/[!$&'()*+,;=:@%\w.~/-]*", text, re.ASCII) or len(text) > 1024:
        raise Bad("a path such as /mqtt")
    return text


def _read_origins(node: Node, bounds: Range) -> tuple[str, ...]:
    possible = 'a list of origins such as ["https://panel.example.com", "http://localhost:8080"]'
    found: list[str] = []
    for item in items(node):
        text = (plain(item) or "").strip().lower()
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s/?#@]+", text):
            raise Bad(possible)
        found.append(text)
    return tuple(dict.fromkeys(found))


URL_PATH = Kind("path", _read_url_path, quote)
ORIGINS = Kind("list of origins", _read_origins, _show_networks)

# --- where spans go -----------------------------------------------------------------------------------------


def _read_endpoint_url(node: Node, bounds: Range) -> str:
    possible = (
        "a URL such as http://127.0.0.1:4318/v1/traces, without user, password and query"
        " (the variable OTEL_EXPORTER_OTLP_HEADERS holds what proves who calls)"
    )
    text = (plain(node) or "").strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Bad(possible) from None
    wrong = (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or port == 0
        or "@" in parts.netloc
        or "?" in text
        or "#" in text
        or re.search(r"[^\x21-\x7e]", text)
    )
    if wrong:
        raise Bad(possible)
    return text


ENDPOINT_URL = Kind("URL", _read_endpoint_url, quote)
