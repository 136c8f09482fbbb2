"""Whose a client certificate is, for EXTERNAL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256


class CertificateNames:
    """By the certificate's fingerprint when the configuration names an account for it, else by the mail addresses in
    its subjectAltName (RFC 5280 §4.2.1.6). `accounts` maps SHA-256 fingerprints, hexadecimal in lower case without
    colons, to accounts."""

    def __init__(self, accounts: Mapping[str, str]) -> None:
        self._accounts = dict(accounts)

    def __call__(self, certificate: bytes) -> Sequence[str]:
        """`certificate` is DER, and was verified."""
        try:
            found = x509.load_der_x509_certificate(certificate)
            named = self._accounts.get(found.fingerprint(SHA256()).hex())
            if named is not None:
                return (named,)
            alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            return tuple(name for name in alternative.value.get_values_for_type(x509.RFC822Name) if "@" in name)
        except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
            return ()
