"""Who a client is by its certificate: common name and subject."""

from __future__ import annotations

import ssl
from typing import NamedTuple, cast

# RFC 4514 section 3, and what OpenSSL has beside it.
_SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_SPECIAL = frozenset('"+,;<>\\')


class PeerCertificate(NamedTuple):
    """A client's certificate, which TLS has verified."""

    cn: str  # the subject's common name; the first where there are several, "" where there is none
    dn: str  # the whole subject, as RFC 4514 writes it: CN=press-7,O=Acme,C=DE


def peer_certificate(tls: object) -> PeerCertificate | None:
    """The verified certificate of the other end of a TLS connection, None where it has none."""
    if not isinstance(tls, ssl.SSLObject):
        return None
    found = tls.getpeercert()
    if not found:
        return None
    subject = cast("tuple[tuple[tuple[str, str], ...], ...]", found.get("subject", ()))
    cn = ""
    names: list[str] = []
    for rdn in subject:
        names.append("+".join(f"{_SHORT.get(name, name)}={_escaped(value)}" for name, value in rdn))
        for name, value in rdn:
            if name == "commonName" and not cn and value.isprintable():
                cn = value
    return PeerCertificate(cn, ",".join(reversed(names)))


def _escaped(value: str) -> str:
    """A value as RFC 4514 section 2.4 has it."""
    text = "".join("\\00" if char == "\0" else f"\\{char}" if char in _SPECIAL else char for char in value)
    if value[:1] in (" ", "#"):
        text = "\\" + text
    if len(value) > 1 and value.endswith(" "):
        text = text[:-1] + "\\ "
    return text
