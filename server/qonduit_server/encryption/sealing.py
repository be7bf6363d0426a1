# SPDX-License-Identifier: Apache-2.0
"""Envelope encryption: each secret is encrypted with a random key of its own, which a key of the server encrypts.

Both encryptions are AES-256-GCM. Their associated data bind a secret to its row, owner and provider, so that a row that
is copied to another owner cannot be decrypted. A rotation of the server's keys encrypts only the small keys again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from qonduit_server.encryption.key_ring import KEY_BYTES, Key, KeyRing
from qonduit_server.errors import FailedPrecondition

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
#: The encrypted key of a secret, with its nonce.
_WRAPPED_BYTES: Final = _NONCE_BYTES + KEY_BYTES + _TAG_BYTES
_HASH_LABEL: Final = b"qonduit hash of a credential in a request, version 1"


class Binding(NamedTuple):
    """The row that a secret belongs to.

    Attributes:
        table: the name of its table.
        id: of the row.
        owner: the owner of the row.
        provider: the name of the provider that receives the secret.
    """

    table: str
    id: int
    owner: str
    provider: str

    def data(self, purpose: bytes) -> bytes:
        """Return the associated data of an encryption; different bindings have different data."""
        parts = (purpose, self.table.encode(), str(self.id).encode(), self.owner.encode(), self.provider.encode())
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class Sealed(NamedTuple):
    """An encrypted secret, and the id of the key that encrypts its own key."""

    key_id: str
    data: bytes


class Unreadable(Exception):
    """An encrypted secret cannot be decrypted. The message names the cause and no secret."""


class Sealer:
    """Encrypts and decrypts secrets. Thread-safe.

    Args:
        ring: the keys.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    @property
    def current_key(self) -> str:
        """The id of the key that encrypts; empty without keys."""
        keys = self._ring.keys()
        return keys[0].id if keys else ""

    def has_key(self, key_id: str) -> bool:
        """Return whether the server has a key."""
        return self._ring.find(key_id) is not None

    def require_key(self) -> None:
        """Raise FailedPrecondition if the server has no key."""
        if not self.current_key:
            raise FailedPrecondition(
                "this server stores no credentials, because it has no key to encrypt them: the operator must set "
                "credential_key_file (`qonduit credential-key create` makes one)",
                subject="credential_key_file",
                kind="CREDENTIALS",
                reason="CREDENTIALS_DISABLED",
            )

    def seal(self, secret: str, binding: Binding) -> Sealed:
        """Encrypt a secret. Raises FailedPrecondition without a key."""
        self.require_key()
        key, own = self._ring.keys()[0], secrets.token_bytes(KEY_BYTES)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        encrypted = _cipher(own).encrypt(nonce, secret.encode(), binding.data(b"secret"))
        return Sealed(key.id, _VERSION + _wrap(key, own, binding) + nonce + encrypted)

    def open(self, sealed: Sealed, binding: Binding) -> str:
        """Decrypt a secret. Raises Unreadable."""
        own, rest = self._unwrap(sealed, binding)
        nonce, encrypted = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        return _decrypted(own, nonce, encrypted, binding.data(b"secret")).decode()

    def rewrap(self, sealed: Sealed, binding: Binding) -> Sealed:
        """Encrypt the key of a secret with the first key of the server. Raises Unreadable and FailedPrecondition."""
        self.require_key()
        key = self._ring.keys()[0]
        own, rest = self._unwrap(sealed, binding)
        return Sealed(key.id, _VERSION + _wrap(key, own, binding) + rest)

    def hashes(self, secret: str) -> Iterator[str]:
        """Yield the keyed hash of a secret by each key, the first key first.

        Two requests with equal hashes have the same secret. The keys of the hash are derived from those of the server,
        so that a guess cannot be tested without them.
        """
        keys = self._ring.keys()
        for key in keys:
            derived = hmac.digest(key.secret, _HASH_LABEL, hashlib.sha256)
            yield f"{key.id} {hmac.new(derived, secret.encode(), hashlib.sha256).hexdigest()}"

    def _unwrap(self, sealed: Sealed, binding: Binding) -> tuple[bytes, bytes]:
        """Return the key of a secret, and the encrypted secret with its nonce."""
        key = self._ring.find(sealed.key_id)
        if key is None:
            raise Unreadable(f"the server does not have the key {sealed.key_id} (credential_key_file)")
        start = len(_VERSION)
        if not sealed.data.startswith(_VERSION) or len(sealed.data) < start + _WRAPPED_BYTES + _NONCE_BYTES:
            raise Unreadable("the stored data have an unknown form")
        wrapped = sealed.data[start : start + _WRAPPED_BYTES]
        nonce, encrypted = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        own = _decrypted(key.secret, nonce, encrypted, binding.data(b"key"))
        return own, sealed.data[start + _WRAPPED_BYTES :]


def _wrap(key: Key, own: bytes, binding: Binding) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + _cipher(key.secret).encrypt(nonce, own, binding.data(b"key"))


def _decrypted(key: bytes, nonce: bytes, encrypted: bytes, data: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return _cipher(key).decrypt(nonce, encrypted, data)
    except InvalidTag:
        raise Unreadable("the stored data were changed, or belong to another owner, row, provider or key") from None


def _cipher(key: bytes) -> AESGCM:
    # Imported late: a server without credentials does not load it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
