"""JSON Web Tokens as passwords (`auth.jwt`), with EMQX's keys and claims.

The algorithm is that of the configured key (HS256, RS256, ES256), never what a token says of itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from bridge.broker.auth_access import Access, Policy
from bridge.broker.auth_acl import ClientRule
from bridge.broker.auth_topics import LITERAL, fill, topics
from bridge.broker.client import Client
from bridge.broker.hooks import ACCEPT
from bridge.config.settings import JwtAuth
from bridge.mqtt.packets import Connect
from bridge.mqtt.reasons import ReasonCode
from bridge.mqtt.topics import valid_topic_filter
from bridge.mqtt.wire import shown

log = logging.getLogger(__name__)

LEEWAY_S = 10
"""How far the issuer's clock may be ahead of ours (`nbf`, `iat`)."""
MAX_RULES = 1000
"""Topics in one token's access rules."""
_ACTIONS = {"publish": "publish", "subscribe": "subscribe", "all": "pubsub", "pubsub": "pubsub"}
_LISTS = {"pub": "publish", "sub": "subscribe", "all": "pubsub"}
_REFUSED = ReasonCode.BAD_USER_NAME_OR_PASSWORD


class KeyFault(Exception):
    """The configured key cannot be used; the text is one line."""


class _BadRules(Exception):
    """The access rules of a token cannot be read."""


def load_key(pem: bytes) -> tuple[Any, str]:
    """A PEM public key, and its algorithm: RS256 or ES256. Raises KeyFault."""
    try:
        key = load_pem_public_key(pem)
    except ValueError:
        raise KeyFault("holds no public key in PEM form") from None
    if isinstance(key, RSAPublicKey):
        if key.key_size < 2048:
            raise KeyFault(f"holds an RSA key of {key.key_size} bits, expected at least 2048")
        return key, "RS256"
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return key, "ES256"
    raise KeyFault("holds a key that is neither RSA (RS256) nor EC on P-256 (ES256)")


class Tokens:
    """Checks tokens, and takes from them the client's access rules, rank and end."""

    def __init__(
        self,
        settings: JwtAuth,
        key: bytes | Any,
        algorithm: str,
        policy: Policy,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`key` is the shared secret or the public key, and `algorithm` what fits it."""
        self._settings = settings
        self._key = key
        self._algorithms = [algorithm]
        self._policy = policy
        self._clock = clock

    def check(self, client: Client, connect: Connect) -> int | None:
        """0, a reason code, or None where the password is no token at all."""
        password = connect.password or b""
        if password.count(b".") != 2 or not password.startswith(b"eyJ"):
            return None
        try:
            claims = jwt.decode(
                password,
                self._key,
                algorithms=self._algorithms,
                leeway=LEEWAY_S,
                options={
                    "verify_aud": False, "verify_iss": False, "verify_exp": False, "verify_sub": False,
                    "verify_jti": False,
                },
            )  # fmt: skip
        except jwt.PyJWTError as error:
            return self._refuse(client, type(error).__name__)
        except (ValueError, TypeError, RecursionError, OverflowError):
            return self._refuse(client, "it cannot be read")
        return self._claims(client, claims)

    def _claims(self, client: Client, claims: Mapping[str, Any]) -> int:
        expires = claims.get("exp")
        if expires is not None:
            if isinstance(expires, bool) or not isinstance(expires, int | float):
                return self._refuse(client, "its exp is no number")
            if not expires > self._clock():  # nor NaN
                return self._refuse(client, "it has expired")
            client.expires = float(min(expires, 1 << 53))
        for name, pattern in self._settings.verify_claims:
            wanted = fill(pattern, client.clientid, client.username, allow=False)
            if wanted is None or name not in claims or _text(claims[name]) != wanted:
                return self._refuse(client, f"its claim {name} is another than expected")
        own = claims.get(self._settings.acl_claim_name)
        if own is not None:
            try:
                rules = _rules(own, client)
            except _BadRules:
                return self._refuse(client, "its access rules cannot be read")
            client.access = Access(self._policy, client, rules)
        client.superuser = claims.get("is_superuser") is True
        return ACCEPT

    def _refuse(self, client: Client, why: str) -> int:
        log.info("client %s at %s: its token is refused: %s", shown(client.clientid), client.peername, why)
        return _REFUSED


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


# --- the acl claim ------------------------------------------------------------------------------------------


def _rules(claim: Any, client: Client) -> tuple[ClientRule, ...]:
    """EMQX's two forms: a list of rules, or an object of lists, beside which nothing is allowed."""
    rules: list[ClientRule] = []
    if isinstance(claim, list):
        for item in claim:
            rules += _rule(item, client)
    elif isinstance(claim, dict):
        for name, value in claim.items():
            if name not in _LISTS:
                raise _BadRules
            rules += _made(client, _LISTS[name], True, _strings(value))
        rules += [ClientRule("pubsub", topics(False, ()))]
    else:
        raise _BadRules
    if len(rules) > MAX_RULES:
        raise _BadRules
    return tuple(rules)


def _rule(item: Any, client: Client) -> list[ClientRule]:
    if not isinstance(item, dict) or item.keys() - {
        "permission",
        "action",
        "topic",
        "topics",
        "qos",
        "retain",
    }:
        raise _BadRules  # a condition that is not known cannot be kept
    permission, action = item.get("permission"), item.get("action", "all")
    if permission not in ("allow", "deny") or action not in _ACTIONS:
        raise _BadRules
    texts = _strings(item["topics"] if "topics" in item else [item.get("topic")])
    qos = item.get("qos")
    levels = None
    if qos is not None:
        given = qos if isinstance(qos, list) else [qos]
        if not given or any(isinstance(q, bool) or q not in (0, 1, 2) for q in given):
            raise _BadRules
        levels = frozenset(given)
    retain = item.get("retain")
    if retain == "all":
        retain = None
    if retain is not None and not isinstance(retain, bool):
        raise _BadRules
    return _made(client, _ACTIONS[action], permission == "allow", texts, levels, retain)


def _strings(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise _BadRules
    return value


def _made(
    client: Client,
    action: str,
    allow: bool,
    texts: list[str],
    qos: frozenset[int] | None = None,
    retain: bool | None = None,
) -> list[ClientRule]:
    known: list[str] = []
    for text in texts:
        pattern = LITERAL + text[3:] if text.startswith("eq ") else text
        if not valid_topic_filter(pattern.removeprefix(LITERAL)):
            raise _BadRules
        filled = fill(pattern, client.clientid, client.username, allow=allow)
        if filled is not None:
            known.append(filled)
    return [ClientRule(action, topics(allow, known), qos, retain)] if known else []
