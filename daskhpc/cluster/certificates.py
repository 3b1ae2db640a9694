"""The keys of one run: an authority that only this run has, and what each role shows to the others.

They are made anew for each run, live in the memory of its processes, and are worth nothing afterwards.
"""

from __future__ import annotations

import os
import ssl
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ..compat.python import in_memory_file
from ..errors import StartError

CLOCK_DIFFERENCE = timedelta(days=1)
"""By how much the clocks of nodes may differ: certificates begin so much earlier and end so much later."""
UNKNOWN_TIME = timedelta(days=30)
"""How long certificates are valid if the end of the job is not known."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a process shows of itself, and which authority it trusts. All three are PEM texts.

    Attributes
    ----------
    authority : str
        Certificate of the run's authority: a process that shows a certificate signed by it is of this run.
    certificate : str
    key : str
        Secret: it is not part of the identity's printed form.
    """

    authority: str
    certificate: str
    key: str = field(repr=False)

    def context(self, server: bool) -> ssl.SSLContext:
        """For sockets of this process: both sides have to show a certificate of this run.

        Host names are not compared, because the nodes of a run have many addresses, and the authority signs nothing
        but this run's certificates.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.authority)
        with in_memory_file(self.certificate + self.key) as path:
            context.load_cert_chain(path)
        return context


class Authority:
    """Signs the certificates of one run; its key stays in this object.

    Parameters
    ----------
    end : float or None
        When the job ends, in seconds since the epoch; None if it is not known.

    Raises
    ------
    StartError
        If the package that makes certificates is not installed.
    """

    def __init__(self, end: float | None = None) -> None:
        now = datetime.fromtimestamp(time.time(), UTC)
        last = max(now, datetime.fromtimestamp(end, UTC)) if end is not None else now + UNKNOWN_TIME
        self._begins, self._ends = now - CLOCK_DIFFERENCE, last + CLOCK_DIFFERENCE
        try:
            from cryptography import x509
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError as error:
            raise StartError(
                "The connections of this run cannot be encrypted.",
                str(error),
                f"{sys.executable} -m pip install cryptography; or DASK_DASKHPC__PROTOCOL=tcp: then everybody who"
                " reaches a node of the job can run code as you",
            ) from None
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, f"daskhpc run {os.urandom(8).hex()}")])
        own = x509.BasicConstraints(ca=True, path_length=0)
        self._certificate = _text(self._sign(self._name, self._key, own, usage=None))

    def identity(self, role: str, listens: bool = True) -> Identity:
        """A new key with its certificate.

        Parameters
        ----------
        role : str
            Its name.
        listens : bool
            Whether others may connect to its holder: a client's certificate does not serve for a scheduler.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, role)])
        usages = [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH, *[x509.oid.ExtendedKeyUsageOID.SERVER_AUTH] * listens]
        none = x509.BasicConstraints(ca=False, path_length=None)
        certificate = _text(self._sign(name, key, none, x509.ExtendedKeyUsage(usages)))
        form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Identity(
            self._certificate, certificate, key.private_bytes(serialization.Encoding.PEM, *form).decode("ascii")
        )

    def _sign(self, name: Any, key: Any, constraints: Any, usage: Any) -> Any:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        public, authority = key.public_key(), self._key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._begins)
            .not_valid_after(self._ends)
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
        )
        if usage is None:
            signs = dict.fromkeys(("digital_signature", "key_cert_sign", "crl_sign"), True)
            no = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
            builder = builder.add_extension(
                x509.KeyUsage(**signs, **dict.fromkeys((*no, "encipher_only", "decipher_only"), False)), critical=True
            )
        else:
            builder = builder.add_extension(usage, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _text(certificate: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    return str(certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"))
