# SPDX-License-Identifier: Apache-2.0
"""The versions of packages that the workers of all servers have, so that each server knows which jobs can run.

Each server announces the environments of its workers in memory and, on PostgreSQL, to the other servers by NOTIFY. An
announcement is valid for seconds and is repeated. Nothing is stored: the environments of a lost server expire.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from qonduit_server.store.notification_bus import Notification
from qonduit_server.version_requirements import Environment, Versions

_CHANNEL: Final = "qonduit_environments"
#: The environments of a provider that are known of one server, and of all of them.
MAX_ENVIRONMENTS: Final = 16
_MAX_SERVERS: Final = 256
#: PostgreSQL limits a payload to 8000 bytes.
_PAYLOAD_BYTES: Final = 7000

_Environments = Mapping[str, Sequence[Versions]]


class Environments:
    """The environments of this server and of the other servers of the database. Thread-safe.

    Args:
        clock: a monotonic clock in seconds.
    """

    channels: Final = (_CHANNEL,)

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = uuid.uuid4().hex
        self._clock = clock
        self._lock = threading.Lock()
        self._own: _Environments = {}
        #: By server: the end of its announcement, its number, and its environments.
        self._others: dict[str, tuple[float, int, dict[str, list[Versions]]]] = {}
        self._numbers = itertools.count(1)
        #: Whether this server has announced itself. Its first announcement requests those of the others.
        self._announced = False

    def announce(self, environments: Mapping[str, Sequence[Environment]], seconds: float) -> Sequence[str]:
        """Replace the environments of this server; return the payloads for the other servers.

        Args:
            environments: by provider name.
            seconds: how long the other servers keep them.
        """
        own = {name: _distinct(each.versions for each in found) for name, found in environments.items()}
        with self._lock:
            self._own = own
            asks, self._announced = not self._announced, True
            number = next(self._numbers)
        every = [(name, versions) for name, found in own.items() for versions in found] or [("", {})]
        payloads = (
            json.dumps([self._server, number, seconds, asks, name, dict(versions)], separators=(",", ":"))
            for name, versions in every
        )
        return [each for each in payloads if len(each.encode()) <= _PAYLOAD_BYTES]

    def receive(self, channel: str, payload: str) -> Notification | None:
        """Add an environment of another server. Raises ValueError for a payload of another program."""
        server, number, seconds, asks, provider, versions = json.loads(payload)
        if server == self._server:
            return None
        found = {str(name): str(version) for name, version in dict(versions).items()}
        now = self._clock()
        with self._lock:
            _, known_number, known = self._others.get(server, (0.0, 0, {}))
            if number != known_number:
                known = {}
            if provider and len(of_provider := known.setdefault(str(provider), [])) < MAX_ENVIRONMENTS:
                of_provider.append(found)
            self._others = {name: each for name, each in self._others.items() if each[0] > now}
            if len(self._others) < _MAX_SERVERS or server in self._others:
                self._others[str(server)] = now + float(seconds), int(number), known
        return Notification(environments_wanted=True) if asks else None

    def of(self, provider: str) -> list[Versions]:
        """Return the different environments of the living workers of a provider, at most `MAX_ENVIRONMENTS`."""
        now = self._clock()
        with self._lock:
            found = [
                *self._own.get(provider, ()),
                *(each for end, _, known in self._others.values() if end > now for each in known.get(provider, ())),
            ]
        return _distinct(found)


def _distinct(environments: Iterable[Versions]) -> list[Versions]:
    found = {tuple(sorted(versions.items())): versions for versions in environments if versions}
    return [found[key] for key in sorted(found)[:MAX_ENVIRONMENTS]]
