"""A client's certificate as its name (`mqtt.peer_cert_as_username`)."""

from __future__ import annotations

from typing import Any

_SHORT = {
    "commonName": "CN", "countryName": "C", "stateOrProvinceName": "ST", "localityName": "L",
    "organizationName": "O", "organizationalUnitName": "OU", "domainComponent": "DC",
}  # fmt: skip


def peer_names(transport: Any) -> tuple[str, str] | None:
    """The common name and the subject (`CN=…,O=…`) of the peer's certificate, or None.

    There is one only where it was verified against the listener's `cacertfile`. A certificate without a
    common name is none.
    """
    return names(transport.get_extra_info("peercert"))


def names(certificate: dict[str, Any] | None) -> tuple[str, str] | None:
    """The same, of what `ssl.SSLSocket.getpeercert` gives."""
    if not certificate:
        return None
    pairs = [pair for part in certificate.get("subject", ()) for pair in part]
    common = [value for name, value in pairs if name == "commonName"]
    if not common or not common[-1] or "\0" in common[-1]:
        return None
    return common[-1], ",".join([f"{_SHORT.get(name, name)}={value}" for name, value in pairs])
