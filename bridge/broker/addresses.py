"""Addresses of peers, and what counts as one of them where something is counted or slowed by address."""

from __future__ import annotations

import ipaddress

IPV6_NETWORK = 64
"""Bits of an IPv6 address that count: the rest is its owner's to choose."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address_of(text: str) -> Address | None:
    """The address without its zone, one of IPv4 in IPv6's form as what it is; None: it is no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def network_of(text: str) -> str:
    """What counts as one peer: an IPv4 address, or the network of an IPv6 one."""
    address = address_of(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, IPV6_NETWORK), strict=False))
    return text if address is None else str(address)
