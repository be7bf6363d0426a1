# SPDX-License-Identifier: Apache-2.0
"""The catalogue in memory: the providers and devices of a database, and what this server offers of them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from weakref import WeakKeyDictionary

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.store import catalogue_snapshot, pauses, server_offers
from qonduit_server.store.catalogue_snapshot import Snapshot
from qonduit_server.store.database import Database
from qonduit_server.store.device_rules import DeviceRules
from qonduit_server.store.notification_bus import Notification

#: How long other servers show the devices of a server that does not renew its offers.
DEFAULT_LEASE: Final = timedelta(seconds=30)


class CatalogueCache:
    """Caches a database's providers and devices until a sync, on this or another server, changes them."""

    def __init__(self) -> None:
        #: The name of this server's offers.
        self.server: Final = uuid.uuid4().hex
        #: How long these offers are valid without a renewal.
        self.lease = DEFAULT_LEASE
        #: Whether the database lacks the latest offers, because it was unavailable.
        self.must_store = False
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._changes = 0
        #: What the operator decides.
        self.rules = DeviceRules()
        #: What this server offers, by the name of the provider; None before the first sync.
        self._own: dict[str, ProviderDescription] | None = None

    def note(self, notification: Notification) -> None:
        """Forget the snapshot if the catalogue has changed."""
        if notification.catalogue:
            self._forget()

    def offer(self, descriptions: Sequence[ProviderDescription], *, others: bool) -> None:
        """Replace what this server offers; with `others`, keep its other providers."""
        new = {each.provider.name: each for each in descriptions}
        with self._lock:
            self._own = {**(self._own or {}), **new} if others else new
        self._forget()

    def own(self) -> list[ProviderDescription]:
        """Return what this server offers, by the rules of its operator."""
        with self._lock:
            described = list((self._own or {}).values())
        return [self.rules.applied_to(each) for each in described]

    def adopt(self, rules: DeviceRules) -> None:
        """Adopt other rules."""
        self.rules = rules
        self._forget()

    def _forget(self) -> None:
        with self._lock:
            self._changes += 1
            self._snapshot = None

    def get(self, db: Database) -> Snapshot:
        """Return the catalogue, from memory if it has not changed."""
        snapshot = self._snapshot
        if snapshot is None:
            changes = self._changes
            with db.read() as connection:
                snapshot = catalogue_snapshot.read(connection)
                catalogue_snapshot.add_probes(snapshot, connection)
                catalogue_snapshot.add_pauses(snapshot, pauses.for_callers(connection))
                offers = server_offers.descriptions(connection) if db.kind == "postgresql" else self.own()
                catalogue_snapshot.add_environments(snapshot, server_offers.environments(offers))
            for name, device in snapshot.by_name.items() if self.rules.prices else ():
                self.rules.set_price(name.partition("/")[0], device)
            if self._own is not None:
                snapshot.claimable = catalogue_snapshot.claimable(snapshot, self.own())
            with self._lock:
                # A snapshot read during a change may be outdated: return it, but do not cache it.
                if changes == self._changes:
                    self._snapshot = snapshot
        return snapshot


_caches: WeakKeyDictionary[Database, CatalogueCache] = WeakKeyDictionary()
_caches_lock = threading.Lock()


def cached(db: Database) -> Snapshot:
    """Return the catalogue of a database, from memory."""
    return cache_of(db).get(db)


def cache_of(db: Database) -> CatalogueCache:
    """Return the cache of a database."""
    cache = _caches.get(db)
    if cache is None:
        with _caches_lock:
            cache = _caches.get(db)
            if cache is None:
                cache = CatalogueCache()
                db.notifications.subscribe(cache.note)
                _caches[db] = cache
    return cache
