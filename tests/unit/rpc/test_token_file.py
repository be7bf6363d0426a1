# SPDX-License-Identifier: Apache-2.0
"""The file of tokens: it contains hashes alone, and a server follows its changes at once."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from qonduit_server.errors import StartError, Unauthenticated
from qonduit_server.process.file_stamp import stamp_of
from qonduit_server.rpc.auth import static_tokens, token_file
from qonduit_server.rpc.auth.authenticator import sha256_of
from qonduit_server.rpc.auth.principal import Principal, Role
from qonduit_server.rpc.auth.static_tokens import StaticTokens, TokenRegistry
from qonduit_server.token_commands import token as token_command

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _look_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the file of tokens at each call, so that no test depends on time."""
    monkeypatch.setattr(static_tokens, "CHECK_SECONDS", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def principal(tokens: StaticTokens, token: str) -> Principal:
    return tokens.principal(token, sha256_of(token))


def refused(tokens: StaticTokens, token: str) -> str:
    """Return the reason for which a token is refused, early and finally."""
    early = tokens.reject_early(token, sha256_of(token))
    with pytest.raises(Unauthenticated) as raised:
        principal(tokens, token)
    assert early is not None
    assert early.reason == raised.value.reason
    assert token not in raised.value.message
    return raised.value.reason


def test_a_token_names_its_principal_and_is_stored_nowhere(file: Path) -> None:
    token, stored = token_file.create(file, "anna", Role.OPERATOR, HOUR)
    assert token.startswith("qdt_")
    assert len(token) == len("qdt_") + 43  # 256 bits in base64
    assert token not in file.read_text()
    assert stored.sha256 == hashlib.sha256(token.encode()).hexdigest()
    tokens = StaticTokens(TokenRegistry(file))
    assert tokens.accepts(token)
    assert not tokens.accepts("a.b.c")
    assert principal(tokens, token) == Principal("anna", frozenset((Role.USER, Role.OPERATOR)))
    assert tokens.reject_early(token, sha256_of(token)) is None


def test_several_tokens_of_one_name_are_valid_at_once(file: Path) -> None:
    old, _ = token_file.create(file, "anna", Role.USER, HOUR)
    new, _ = token_file.create(file, "anna", Role.USER, None)
    tokens = StaticTokens(TokenRegistry(file))
    assert principal(tokens, old) == principal(tokens, new) == Principal("anna")


def test_a_changed_unknown_expired_or_revoked_token_is_refused(file: Path) -> None:
    token, stored = token_file.create(file, "anna", Role.USER, HOUR)
    now = [datetime.now(UTC).timestamp()]
    tokens = StaticTokens(TokenRegistry(file), lambda: now[0])
    assert refused(tokens, token[:-1] + ("A" if token[-1] != "A" else "B")) == "INVALID_TOKEN"
    assert refused(tokens, "qdt_") == "INVALID_TOKEN"
    # The hash in the file is no token.
    assert refused(tokens, "qdt_" + stored.sha256) == "INVALID_TOKEN"
    now[0] += HOUR.total_seconds() + 1
    assert refused(tokens, token) == "TOKEN_EXPIRED"
    now[0] -= HOUR.total_seconds()
    principal(tokens, token)
    assert token_file.revoke(file, start=stored.id) == [stored.id]
    assert refused(tokens, token) == "TOKEN_REVOKED"


def test_a_change_of_the_file_is_effective_at_the_next_look(file: Path) -> None:
    first, _ = token_file.create(file, "anna", Role.USER, HOUR)
    tokens = StaticTokens(TokenRegistry(file))
    for number in range(20):
        token, stored = token_file.create(file, f"user{number}", Role.USER, HOUR)
        assert principal(tokens, token).name == f"user{number}"
        token_file.revoke(file, start=stored.sha256)
        assert refused(tokens, token) == "TOKEN_REVOKED"
        assert principal(tokens, first).name == "anna"


def test_an_invalid_or_missing_file_leaves_the_previous_tokens_valid(file: Path) -> None:
    token, _ = token_file.create(file, "anna", Role.USER, HOUR)
    good = file.read_text()
    tokens = StaticTokens(TokenRegistry(file))
    for broken in ("", "{", "[]", json.dumps({"version": 2}), good.replace('"user"', '"root"'), "[" * 100_000):
        file.write_text(broken)
        assert principal(tokens, token).name == "anna"
        with pytest.raises(StartError, match="is invalid"):
            TokenRegistry(file)
    file.unlink()
    assert principal(tokens, token).name == "anna"
    with pytest.raises(StartError, match="create it with `qonduit token create NAME"):
        TokenRegistry(file)
    file.write_text(good.replace("anna", "ben"))
    file.chmod(0o600)
    assert principal(tokens, token).name == "ben"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_other_users_can_change_is_refused(file: Path, mode: int) -> None:
    token_file.create(file, "anna", Role.USER, HOUR)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(mode)
    with pytest.raises(StartError, match="chmod go-w"):
        TokenRegistry(file)


def test_a_change_keeps_the_mode_of_the_file(file: Path) -> None:
    token_file.create(file, "anna", Role.USER, HOUR)
    file.chmod(0o640)  # the group of the server reads it
    token_file.create(file, "ben", Role.USER, HOUR)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(path.name for path in file.parent.iterdir()) == ["tokens.json", "tokens.json.lock"]


def test_concurrent_changes_are_all_kept(file: Path) -> None:
    threads = [
        threading.Thread(target=token_file.create, args=(file, f"user{number}", Role.USER, HOUR))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.name for one in token_file.read(file).tokens) == sorted(f"user{number}" for number in range(16))


def test_tokens_of_other_issuers_are_revoked_by_id_or_hash(file: Path) -> None:
    sha256 = sha256_of("a.b.c")
    token_file.revoke(file, jti="one")
    token_file.revoke(file, start=sha256.hex())
    table = TokenRegistry(file).table()
    assert table.revokes(sha256, "other")
    assert table.revokes(b"", "one")
    assert not table.revokes(sha256_of("a.b.d"), "other")


def test_a_start_of_an_id_that_is_too_short_revokes_nothing(file: Path) -> None:
    _, stored = token_file.create(file, "anna", Role.USER, HOUR)
    for start in (stored.sha256[:11], stored.sha256[:1], "*" * 12):
        with pytest.raises(StartError, match="12 to 64 hexadecimal digits"):
            token_file.revoke(file, start=start)
    assert token_file.revoke(file, start="0" * 12) == []
    assert not token_file.read(file).tokens[0].revoked


def test_the_commands_create_list_and_revoke(file: Path) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(token_command, [*arguments, "--token-file", str(file)])
        assert done.exit_code == code, done.output
        return done.stdout

    token = run("create", "anna", "--role", "admin", "--expires", "90d").strip()
    assert principal(StaticTokens(TokenRegistry(file)), token).roles == frozenset(Role)
    run("create", "ben", "--expires", "never")
    listed = [json.loads(line) for line in run("list", "--json").splitlines()]
    assert [(row["name"], row["role"], row["state"]) for row in listed] == [
        ("anna", "admin", "valid"),
        ("ben", "user", "valid"),
    ]
    created, expires = (datetime.fromisoformat(listed[0][key]) for key in ("created", "expires"))
    assert expires - created == timedelta(days=90)
    assert token not in run("list")
    assert run("revoke", listed[0]["id"]) == f"revoked {listed[0]['id']}\n"
    assert run("revoke", "--name", "ben") == f"revoked {listed[1]['id']}\n"
    run("revoke", "--name", "ben", code=1)
    run("revoke", code=2)
    run("revoke", "abc", code=2)
    run("create", "two words", code=1)
    for duration in ("soon", "0d", "999999w"):
        run("create", "anna", "--expires", duration, code=2)
    run("create", "dora", "--expires", "2w")
    last = json.loads(run("list", "--json").splitlines()[2])
    ends = datetime.fromisoformat(last["expires"]) - datetime.fromisoformat(last["created"])
    assert (last["name"], ends) == ("dora", timedelta(weeks=2))
    assert "revoked" in run("list")


def test_the_owner_of_the_file_stays_when_root_changes_it(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can change files of another user")
    token_file.create(file, "anna", Role.USER, HOUR)
    os.chown(file, 65534, 65534)
    token_file.create(file, "ben", Role.USER, HOUR)
    assert (file.stat().st_uid, file.stat().st_gid) == (65534, 65534)


def test_calls_look_at_the_file_a_bounded_number_of_times(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_tokens, "CHECK_SECONDS", 3600.0)
    token, _ = token_file.create(file, "anna", Role.USER, HOUR)
    tokens = StaticTokens(TokenRegistry(file))
    looks: list[int] = []
    monkeypatch.setattr(static_tokens, "stamp_of", lambda path: (looks.append(1), stamp_of(path))[1])
    for _ in range(100):
        principal(tokens, token)
        tokens.reject_early("qdt_x", sha256_of("qdt_x"))
    assert len(looks) == 1
