"""Whether a server's certificates are what TLSA records say (RFC 6698, RFC 7671, RFC 7672 §3)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import crypto

from mailstack.handover import TlsaRecord

DANE_TA, DANE_EE = 2, 3


class NoMatch(Exception):
    """The certificates are others; the message says in one line how."""


def matches(record: TlsaRecord, certificate: x509.Certificate) -> bool:
    """Whether the record is of this certificate (RFC 6698 §2.1.2-4)."""
    if record.selector == 0:
        octets = certificate.public_bytes(Encoding.DER)
    elif record.selector == 1:
        octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        return False
    if record.matching_type == 0:
        return octets == record.data
    algorithm = {1: "sha256", 2: "sha512"}.get(record.matching_type)
    return algorithm is not None and hashlib.new(algorithm, octets).digest() == record.data


def check(records: Sequence[TlsaRecord], chain: Sequence[x509.Certificate]) -> bool:
    """`chain` is what the server sends, its own certificate first. True: that is what a record of usage 3 says, and
    nothing else matters, neither its names nor its time (RFC 7672 §3.1.1). False: an authority of usage 2 vouches
    for it, and one of the names has to be right (§3.1.2). Raises: NoMatch."""
    if not chain:
        raise NoMatch("the server has no certificate")
    leaf, *others = chain
    if any(record.usage == DANE_EE and matches(record, leaf) for record in records):
        return True
    anchors = _anchors(records, others)
    if not anchors:
        raise NoMatch("no TLSA record is of its certificates")
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # an anchor need not be a root
    for anchor in anchors:
        store.add_cert(crypto.X509.from_cryptography(anchor))
    between = [crypto.X509.from_cryptography(certificate) for certificate in others]
    try:
        crypto.X509StoreContext(store, crypto.X509.from_cryptography(leaf), between).verify_certificate()
    except crypto.X509StoreContextError as error:
        raise NoMatch(f"the authority of the TLSA record does not vouch for it: {error}") from error
    return False


def _anchors(records: Sequence[TlsaRecord], others: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The authorities among the certificates that are sent, and those that records have as a whole. A bare key in a
    record (2 1 0) is found only if its certificate is sent, as RFC 7671 §5.2.3 wants."""
    found = []
    for record in records:
        if record.usage != DANE_TA:
            continue
        found += [certificate for certificate in others if matches(record, certificate)]
        if record.selector == 0 and record.matching_type == 0:
            try:
                found.append(x509.load_der_x509_certificate(record.data))
            except ValueError:
                continue  # no certificate, so that none matches it
    return found
