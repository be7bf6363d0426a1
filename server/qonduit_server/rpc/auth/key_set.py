# SPDX-License-Identifier: Apache-2.0
"""The keys of an OIDC issuer: fetched by a thread of their own, kept while the key server is away, and rotated."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

import jwt
import structlog

from qonduit_server.errors import Unauthenticated, Unavailable
from qonduit_server.rpc.auth.key_server import KeyServerError

_log = structlog.get_logger("qonduit.auth")
#: Keys older than this are fetched again when a token is verified, so that keys that the issuer withdrew end.
REFRESH_SECONDS: Final = 300.0
#: The shortest time between fetches for unknown keys; forged tokens can cause no more.
MIN_INTERVAL_SECONDS: Final = 10.0
#: The same as long as no key is known.
MIN_FIRST_INTERVAL_SECONDS: Final = 1.0
#: How long a call waits for a fetch, and how many calls wait at once: the threads of calls stay free.
WAIT_SECONDS: Final = 2.0
MAX_WAITING: Final = 4


class KeySet:
    """The keys of one issuer.

    Args:
        fetch: returns the keys by their ids, or raises KeyServerError.
        clock: monotonic seconds.
    """

    def __init__(
        self, fetch: Callable[[], Mapping[str, jwt.PyJWK]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._changed = threading.Condition()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._attempted_at = float("-inf")
        self._failed = False
        self._fetching = False
        self._waiting = 0
        #: Increases when keys are withdrawn or replaced: tokens that were verified before are verified again.
        self.generation = 0

    def refresh(self) -> None:
        """Start to fetch the keys, unless a fetch is running or was attempted a short time ago."""
        with self._changed:
            self._start()

    def key(self, key_id: str) -> jwt.PyJWK:
        """Return a key; wait for a fetch, within bounds, if it is unknown.

        Args:
            key_id: the id of the key; empty for the only key of an issuer.

        Raises:
            Unauthenticated: the issuer has no such key.
            Unavailable: the keys cannot be fetched now.
        """
        with self._changed:
            if (key := self._find(key_id)) is not None:
                if self._clock() - self._fetched_at > REFRESH_SECONDS:
                    self._start()
                return key
            self._start()
            if self._fetching:
                self._wait(key_id)
            if (key := self._find(key_id)) is not None:
                return key
            if self._failed or self._fetching:
                raise Unavailable(
                    "the keys of the token's issuer cannot be read now (oidc_issuer); retry",
                    reason="KEYS_UNAVAILABLE",
                    retry_after=MIN_FIRST_INTERVAL_SECONDS,
                )
            raise Unauthenticated("the token is signed with a key that its issuer does not publish: sign in again")

    def _find(self, key_id: str) -> jwt.PyJWK | None:
        if not key_id and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _start(self) -> None:
        """Start a fetch. Under the lock."""
        interval = MIN_INTERVAL_SECONDS if self._keys else MIN_FIRST_INTERVAL_SECONDS
        if self._fetching or self._clock() - self._attempted_at < interval:
            return
        self._fetching = True
        self._attempted_at = self._clock()
        threading.Thread(target=self._run, name="oidc-key-fetch", daemon=True).start()

    def _wait(self, key_id: str) -> None:
        """Wait for the current fetch, unless too many calls wait already. Under the lock."""
        if self._waiting >= MAX_WAITING:
            return
        self._waiting += 1
        try:
            self._changed.wait_for(lambda: not self._fetching or self._find(key_id) is not None, WAIT_SECONDS)
        finally:
            self._waiting -= 1

    def _run(self) -> None:
        keys: Mapping[str, jwt.PyJWK] = {}
        try:
            keys = self._fetch()
        except KeyServerError as error:
            _log.error("keys not fetched", why=str(error), known=len(self._keys))
        with self._changed:
            self._fetching = False
            self._failed = not keys
            if keys:
                if not _contains(keys, self._keys):
                    self.generation += 1
                if keys.keys() != self._keys.keys():
                    _log.info("keys fetched", keys=sorted(keys))
                self._keys = keys
                self._fetched_at = self._clock()
            self._changed.notify_all()


def _contains(keys: Mapping[str, jwt.PyJWK], earlier: Mapping[str, jwt.PyJWK]) -> bool:
    """Return whether all earlier keys are still there, unchanged."""
    return all(name in keys and keys[name].key == key.key for name, key in earlier.items())
