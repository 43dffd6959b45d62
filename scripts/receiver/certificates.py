"""Certificates for a test's run, good and bad, made with the `openssl` command."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Flaw = Literal["wrong-name", "expired", "unknown"]

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_NAMES = "DNS:localhost,IP:127.0.0.1"
_CA = """[ca]
default_ca = own
[own]
database = index.txt
serial = serial.txt
new_certs_dir = .
default_md = sha256
policy = any
[any]
commonName = supplied
"""


class OpensslError(Exception):
    """`openssl` is missing or failed; the text says how."""


@dataclass(frozen=True)
class Certificates:
    """PEM files made for one run: an authority, a server for localhost and 127.0.0.1, and a client."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    client_key_encrypted: Path  # with the password "secret"

    def server_context(self, *, client_certificate: bool = False) -> ssl.SSLContext:
        """The receiver's side; it can ask for a client certificate."""
        context = _context(self.server, self.server_key)
        if client_certificate:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def flawed_context(self, flaw: Flaw) -> ssl.SSLContext:
        """A server that nobody should trust who trusts `ca`. Raises OpensslError.

        It has the name of another host, or it has expired, or another authority vouches for it.
        """
        folder = self.ca.parent
        path = folder / f"{flaw}.pem"
        if not path.exists():
            if flaw == "unknown":
                other = folder / "other"
                other.mkdir()
                _authority(other)
                _issue(other, "unknown", _NAMES, "serverAuth")
                for name in ("unknown.pem", "unknown.key"):
                    (other / name).rename(folder / name)
            elif flaw == "wrong-name":
                _issue(folder, flaw, "DNS:elsewhere.example", "serverAuth")
            else:
                _issue(folder, flaw, _NAMES, "serverAuth", ("20200101000000Z", "20200201000000Z"))
        return _context(path, folder / f"{flaw}.key")


def make_certificates(folder: Path) -> Certificates:
    """Make them in a folder. Raises OpensslError."""
    folder.mkdir(parents=True, exist_ok=True)
    _authority(folder)
    _issue(folder, "server", _NAMES, "serverAuth")
    _issue(folder, "client", "DNS:client", "clientAuth")
    _openssl(
        folder,
        *("pkey", "-in", "client.key", "-out", "client-encrypted.key", "-aes256", "-passout", "pass:secret"),
    )
    return Certificates(
        ca=folder / "ca.pem",
        server=folder / "server.pem",
        server_key=folder / "server.key",
        client=folder / "client.pem",
        client_key=folder / "client.key",
        client_key_encrypted=folder / "client-encrypted.key",
    )


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def _authority(folder: Path) -> None:
    """`ca.pem` and `ca.key`."""
    _openssl(
        folder,
        *("req", "-x509", *_CURVE, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2"),
        *("-subj", "/CN=Test CA"),
        *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )


def _issue(folder: Path, name: str, names: str, usage: str, dates: tuple[str, str] | None = None) -> None:
    """`<name>.pem` and `<name>.key`, signed by the folder's authority. `dates` are those of its validity."""
    (folder / f"{name}.ext").write_text(
        f"subjectAltName={names}\nextendedKeyUsage={usage}\nauthorityKeyIdentifier=keyid\n"
    )
    _openssl(folder, "req", *_CURVE, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    given = ("-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", f"{name}.ext")
    if dates is None:
        _openssl(
            folder,
            "x509",
            "-req",
            *given,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
        )
        return
    # Only `openssl ca` of the versions in use can date back.
    (folder / "ca.cnf").write_text(_CA)
    (folder / "index.txt").touch()
    (folder / "serial.txt").write_text("01\n")
    _openssl(
        folder,
        *("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", *given),
        *("-startdate", dates[0], "-enddate", dates[1]),
    )


def _openssl(folder: Path, *arguments: str) -> None:
    try:
        done = subprocess.run(
            ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise OpensslError("the openssl command is not installed: it makes the certificates") from None
    if done.returncode != 0:
        raise OpensslError(f"openssl {' '.join(arguments)}: {done.stderr.strip()}")
