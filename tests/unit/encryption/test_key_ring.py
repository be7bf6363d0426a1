# SPDX-License-Identifier: Apache-2.0
"""The keys of the server: their file, the variable, and changes while the server runs."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from qonduit_server.encryption import key_ring
from qonduit_server.encryption.key_ring import VARIABLE, KeyRing, load
from qonduit_server.errors import StartError

ONE = base64.b64encode(b"1" * 32).decode()
TWO = base64.b64encode(b"2" * 32).decode()


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def ids(ring: KeyRing) -> list[str]:
    return [key.id for key in ring.keys()]  # noqa: SIM118 - not a mapping


def test_a_file_has_one_key_a_line_and_comments(tmp_path: Path) -> None:
    ring = KeyRing(written(tmp_path, f"# the newest first\nnew {TWO}\n\nold {ONE}\n"))
    assert ids(ring) == ["new", "old"]
    old = ring.find("old")
    assert old is not None
    assert old.secret == b"1" * 32
    assert ring.find("other") is None


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(key_ring.parse(f"one {ONE}", "here")[0])


def test_the_variable_holds_keys_and_is_removed_from_the_environment(tmp_path: Path) -> None:
    environment = {VARIABLE: f"new {TWO}, old {ONE}"}
    assert ids(load("", environment)) == ["new", "old"]
    assert environment == {}
    assert ids(load("", environment)) == []
    with pytest.raises(StartError, match="both set"):
        load(str(written(tmp_path, f"one {ONE}")), {VARIABLE: f"one {ONE}"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no key"),
        (f"{ONE}\n", "line 1: must be an id, a space, and 32 bytes in base64"),
        (f"one {ONE}\ntwo {ONE[:-4]}\n", "line 2: must be an id"),
        (f"one {ONE}\ntwo not-base64!\n", "line 2: must be an id"),
        (f"one {ONE}\none {TWO}\n", "line 2: two keys have the id one"),
        (f"../one {ONE}\n", "line 1: must be an id"),
    ],
)
def test_an_invalid_file_is_refused_with_its_line_and_without_its_keys(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StartError, match=message) as raised:
        KeyRing(written(tmp_path, text))
    assert ONE not in str(raised.value)


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o602])
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(StartError, match=r"other users can read or change .* `chmod 600"):
        KeyRing(written(tmp_path, f"one {ONE}", mode))


def test_a_missing_file_names_the_command_that_creates_it(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"does not exist; create it with `qonduit credential-key create"):
        KeyRing(tmp_path / "none")


def test_keys_are_created_first_and_removed_while_a_ring_follows(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key_ring.create(path, "one")
    assert path.stat().st_mode & 0o777 == 0o600
    ring = KeyRing(path)
    first = ring.find("one")
    key_ring.create(path, "two")
    assert ids(ring) == ["two", "one"]
    assert ring.find("one") == first
    with pytest.raises(StartError, match="has a key two already"):
        key_ring.create(path, "two")
    with pytest.raises(StartError, match="has no key three; it has two, one"):
        key_ring.remove(path, "three")
    key_ring.remove(path, "one")
    assert ids(ring) == ["two"]
    with pytest.raises(StartError, match="is the only key"):
        key_ring.remove(path, "two")


def test_the_previous_keys_remain_while_the_file_is_invalid(tmp_path: Path) -> None:
    path = written(tmp_path, f"one {ONE}\n")
    ring = KeyRing(path)
    path.write_text("nonsense")
    assert ids(ring) == ["one"]
    path.write_text(f"two {TWO}\n")
    assert ids(ring) == ["two"]
