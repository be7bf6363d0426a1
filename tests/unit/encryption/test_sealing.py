# SPDX-License-Identifier: Apache-2.0
"""Envelope encryption of secrets: their binding to rows, and data that cannot be decrypted."""

from __future__ import annotations

import pytest

from qonduit_server.encryption.key_ring import Key, KeyRing
from qonduit_server.encryption.sealing import Binding, Sealed, Sealer, Unreadable
from qonduit_server.errors import FailedPrecondition

OLD, NEW = Key("old", b"o" * 32), Key("new", b"n" * 32)
ROW = Binding("credentials", 7, "anna", "VENDOR")
SECRET = "vendor-secret-äöü-\n-of-anna"


def sealer(*keys: Key) -> Sealer:
    return Sealer(KeyRing(keys=keys))


def test_a_secret_is_decrypted_for_its_row_and_does_not_stand_in_the_data() -> None:
    sealed = sealer(OLD).seal(SECRET, ROW)
    assert sealed.key_id == "old"
    assert b"vendor-secret" not in sealed.data
    assert sealer(NEW, OLD).open(sealed, ROW) == SECRET


def test_equal_secrets_have_different_data() -> None:
    first, second = (sealer(OLD).seal(SECRET, ROW) for _ in range(2))
    pieces = [{sealed.data[start : start + 16] for start in range(64)} for sealed in (first, second)]
    assert not pieces[0] & pieces[1]


@pytest.mark.parametrize(
    "other",
    [
        ROW._replace(owner="ben"),
        ROW._replace(id=8),
        ROW._replace(provider="OTHER"),
        ROW._replace(table="job_credentials"),
        # Parts that would be equal if they were joined without their lengths.
        ROW._replace(owner="annaV", provider="ENDOR"),
    ],
)
def test_a_copied_row_cannot_be_decrypted(other: Binding) -> None:
    sealed = sealer(OLD).seal(SECRET, ROW)
    with pytest.raises(Unreadable, match="belong to another owner, row, provider or key"):
        sealer(OLD).open(sealed, other)
    with pytest.raises(Unreadable):
        sealer(NEW, OLD).rewrap(sealed, other)


def test_each_changed_byte_is_detected() -> None:
    sealed = sealer(OLD).seal("vendor-x", ROW)
    for place in range(len(sealed.data)):
        changed = bytearray(sealed.data)
        changed[place] ^= 1
        with pytest.raises(Unreadable):
            sealer(OLD).open(Sealed("old", bytes(changed)), ROW)
    for size in range(len(sealed.data)):
        with pytest.raises(Unreadable):
            sealer(OLD).open(Sealed("old", sealed.data[:size]), ROW)


def test_a_lost_key_is_named() -> None:
    sealed = sealer(OLD).seal(SECRET, ROW)
    with pytest.raises(Unreadable, match=r"does not have the key old \(credential_key_file\)"):
        sealer(NEW).open(sealed, ROW)
    with pytest.raises(Unreadable, match="were changed"):
        sealer(Key("old", b"x" * 32)).open(sealed, ROW)


def test_a_rotation_encrypts_with_the_first_key_and_keeps_the_secret() -> None:
    before = sealer(OLD).seal(SECRET, ROW)
    after = sealer(NEW, OLD).rewrap(before, ROW)
    assert after.key_id == "new"
    assert sealer(NEW).open(after, ROW) == SECRET
    with pytest.raises(Unreadable):
        sealer(OLD).open(after._replace(key_id="old"), ROW)


def test_without_a_key_nothing_is_encrypted_and_the_setting_is_named() -> None:
    with pytest.raises(FailedPrecondition, match="credential_key_file") as raised:
        sealer().seal(SECRET, ROW)
    assert raised.value.reason == "CREDENTIALS_DISABLED"


def test_hashes_depend_on_the_key_and_the_secret() -> None:
    both = list(sealer(NEW, OLD).hashes(SECRET))
    assert both[1:] == list(sealer(OLD).hashes(SECRET))
    assert len({*both, *sealer(OLD).hashes("vendor-other")}) == 3
    assert SECRET not in "".join(both)
