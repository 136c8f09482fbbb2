"""The conversation with an authority (RFC 8555), by the package `acme`, which signs, counts nonces and reads errors.
Blocking: an order takes seconds to minutes. What documents say is looked at before it is believed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import requests
from acme import errors, messages
from acme.client import ClientNetwork, ClientV2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from josepy.b64 import b64encode
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from josepy.util import ComparableECKey

from mailstack import __version__
from mailstack.acme.challenges import Challenges
from mailstack.acme.keeping import Failed, Issued, Renewal, Stopped, Wanted
from mailstack.acme.times import Window
from mailstack.config.acme import Challenge, KeyType

ANSWER_TIME = 30
"""Seconds that the authority has for each answer."""
ORDER_TIME = 300.0
"""Seconds for a whole order; the authority may look at each host several times meanwhile."""
POLL_FIRST, POLL_MOST = 0.1, 10.0
"""Seconds between two looks at what became of an order; more if the authority asks for it, up to a minute."""
POLL_ASKED_MOST = 60.0
NONCE_ATTEMPTS = 5
MAX_CHAIN = 256 * 1024
"""Octets of a chain of certificates."""


class _Payload:
    """A JSON document in the form in which the network signs it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def json_dumps(self, **options: Any) -> str:
        import json

        return json.dumps(self._document, **options)


@dataclass(slots=True)
class Authority:
    """One authority, and our account with it. Implements `keeping.Authority`."""

    challenges: Challenges
    account_key: bytes
    """As `new_account_key` made it."""
    wait: Callable[[float], bool]
    """Waits so many seconds; True: the process ends."""

    # --- what keeping.py asks

    def renewal(self, wanted: Wanted, ari: str) -> Renewal:
        with self._conversation(wanted) as client:
            base = client.renewal_info()
            if base is None or not ari:
                return Renewal(None, None)
            answer = client.net.get(f"{base.rstrip('/')}/{ari}")
            document = _document(answer)
            window = document.get("suggestedWindow")
            if not isinstance(window, dict):
                raise Failed("the authority's answer about renewal has no suggestedWindow")
            start, end = _time(window.get("start")), _time(window.get("end"))
            if end <= start:
                raise Failed("the authority's window for the renewal ends before it begins")
            explanation = document.get("explanationURL")
            text = explanation if isinstance(explanation, str) else ""
            return Renewal(Window(start, end), retry_after(answer), text[:500])

    def obtain(self, wanted: Wanted, known_contact: str | None, replaces: str) -> Issued:
        with self._conversation(wanted) as client:
            client.log_in(wanted, known_contact)
            key = new_certificate_key(wanted.key)
            order, where = client.order(wanted.hosts, replaces)
            for url in _texts(order, "authorizations"):
                self._authorize(client, wanted, url)
            chain = client.finalize(order, where, request_for(key, wanted.hosts))
            check(chain, key, wanted.hosts)
            return Issued(chain, _pem(key))

    def revoke(self, wanted: Wanted, chain: bytes, reason: int) -> None:
        with self._conversation(wanted) as client:
            client.log_in(wanted, None)
            client.client.revoke(x509.load_pem_x509_certificates(chain)[0], reason)

    # --- inside

    @contextmanager
    def _conversation(self, wanted: Wanted) -> Iterator[_Conversation]:
        """Everything that can go wrong with it becomes Failed."""
        conversation = _Conversation(wanted, self.account_key, self.wait)
        try:
            conversation.open(wanted.directory)
            yield conversation
        except messages.Error as error:
            raise Failed(_said(error), conversation.asked_to_wait) from error
        except requests.RequestException as error:
            raise Failed(f"{wanted.directory}: {_reason(error)}") from error
        except (errors.Error, JoseError) as error:
            text = f"the authority's answer cannot be used: {_shortly(error)}"
            raise Failed(text, conversation.asked_to_wait) from error
        except (KeyError, ValueError, TypeError, AttributeError) as error:  # the package takes documents as they come
            raise Failed(f"the authority's answer cannot be used: {type(error).__name__} {_shortly(error)}") from error
        finally:
            conversation.net.session.close()

    def _authorize(self, client: _Conversation, wanted: Wanted, url: str) -> None:
        """Show that one host is ours (RFC 8555 §7.5)."""
        authorization, _ = client.read(url)
        status = _text(authorization, "status")
        if status == "valid":
            return
        host = _text(_dict(authorization.get("identifier")), "value").lower()
        if host not in wanted.hosts:
            raise Failed(f"the authority asks about {host[:100]}, which was not in the order")
        found = [each for each in authorization.get("challenges", ()) if each.get("type") == wanted.challenge.value]
        if status != "pending" or not found:
            offered = ", ".join(str(each.get("type")) for each in authorization.get("challenges", ()))
            raise Failed(f"{host}: {status}, and no {wanted.challenge.value} among the challenges: {offered[:200]}")
        token = _text(found[0], "token")
        self._prove(wanted.challenge, token, host, client.key_authorization(token))
        try:
            client.post(_text(found[0], "url"), {})
            client.until_decided(url, lambda document: _decision(document, host, wanted.challenge))
        finally:
            self.challenges.remove(token, host)

    def _prove(self, challenge: Challenge, token: str, host: str, authorization: str) -> None:
        if challenge is Challenge.HTTP:
            self.challenges.put_token(token, authorization)
        else:
            self.challenges.put_certificate(host, authorization)


