"""Certificates for servers on loopback: right ones and wrong ones."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
AUTHORITY = x509.BasicConstraints(ca=True, path_length=None)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and localhost that signs itself, and its key, as PEM files. A
    client that is to trust it needs the certificate as its bundle."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = _names("localhost", "127.0.0.1")
    built = _signed("localhost", key.public_key(), "localhost", key, DAY, names, AUTHORITY)
    certificate, private = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(_pem(key))
    return certificate, private


class Authority:
    """Signs the certificates of servers. `bundle` is the file that a client has to trust."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        own = _signed(name, self._key.public_key(), name, self._key, DAY, AUTHORITY)
        self.bundle = folder / f"{name}.pem"
        self.bundle.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def context(self, host: str = "127.0.0.1", until: datetime.timedelta = DAY) -> ssl.SSLContext:
        """A server's context with a certificate for `host` that is valid for another `until`."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = _signed("server", key.public_key(), self._name, self._key, until, _names(host))
        path = self._folder / "server.pem"
        path.write_bytes(_pem(key) + built.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


class Certificates:
    """One right server context and three wrong ones. `bundle` is what the client trusts."""

    def __init__(self, folder: Path) -> None:
        known, stranger = Authority(folder, "known"), Authority(folder, "stranger")
        self.bundle = known.bundle
        self.right = known.context()
        self.wrong_host = known.context(host="elsewhere.example")
        self.expired = known.context(until=-DAY)
        self.untrusted = stranger.context()


def _signed(
    subject: str,
    public: ec.EllipticCurvePublicKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    until: datetime.timedelta,
    *extensions: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 3 * DAY)
        .not_valid_after(now + until)
    )
    for extension in extensions:
        critical = isinstance(extension, x509.BasicConstraints)
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _names(*hosts: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_name(host) for host in hosts])


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
