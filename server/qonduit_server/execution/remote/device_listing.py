# SPDX-License-Identifier: Apache-2.0
"""Asks vendors on a schedule which devices the known accounts have, and stores their answers.

Each provider has a thread of its own, so a vendor that does not answer delays no other one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

import structlog

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device
from qonduit_server.errors import CallError, Unavailable
from qonduit_server.store import catalogue, device_probes, vendor_listings
from qonduit_server.store.database import Database
from qonduit_server.store.vendor_listings import Listing

#: The time after which a vendor that did not answer is asked again.
_RETRY: Final = timedelta(minutes=1)
#: How often a server looks for listings that are due.
_LOOK_SECONDS: Final = 15.0

_log = structlog.get_logger("qonduit.remote")


class DeviceListing:
    """Reads the devices of accounts at vendors.

    Args:
        db: has the listings.
        list_devices: asks the vendor of a provider for the devices of a credential.
        every: the time between two questions for an account; zero asks for none on a schedule.
        providers: the ids of the remote providers, by name.
        probed: returns whether a device is to be probed (store/device_probes.py).
    """

    def __init__(
        self,
        db: Database,
        list_devices: Callable[[str, str], ProviderDescription],
        every: timedelta,
        providers: Callable[[], Mapping[str, int]],
        probed: Callable[[Device], bool],
    ) -> None:
        self._db = db
        self._list_devices = list_devices
        self._every = every
        self._providers = providers
        self._probed = probed
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        #: The providers that are being asked.
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Ask on a schedule, and continue probes."""
        self._thread = threading.Thread(target=self._run, name="vendor-devices", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more. A question that is under way ends with its process."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(1)

    def refresh(self, provider: str, credential: str, credential_id: int = 0) -> None:
        """Ask the vendor of a provider now, and store its answer; with the id of a stored credential, ask again later.

        Raises:
            FailedPrecondition: the provider has no vendor, or the vendor refuses the credential or the call.
            Unavailable: the vendor, or the database, does not answer.
        """
        listed = self._list_devices(provider, credential)
        catalogue.apply_rules(self._db, listed)
        if credential_id:
            number = self._providers()[provider]
            vendor_listings.store(self._db, credential_id, number, listed, self._again)
            known = [device for device in catalogue.devices_by_name(self._db).values() if device.provider_id == number]
            names = {device.name for device in listed.devices}
            wanted = [device.id for device in known if device.name in names and self._probed(device)]
            device_probes.begin(self._db, wanted, credential_id)
        else:
            catalogue.add_listed(self._db, listed)

    @property
    def _again(self) -> timedelta:
        return self._every or timedelta(days=365)

    def _run(self) -> None:
        pause = min(_LOOK_SECONDS, self._again.total_seconds())
        while not self._stopping.wait(pause):
            try:
                self._look()
            except Unavailable:
                continue  # the database is away

    def _look(self) -> None:
        """Continue probes, and ask the vendors whose listings are due, each in a thread."""
        devices = catalogue.devices_by_name(self._db)
        numbers = {number: name for name, number in self._providers().items()}
        device_probes.advance(
            self._db, {each.id: name for name, each in devices.items() if each.provider_id in numbers}
        )
        if not self._every:
            return
        ids = {number: name for number, name in numbers.items() if name not in self._busy}
        due: dict[str, list[Listing]] = {}
        for listing in vendor_listings.take_due(self._db, ids):
            due.setdefault(ids[listing.provider_id], []).append(listing)
        for provider, listings in due.items():
            with self._lock:
                self._busy.add(provider)
            name = f"vendor-devices-{provider}"
            threading.Thread(target=self._ask, args=(provider, listings), name=name, daemon=True).start()

    def _ask(self, provider: str, listings: list[Listing]) -> None:
        try:
            for listing in listings:
                if not self._stopping.is_set():
                    self._ask_for(provider, listing)
        finally:
            with self._lock:
                self._busy.discard(provider)

    def _ask_for(self, provider: str, listing: Listing) -> None:
        try:
            self.refresh(provider, listing.secret, listing.credential_id)
        except CallError as error:
            _log.warning("vendor lists no devices", provider=provider, credential=listing.credential_id, why=str(error))
            again = min(_RETRY, self._again)
            try:
                vendor_listings.fail(self._db, listing.credential_id, listing.provider_id, str(error), again)
            except Unavailable:
                return  # it is taken again after a while