class _Network(ClientNetwork):
    """The package tries once more when the authority does not like a nonce; a busy one does not like two (RFC 8555
    §6.5)."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        for _ in range(NONCE_ATTEMPTS):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


class _Conversation:
    """A client of the package, and what it does not do as we want it."""

    def __init__(self, wanted: Wanted, account_key: bytes, wait: Callable[[float], bool]) -> None:
        key: Any = load_pem_private_key(account_key, password=None)
        self._jwk = JWKEC(key=ComparableECKey(key))
        self._wait = wait
        self._deadline = time.monotonic() + ORDER_TIME
        self.asked_to_wait: float | None = None
        self.net = _Network(
            self._jwk, alg=ES256, user_agent=f"mailstack/{__version__}", timeout=ANSWER_TIME,
            verify_ssl=_verified_by(wanted.ca),
        )  # fmt: skip
        self.net.session.hooks["response"].append(self._look_at)

    def open(self, directory: str) -> None:
        """Ask for the directory, before anything else (RFC 8555 §7.1.1)."""
        self.client = ClientV2(ClientV2.get_directory(directory, self.net), self.net)

    def _look_at(self, response: requests.Response, *_: Any, **__: Any) -> None:
        if response.status_code in (429, 503):
            self.asked_to_wait = retry_after(response)

    def log_in(self, wanted: Wanted, known_contact: str | None) -> None:
        """Find our account, or make it (RFC 8555 §7.3)."""
        if self.client.external_account_required():
            raise Failed("this authority wants accounts to be bound to others (EAB), which mailstack does not do")
        body = messages.NewRegistration.from_data(
            email=wanted.email or None, terms_of_service_agreed=True
        )  # fmt: skip
        try:
            self.client.new_account(body)
        except errors.ConflictError as known:
            resource = messages.RegistrationResource(body=messages.Registration(), uri=known.location)
            self.net.account = resource
            if known_contact is not None and known_contact != wanted.email:
                contact = [f"mailto:{wanted.email}"] if wanted.email else []
                self.post(known.location, {"contact": contact})

    def renewal_info(self) -> str | None:
        """Where the authority says when to renew (RFC 9773 §3)."""
        try:
            url = self.client.directory["renewalInfo"]
        except KeyError:
            return None
        return url if isinstance(url, str) else None

    def order(self, hosts: tuple[str, ...], replaces: str) -> tuple[dict[str, Any], str]:
        """A new order and its URL. `replaces` is the certificate that it renews (RFC 9773 §5), if anything."""
        document: dict[str, Any] = {"identifiers": [{"type": "dns", "value": host} for host in hosts]}
        url = self.client.directory["newOrder"]
        knows = self.renewal_info() is not None
        try:
            response = self.post(url, document | ({"replaces": replaces} if replaces and knows else {}))
        except (messages.Error, errors.ConflictError):
            if not (replaces and knows) or self.asked_to_wait is not None:
                raise
            response = self.post(url, document)  # it is replaced already, or the authority does not know it
        return _document(response), _location(response)

    def finalize(self, order: dict[str, Any], where: str, request: bytes) -> bytes:
        """The chain for a certificate request in DER (RFC 8555 §7.4)."""
        order = self.until_decided(where, _ready_or_failed)
        if order["status"] == "ready":
            self.post(_text(order, "finalize"), {"csr": b64encode(request).decode("ascii")})
            order = self.until_decided(where, _valid_or_failed)
        response = self.net.post(_text(order, "certificate"), None, new_nonce_url=self._nonces)
        if len(response.content) > MAX_CHAIN:
            raise Failed("the authority's chain of certificates is too long")
        return response.content

    def read(self, url: str) -> tuple[dict[str, Any], requests.Response]:
        """POST-as-GET (RFC 8555 §6.3)."""
        response = self.net.post(url, None, new_nonce_url=self._nonces)
        return _document(response), response

    def post(self, url: str, document: Mapping[str, Any]) -> requests.Response:
        payload: Any = _Payload(document)
        return self.net.post(url, payload, new_nonce_url=self._nonces)

    def key_authorization(self, token: str) -> str:
        """RFC 8555 §8.1."""
        return f"{token}.{b64encode(self._jwk.thumbprint()).decode('ascii')}"

    def until_decided(self, url: str, decided: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Look again and again. Raises: Failed, Stopped."""
        pause = POLL_FIRST
        while True:
            document, response = self.read(url)
            if decided(document):
                return document
            asked = min(retry_after(response) or 0.0, POLL_ASKED_MOST)
            seconds = max(pause, asked)
            if time.monotonic() + seconds > self._deadline:
                raise Failed(f"the authority did not decide within {ORDER_TIME:.0f} s")
            if self._wait(seconds):
                raise Stopped
            pause = min(pause * 2, POLL_MOST)

    @property
    def _nonces(self) -> str:
        url: str = self.client.directory["newNonce"]
        return url


