# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: the devices that vendors list for accounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from qonduit.execution.v1.vendor_pb2 import VendorTerms
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device
from qonduit_server.encryption.key_ring import Key, KeyRing
from qonduit_server.store import catalogue, credentials, vendor_listings
from qonduit_server.store.database import Database, open_database
from tests.store_fixture import CALLER, Clock, description

AGAIN = timedelta(minutes=15)
PROVIDER = "CLOUD"


@pytest.fixture
def accounts(database_url: str) -> Iterator[Accounts]:
    made = Accounts(database_url)
    yield made
    made.db.close()


def listed(names: Sequence[str]) -> ProviderDescription:
    found = description(PROVIDER, names)
    for device in found.devices:
        device.is_local = False
        device.listed_at.GetCurrentTime()
    return found


class Accounts:
    """A database with a provider, and accounts of it."""

    def __init__(self, url: str) -> None:
        self.clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
        self.db: Database = open_database(url, keys=KeyRing(keys=[Key("one", b"k" * 32)]), clock=self.clock)
        offered = description(PROVIDER, ())
        offered.vendor.CopyFrom(VendorTerms(calls=1))
        catalogue.sync(self.db, [offered, description()])
        self.provider = catalogue.provider_ids(self.db)[PROVIDER]

    def add(self, name: str) -> int:
        return int(credentials.create(self.db, CALLER, name, self.provider, f"secret of {name}").id)

    def store(self, account: int, *names: str) -> None:
        vendor_listings.store(self.db, account, self.provider, listed(names), AGAIN)

    def fail(self, account: int) -> None:
        vendor_listings.fail(self.db, account, self.provider, "no answer", AGAIN)

    def device(self, name: str) -> Device:
        return catalogue.device_by_name(self.db, f"{PROVIDER}/{name}")

    def due(self) -> list[int]:
        return [each.credential_id for each in vendor_listings.take_due(self.db, [self.provider])]


def test_a_listing_that_is_due_is_taken_once(accounts: Accounts) -> None:
    one, two = accounts.add("one"), accounts.add("two")
    accounts.store(one, "machine")
    accounts.store(two, "machine")
    assert accounts.due() == []
    accounts.clock.now += AGAIN
    assert accounts.due() == [one, two]
    assert accounts.due() == []
    # The server that took them was lost.
    accounts.clock.now += timedelta(minutes=10)
    assert accounts.due() == [one, two]


def test_a_listing_has_the_secret_that_the_account_has_now(accounts: Accounts) -> None:
    one = accounts.add("one")
    accounts.store(one, "machine")
    credentials.update(accounts.db, None, one, "another secret")
    accounts.clock.now += AGAIN
    (taken,) = vendor_listings.take_due(accounts.db, [accounts.provider])
    assert taken.secret == "another secret"
    assert "another" not in repr(taken)
    credentials.delete(accounts.db, None, one)
    accounts.clock.now += AGAIN
    assert accounts.due() == []


def test_devices_are_unavailable_once_no_account_reaches_them(accounts: Accounts) -> None:
    one, two = accounts.add("one"), accounts.add("two")
    accounts.store(one, "both", "own")
    accounts.store(two, "both")
    accounts.fail(one)
    assert accounts.device("own").available
    accounts.fail(one)
    assert (accounts.device("own").available, accounts.device("own").status_message) == (False, "no answer")
    assert accounts.device("both").available
    accounts.fail(two)
    accounts.fail(two)
    assert not accounts.device("both").available
    assert catalogue.device_by_name(accounts.db, "IBM/aer_simulator").available
    accounts.store(one, "both", "own")
    assert accounts.device("both").available
    assert accounts.device("own").status_message == ""


def test_a_device_that_an_account_lost_is_unavailable_unless_another_one_has_it(accounts: Accounts) -> None:
    one, two = accounts.add("one"), accounts.add("two")
    accounts.store(one, "both", "own")
    accounts.store(two, "both")
    accounts.store(one)
    assert accounts.device("both").available
    assert "no longer lists it" in accounts.device("own").status_message
