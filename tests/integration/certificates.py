"""Certificates for tests, made with `cryptography`: an authority, servers and clients of any name."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = {
    "CN": NameOID.COMMON_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "C": NameOID.COUNTRY_NAME,
}


class Authority:
    """A certificate authority, with its certificate in `<folder>/<name>.pem`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = _builder(self._name, self._name, self._key.public_key())
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def issue(
        self, name: str, *subject: tuple[str, str], client: bool = False, password: str | None = None
    ) -> tuple[Path, Path]:
        """A certificate for localhost, or a client's, and its key in `<folder>/<name>…`: the two files.

        `subject` are the parts of its name, the largest first; a password encrypts the key.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        parts = subject or (("CN", name),)
        whose = x509.Name([x509.NameAttribute(NAMES[kind], value) for kind, value in parts])
        made = _builder(whose, self._name, key.public_key())
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        made = made.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if not client:
            hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            made = made.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        cert_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            lock = serialization.BestAvailableEncryption(password.encode())
        pem = serialization.Encoding.PEM
        key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, lock))
        cert_file.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))
        return cert_file, key_file

    def revoke(self, *certificates: Path, days: float = 1) -> Path:
        """The authority's list of these revoked certificates, `<folder>/revoked.pem`, good for some days."""
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        made = made.last_update(now - datetime.timedelta(days=2))
        made = made.next_update(now + datetime.timedelta(days=days))
        for file in certificates:
            number = x509.load_pem_x509_certificate(file.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now)
            made = made.add_revoked_certificate(entry.build())
        path = self.folder / "revoked.pem"
        path.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))
        return path


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )


def _pem(signed: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return signed.public_bytes(serialization.Encoding.PEM)