def _decision(authorization: dict[str, Any], host: str, challenge: Challenge) -> bool:
    status = _text(authorization, "status")
    if status in ("pending", "processing"):
        return False
    if status == "valid":
        return True
    for each in authorization.get("challenges", ()):
        if each.get("type") == challenge.value and isinstance(each.get("error"), dict):
            raise Failed(f"{host}: {challenge.value}: {str(each['error'].get('detail'))[:500]}")
    raise Failed(f"{host}: the authority's authorization is {status[:50]}")


def _ready_or_failed(order: dict[str, Any]) -> bool:
    _not_failed(order)
    return order["status"] in ("ready", "valid")


def _valid_or_failed(order: dict[str, Any]) -> bool:
    _not_failed(order)
    return bool(order["status"] == "valid")


def _not_failed(order: dict[str, Any]) -> None:
    status = _text(order, "status")
    if status in ("pending", "ready", "processing", "valid"):
        return
    error = order.get("error")
    detail = error.get("detail") if isinstance(error, dict) else None
    raise Failed(f"the authority gave the order up ({status[:50]}): {str(detail or 'it does not say why')[:500]}")


def check(chain: bytes, key: Any, hosts: tuple[str, ...]) -> None:
    """That a chain is what was ordered. Raises: Failed."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise Failed(f"what the authority sent is no certificate for hosts: {_shortly(error)}") from error
    names = {name.lower() for name in extension.value.get_values_for_type(x509.DNSName)}
    if missing := [host for host in hosts if host not in names]:
        raise Failed(f"the authority's certificate lacks {', '.join(missing)[:300]}")
    if leaf.public_key() != key.public_key():
        raise Failed("the authority's certificate is for another key")


def new_account_key() -> bytes:
    """As PEM."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def new_certificate_key(kind: KeyType) -> Any:
    if kind is KeyType.RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def request_for(key: Any, hosts: tuple[str, ...]) -> bytes:
    """A certificate request in DER; the names are in the extension only, a common name is no longer asked for."""
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def retry_after(response: requests.Response) -> float | None:
    """Seconds, of a number or a date (RFC 9110 §10.2.3); None, if it does not say so."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _verified_by(ca: Path | None) -> Any:
    return True if ca is None else str(ca)


def _pem(key: Any) -> bytes:
    octets: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return octets


def _document(response: requests.Response) -> dict[str, Any]:
    try:
        return _dict(response.json())
    except ValueError as error:
        raise Failed(f"the authority's answer is not JSON: {response.text[:100]!r}") from error


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Failed("the authority's answer is not what it should be: no JSON object")
    return value


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise Failed(f"the authority's answer is not what it should be: no {key}")
    return value


def _texts(document: Mapping[str, Any], key: str) -> list[str]:
    value = document.get(key)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Failed(f"the authority's answer is not what it should be: no {key}")
    return value


def _location(response: requests.Response) -> str:
    return _text(response.headers, "Location")


def _time(value: object) -> float:
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except (ValueError, OverflowError):
        raise Failed(f"the authority's time {str(value)[:50]!r} is none") from None


def _said(error: messages.Error) -> str:
    """The authority's own words."""
    kind = str(error.typ).rsplit(":", maxsplit=1)[-1]
    details = [str(error.detail or error.title or "it does not say why")]
    details += [str(inner.detail) for inner in error.subproblems or ()]
    return f"the authority refused ({kind[:50]}): {'; '.join(details)[:600]}"


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return f"its certificate is not trusted, or TLS failed ({_shortly(error)})"
    if isinstance(error, requests.Timeout):
        return f"no answer within {ANSWER_TIME} s"
    return f"cannot be reached ({_shortly(error)})"


def _shortly(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
