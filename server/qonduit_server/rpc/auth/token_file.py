# SPDX-License-Identifier: Apache-2.0
"""The file of tokens: hashes, names, roles and expiries of static tokens, and the revoked tokens of other issuers.

`qonduit token` writes it, and servers read it. It contains no token: a token is a random number of 256 bits, so that
even its fast hash cannot be inverted.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from qonduit_server.errors import StartError
from qonduit_server.process.whole_files import replace_file
from qonduit_server.rpc.auth.principal import Principal, Role, is_name, with_lower_roles

#: The start of every static token: scanners find leaked ones by it.
PREFIX: Final = "qdt_"
_TOKEN_BYTES: Final = 32
_VERSION: Final = 1
#: A larger file is refused: about 20,000 tokens.
MAX_FILE_BYTES: Final = 4 * 1024**2
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
#: The length of the ids that `qonduit token list` shows: the first digits of the hash.
ID_DIGITS: Final = 12


@dataclass(frozen=True)
class StoredToken:
    """A static token as the file describes it. Times are UTC in ISO 8601.

    Attributes:
        name: the principal's name.
        role: its role.
        sha256: the hash of the token, in hexadecimal.
        created: when it was created.
        expires: when it expires; empty if it never does.
        revoked: when it was revoked; empty if it is not.
    """

    name: str
    role: str
    sha256: str
    created: str
    expires: str = ""
    revoked: str = ""

    @property
    def id(self) -> str:
        """The id that `qonduit token list` shows."""
        return self.sha256[:ID_DIGITS]

    @property
    def principal(self) -> Principal:
        """The principal of the token."""
        return Principal(self.name, with_lower_roles([Role(self.role)]), "token", self.id)

    def expired(self, now: datetime) -> bool:
        """Return whether the token has expired."""
        return bool(self.expires) and datetime.fromisoformat(self.expires) <= now


@dataclass(frozen=True)
class TokenTable:
    """The content of the file.

    Attributes:
        tokens: the static tokens.
        revoked_jtis: the ids of revoked JSON web tokens, with the time of the revocation.
        revoked_hashes: the SHA-256 of revoked tokens of other issuers, with the time of the revocation.
        denied_names: the names of principals that are refused however they authenticate, with the time of the denial.
    """

    tokens: tuple[StoredToken, ...] = ()
    revoked_jtis: dict[str, str] = field(default_factory=dict)
    revoked_hashes: dict[str, str] = field(default_factory=dict)
    denied_names: dict[str, str] = field(default_factory=dict)

    def revokes(self, sha256: bytes, jti: str) -> bool:
        """Return whether a token of another issuer is revoked."""
        return jti in self.revoked_jtis or (bool(self.revoked_hashes) and sha256.hex() in self.revoked_hashes)


class TokenIndex:
    """Finds static tokens by their hash."""

    def __init__(self, table: TokenTable) -> None:
        self._by_start: dict[bytes, list[tuple[bytes, StoredToken, Principal, float]]] = {}
        for token in table.tokens:
            sha256 = bytes.fromhex(token.sha256)
            ends = datetime.fromisoformat(token.expires).timestamp() if token.expires else float("inf")
            self._by_start.setdefault(sha256[:8], []).append((sha256, token, token.principal, ends))

    def find(self, sha256: bytes) -> tuple[StoredToken, Principal, float] | None:
        """Return the token with a hash, its principal, and when it expires (seconds since 1970)."""
        for known, token, principal, ends in self._by_start.get(sha256[:8], ()):
            if hmac.compare_digest(known, sha256):
                return token, principal, ends
        return None


def read(path: Path) -> TokenTable:
    """Read the file.

    Raises:
        StartError: the file cannot be read, is invalid, or can be changed by other users.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise StartError(
            f"token_file {path} does not exist; create it with `qonduit token create NAME --token-file {path}`"
        ) from None
    except OSError as error:
        raise StartError(f"cannot read token_file {path}: {error.strerror}") from error
    if mode & _WRITABLE_BY_OTHERS:
        raise StartError(f"other users can change token_file {path}, and so become anyone: `chmod go-w {path}`")
    if len(data) > MAX_FILE_BYTES:
        raise StartError(f"token_file {path} must have at most {MAX_FILE_BYTES} bytes")
    try:
        return _parse(json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StartError(f"token_file {path} is invalid ({error}); only `qonduit token` should write it") from error


def create(path: Path, name: str, role: Role, lifetime: timedelta | None) -> tuple[str, StoredToken]:
    """Add a token, and create the file if it does not exist.

    Returns:
        The token, which is stored nowhere, and its description.

    Raises:
        StartError: the file cannot be used.
    """
    if not is_name(name):
        raise StartError(f"the name must be 1 to 128 visible ASCII characters, got {name!r:.200}")
    if path.exists() and name in read(path).denied_names:
        raise StartError(f"{name} is denied: `qonduit token admit {name}` ends this")
    token = PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    now = datetime.now(UTC).replace(microsecond=0)
    stored = StoredToken(
        name=name,
        role=role.value,
        sha256=hashlib.sha256(token.encode()).hexdigest(),
        created=now.isoformat(),
        expires=(now + lifetime).isoformat() if lifetime is not None else "",
    )
    with _changing(path, may_create=True) as change:
        change(lambda table: replace(table, tokens=(*table.tokens, stored)))
    return token, stored


def deny(path: Path, name: str) -> list[str]:
    """Revoke all static tokens of a name, and refuse the name however it authenticates, also with later tokens.

    Returns:
        The ids of the revoked tokens.

    Raises:
        StartError: the file cannot be used, or the name is invalid.
    """
    if not is_name(name):
        raise StartError(f"the name must be 1 to 128 visible ASCII characters, got {name!r:.200}")
    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    revoked: list[str] = []

    def apply(table: TokenTable) -> TokenTable:
        named = [token for token in table.tokens if token.name == name and not token.revoked]
        revoked.extend(token.id for token in named)
        tokens = tuple(replace(token, revoked=now) if token in named else token for token in table.tokens)
        return replace(table, tokens=tokens, denied_names={name: now} | table.denied_names)

    with _changing(path, may_create=True) as change:
        change(apply)
    return revoked


def admit(path: Path, name: str) -> bool:
    """End the denial of a name; its revoked tokens stay revoked. Return whether it was denied."""
    denied = name in read(path).denied_names
    if denied:
        with _changing(path, may_create=False) as change:
            change(
                lambda table: replace(
                    table, denied_names={each: at for each, at in table.denied_names.items() if each != name}
                )
            )
    return denied


def revoke(path: Path, *, start: str = "", name: str = "", jti: str = "") -> list[str]:
    """Revoke tokens; servers that use the file refuse them from their next call on.

    Args:
        path: the file.
        start: the id of a static token, or the SHA-256 of any token, in hexadecimal.
        name: a name, whose static tokens are all revoked.
        jti: the id of a JSON web token (claim `jti`).

    Returns:
        The ids of the revoked tokens; empty if there is no such token.
    """
    if start and (len(start) < ID_DIGITS or set(start) - set("0123456789abcdef")):
        raise StartError(f"the id of a token must be {ID_DIGITS} to 64 hexadecimal digits, got {start!r:.100}")
    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    revoked: list[str] = []

    def apply(table: TokenTable) -> TokenTable:
        tokens = []
        for token in table.tokens:
            if not token.revoked and ((start and token.sha256.startswith(start)) or (name and token.name == name)):
                token = replace(token, revoked=now)
                revoked.append(token.id)
            tokens.append(token)
        jtis, hashes = dict(table.revoked_jtis), dict(table.revoked_hashes)
        if jti:
            jtis[jti] = now
            revoked.append(jti)
        known = any(token.sha256.startswith(start) for token in table.tokens)
        if len(start) == 2 * hashlib.sha256().digest_size and not known:
            hashes[start] = now
            revoked.append(start[:ID_DIGITS])
        return replace(table, tokens=tuple(tokens), revoked_jtis=jtis, revoked_hashes=hashes)

    with _changing(path, may_create=bool(jti or len(start) > ID_DIGITS)) as change:
        change(apply)
    return revoked


@contextmanager
def _changing(path: Path, *, may_create: bool) -> Iterator[Callable[[Callable[[TokenTable], TokenTable]], None]]:
    """Lock the file; yield a function that replaces its content."""
    try:
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"cannot write token_file {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = TokenTable() if may_create and not path.exists() else read(path)
        yield lambda change: _write(path, change(before))
    finally:
        os.close(lock)


def _write(path: Path, table: TokenTable) -> None:
    text = json.dumps({"version": _VERSION, **asdict(table)}, indent=1) + "\n"
    try:
        replace_file(path, text)
    except OSError as error:
        raise StartError(f"cannot write token_file {path}: {error.strerror}") from error


def _parse(content: dict[str, Any]) -> TokenTable:
    if content["version"] != _VERSION:
        raise ValueError(f"version {content['version']!r:.20}, this server reads version {_VERSION}")
    tokens = tuple(StoredToken(**token) for token in content["tokens"])
    for token in tokens:
        _check(token)
    jtis, hashes = dict(content["revoked_jtis"]), dict(content["revoked_hashes"])
    # Files of earlier versions deny no names.
    denied = dict(content.get("denied_names", {}))
    for text in (*jtis, *hashes, *denied):
        if not isinstance(text, str):
            raise ValueError("ids of revoked tokens and denied names must be text")
    return TokenTable(tokens, jtis, hashes, denied)


def _check(token: StoredToken) -> None:
    if not is_name(token.name):
        raise ValueError("a name must be 1 to 128 visible ASCII characters")
    if len(bytes.fromhex(token.sha256)) != hashlib.sha256().digest_size:
        raise ValueError(f"the SHA-256 of a token of {token.name} has the wrong length")
    Role(token.role)
    for time in (token.created, token.expires, token.revoked):
        if time and datetime.fromisoformat(time).tzinfo is None:
            raise ValueError(f"a time of a token of {token.name} has no zone")
