# SPDX-License-Identifier: Apache-2.0
"""Verify static tokens, and follow the changes of their file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from qonduit_server.errors import StartError, Unauthenticated
from qonduit_server.process.file_stamp import stamp_of
from qonduit_server.rpc.auth import token_file
from qonduit_server.rpc.auth.principal import Principal
from qonduit_server.rpc.auth.token_file import TokenIndex, TokenTable

_log = structlog.get_logger("qonduit.auth")
#: The shortest time between two looks at the file.
CHECK_SECONDS: Final = 0.02


class TokenRegistry:
    """The current content of the file of tokens.

    Calls look at the file's status, so that a change is effective within `CHECK_SECONDS`. They do not look more often:
    a system call releases Python's lock, and the thread that receives calls would wait for it again each time.
    While the file cannot be read or is invalid, the previous content stays valid, and the log contains an error.

    Args:
        path: the file.

    Raises:
        StartError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._next_check = 0.0
        self._stamp = stamp_of(self._path)
        self._table = token_file.read(path)
        self._index = TokenIndex(self._table)

    def table(self) -> TokenTable:
        """Return the current content."""
        self._refresh()
        return self._table

    def index(self) -> TokenIndex:
        """Return the index of the current content."""
        self._refresh()
        return self._index

    def _refresh(self) -> None:
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + CHECK_SECONDS
        if stamp_of(self._path) == self._stamp:
            return
        with self._lock:
            # Taken before the read: a change during the read has another status, and is read by the next call.
            if (stamp := stamp_of(self._path)) == self._stamp:
                return
            try:
                table = token_file.read(self._path)
                self._table, self._index = table, TokenIndex(table)
                _log.info("tokens reloaded", tokens=len(table.tokens))
            except StartError as error:
                _log.error("tokens not reloaded", why=str(error))
            # Set last, so that calls during the read wait for it.
            self._stamp = stamp


class StaticTokens:
    """Verifies the tokens that `qonduit token create` made.

    Args:
        registry: the content of their file.
        clock: the seconds since 1970.
    """

    def __init__(self, registry: TokenRegistry, clock: Callable[[], float] = time.time) -> None:
        self._registry = registry
        self._clock = clock

    def accepts(self, token: str) -> bool:
        """Return whether a token begins as static tokens do."""
        return token.startswith(token_file.PREFIX)

    def reject_early(self, token: str, sha256: bytes) -> Unauthenticated | None:
        """Return the error of an invalid token."""
        try:
            self.principal(token, sha256)
        except Unauthenticated as error:
            return error
        return None

    def principal(self, token: str, sha256: bytes) -> Principal:
        """Return the principal of a token. Raises Unauthenticated."""
        found = self._registry.index().find(sha256)
        if found is None:
            raise Unauthenticated("the token is unknown to this server: ask the operator for a new one")
        stored, principal, ends = found
        if stored.revoked:
            raise Unauthenticated(
                f"the token was revoked at {stored.revoked}: ask the operator for a new one", reason="TOKEN_REVOKED"
            )
        if self._clock() >= ends:
            raise Unauthenticated(
                f"the token expired at {stored.expires}: ask the operator for a new one", reason="TOKEN_EXPIRED"
            )
        return principal
