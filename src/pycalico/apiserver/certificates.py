"""The server's certificate authority and the certificates it signs (imported only to make them)."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def make(directory: Path, hosts: list[str], administrator: str, lifetime_s: int) -> dict[str, bytes]:
    """Make PEM files by name: ca.{crt,key} (kept where they exist), server.{crt,key}, admin.{crt,key}."""
    files: dict[str, bytes] = {}
    try:
        ca_certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
        ca_key: Any = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    except (FileNotFoundError, ValueError):
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca_name = _name("kubernetes", "")
        ca_certificate = (
            _builder(ca_name, ca_name, ca_key, lifetime_s)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(sign=True), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        files["ca.crt"], files["ca.key"] = _pem(ca_certificate), _pem_key(ca_key)
    server = (
        _name("kube-apiserver", ""),
        ExtendedKeyUsageOID.SERVER_AUTH,
        [_alternative(host) for host in hosts],
    )
    admin: tuple[x509.Name, x509.ObjectIdentifier, list[x509.GeneralName]]
    admin = (_name(administrator, "system:masters"), ExtendedKeyUsageOID.CLIENT_AUTH, [])
    for file, (name, purpose, others) in {"server": server, "admin": admin}.items():
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(name, ca_certificate.subject, key, lifetime_s)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
        )
        if others:
            builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        files[f"{file}.crt"] = _pem(builder.sign(ca_key, hashes.SHA256()))
        files[f"{file}.key"] = _pem_key(key)
    return files


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(common: str, organization: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime_s: int
) -> x509.CertificateBuilder:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(seconds=lifetime_s))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
