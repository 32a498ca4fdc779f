"""Certificates for tests: an authority of their own, and one server that it vouches for."""

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Certificates:
    """An authority, and a certificate for 127.0.0.1 that serves and asks."""

    def __init__(self, folder):
        self.folder = folder
        key, name = ec.generate_private_key(ec.SECP256R1()), "authority"
        authority = self._sign(name, key, name, key, authority=True)
        self._write("ca.pem", authority.public_bytes(serialization.Encoding.PEM))
        own = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign("etcd", own, name, key, authority=False)
        self._write("cert.pem", certificate.public_bytes(serialization.Encoding.PEM))
        self._write(
            "key.pem",
            own.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def _write(self, name, data):
        (self.folder / name).write_bytes(data)

    def __getattr__(self, name):
        return str(self.folder / f"{name}.pem")

    @staticmethod
    def _sign(subject, key, issuer, issuer_key, *, authority):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
        return builder.sign(issuer_key, hashes.SHA256())
