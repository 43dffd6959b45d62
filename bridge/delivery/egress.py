"""Where requests may go: a pure decision on addresses, without sockets and without names.

* The operator's own endpoints may go anywhere but to link-local, multicast, unspecified, broadcast and cloud
  metadata addresses. Those of a tenant may not go to loopback and private ranges either.
* `egress.allow` lifts a refusal, `egress.deny` adds one and is stronger.
* An IPv6 address that carries an IPv4 address (mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP)
  is judged by what it carries as well as by itself, and every part must pass.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from bridge.config.settings import Egress, Trust

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOBODY = frozenset({"metadata", "unspecified", "broadcast", "multicast", "link-local"})
"""Kinds that are refused to all unless allowed."""

# The first match counts. From IANA's special-purpose registries (RFC 6890); what is not here is public.
_KINDS: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(network), kind)
    for kind, networks in (
        # Services that hand a machine's credentials to whoever asks from it, outside the link-local range.
        ("metadata", "100.100.100.200/32 168.63.129.16/32 192.0.0.192/32 fd00:ec2::254/128 fd20:ce::254/128"),
        ("unspecified", "0.0.0.0/8 ::/128"),
        ("broadcast", "255.255.255.255/32"),
        ("multicast", "224.0.0.0/4 ff00::/8"),
        ("link-local", "169.254.0.0/16 fe80::/10"),
        ("loopback", "127.0.0.0/8 ::1/128"),
        ("private", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7 fec0::/10"),
        (
            "reserved",
            "192.0.0.0/24 192.0.2.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 "
            "64:ff9b:1::/48 100::/64 2001:2::/48 2001:10::/28 2001:db8::/32 3fff::/20 5f00::/16",
        ),
    )
    for network in networks.split()
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_LAST_32_BITS = tuple(
    # compatible (RFC 4291 section 2.5.5.1), translated (RFC 2765 section 2.1), NAT64 (RFC 6052 section 2.1)
    ipaddress.IPv6Network(network)
    for network in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")


class EgressError(ValueError):
    """`egress` holds a value that is no network; one line with key, value and what was expected."""


class Guard:
    """Decides by the settings. Raises EgressError for an entry that is no network in CIDR notation."""

    def __init__(self, settings: Egress | None = None) -> None:
        settings = settings if settings is not None else Egress()
        self._allow = _networks("allow", settings.allow)
        self._deny = _networks("deny", settings.deny)
        self._judge = lru_cache(maxsize=1024)(self._decide)

    def refusal(self, address: str, trust: Trust = "operator") -> str | None:
        """Why requests may not go to a numeric address; None if they may. A zone (`%eth0`) plays no part.

        Raises ValueError for what is no numeric address.
        """
        return self._judge(address.partition("%")[0], trust)

    def _decide(self, address: str, trust: Trust) -> str | None:
        parsed = ipaddress.ip_address(address)
        for part in parts(parsed):
            cause = self._refusal(part, trust)
            if cause is not None:
                return (
                    f"{address} {cause}" if part == parsed else f"{address} stands for {part}, which {cause}"
                )
        return None

    def _refusal(self, address: Address, trust: Trust) -> str | None:
        for network in self._deny:
            if address in network:
                return f"is in egress.deny ({network})"
        found = kind(address)
        if found == "public" or (trust == "operator" and found not in _NOBODY):
            return None
        if any(address in network for network in self._allow):
            return None
        whose = "" if found in _NOBODY else "to this endpoint "
        name = {"metadata": "a cloud metadata service", "link-local": "link-local (cloud metadata)"}
        return f"is {name.get(found, found)}: refused {whose}unless egress.allow has it"


def parts(address: Address) -> Iterator[Address]:
    """What an address stands for: itself and every IPv4 address in it; a mapped one is its IPv4 address."""
    if isinstance(address, IPv4Address):
        yield address
        return
    number = int(address)
    if address in _MAPPED:
        yield IPv4Address(number & 0xFFFFFFFF)
        return
    yield address
    last = IPv4Address(number & 0xFFFFFFFF)
    if any(address in network for network in _LAST_32_BITS) and number > 1:
        yield last
    if address in _NAT64_LOCAL:
        # Its translator may read the last 32 bits or, as RFC 6052 section 2.2 has it for a /48, those around
        # bits 64 to 71; what is not used is 0.
        around = (number >> 64 & 0xFFFF) << 16 | (number >> 40 & 0xFFFF)
        yield from (IPv4Address(found) for found in (number & 0xFFFFFFFF, around) if found)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if (number >> 32 & 0xFFFFFFFF) in (0x00005EFE, 0x02005EFE):  # ISATAP, RFC 5214 section 6.1
        yield last


def kind(address: Address) -> str:
    """`public`, or what the address is instead: `loopback`, `private`, `link-local`, …"""
    for network, name in _KINDS:
        if address in network:
            return name
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        # What carries an IPv4 address is judged by that.
        return "public" if any(address in network for network in _LAST_32_BITS) else "reserved"
    return "public"


def _networks(key: str, texts: Sequence[str]) -> tuple[Network, ...]:
    found: list[Network] = []
    for index, text in enumerate(texts):
        expected = "expected a network such as 10.0.0.0/8, fd00::/8 or 192.168.1.5"
        try:
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            raise EgressError(f"egress.{key}[{index}]: found {text!r}, {expected}") from None
        try:
            ipaddress.ip_network(text.strip())
        except ValueError:
            raise EgressError(
                f"egress.{key}[{index}]: found {text!r}, whose address has bits behind its prefix; "
                f"expected {network}, or the address alone"
            ) from None
        if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
            mapped = IPv4Address(int(network.network_address) & 0xFFFFFFFF)
            network = IPv4Network((mapped, network.prefixlen - 96))
        found.append(network)
    return tuple(found)
