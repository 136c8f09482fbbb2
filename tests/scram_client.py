"""The client's side of SCRAM (RFC 5802 §3), written from the RFC without anything of the server."""

from __future__ import annotations

import base64
import hashlib
import hmac


class ScramClient:
    """`binding` is (name, data) of a channel binding, for a -PLUS mechanism; `flag` is "n" or "y" without one."""

    def __init__(
        self, mechanism: str, user: str, password: str, *, binding: tuple[str, bytes] | None = None,
        flag: str = "n", authzid: str = "", nonce: str = "fyko+d2lbbFgONRv9qkxdawL",
    ) -> None:  # fmt: skip
        self.hash = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}[mechanism.removesuffix("-PLUS")]
        self.password = password
        self.nonce = nonce
        self.header = f"{f'p={binding[0]}' if binding else flag},{f'a={authzid}' if authzid else ''},".encode()
        self.bound = self.header + (binding[1] if binding else b"")
        quoted = user.replace("=", "=3D").replace(",", "=2C")
        self.bare = f"n={quoted},r={nonce}".encode()
        self.signature = b""
        self.other_nonce = b""
        """Says this one at the end, with a proof that goes with it."""

    def first(self) -> bytes:
        return self.header + self.bare

    def final(self, server_first: bytes) -> bytes:
        """The client's final message."""
        fields = dict(part.split(b"=", 1) for part in server_first.split(b","))
        assert fields[b"r"].startswith(self.nonce.encode()) and len(fields[b"r"]) > len(self.nonce) + 10
        salted = hashlib.pbkdf2_hmac(
            self.hash, self.password.encode(), base64.b64decode(fields[b"s"]), int(fields[b"i"])
        )
        without_proof = b"c=%s,r=%s" % (base64.b64encode(self.bound), self.other_nonce or fields[b"r"])
        message = b",".join((self.bare, server_first, without_proof))
        client_key = hmac.new(salted, b"Client Key", self.hash).digest()
        stored = hashlib.new(self.hash, client_key).digest()
        mask = hmac.new(stored, message, self.hash).digest()
        server_key = hmac.new(salted, b"Server Key", self.hash).digest()
        self.signature = base64.b64encode(hmac.new(server_key, message, self.hash).digest())
        proof = bytes(a ^ b for a, b in zip(client_key, mask, strict=True))
        return without_proof + b",p=" + base64.b64encode(proof)

    def trusts(self, server_final: bytes) -> bool:
        """Whether the server has proved to know the password, too."""
        return server_final == b"v=" + self.signature
