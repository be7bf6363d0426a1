# SPDX-License-Identifier: Apache-2.0
"""Group commit on a real SQLite file: batching, isolated failures, durability by operation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from qonduit_server.errors import CallError, NotFound, Unavailable
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.notification_bus import ANY_PROVIDER, Notification
from qonduit_server.store.writer import FollowUp, Operation, Transaction
from tests.sqlite_template import new_sqlite


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Database]:
    db = open_database(new_sqlite(tmp_path / "x.sqlite3"))
    yield db
    db.close()


class Held:
    """Blocks the writer until released, so that calls queue up behind it."""

    def __init__(self, db: Database) -> None:
        self._go = threading.Event()
        began = threading.Event()

        def hold(transaction: Transaction, arguments: Sequence[None]) -> list[None]:
            began.set()
            self._go.wait(100)
            return [None] * len(arguments)

        self._future = db.write_later(Operation(hold, durable=False), None)
        began.wait(100)

    def release(self) -> None:
        self._go.set()
        self._future.result(100)


def test_calls_that_wait_together_become_one_call_of_each_operation_in_order(file: Database) -> None:
    calls: list[tuple[str, list[int]]] = []

    def first(transaction: Transaction, arguments: Sequence[int]) -> list[int]:
        calls.append(("first", list(arguments)))
        return [argument * 2 for argument in arguments]

    def second(transaction: Transaction, arguments: Sequence[int]) -> list[int]:
        calls.append(("second", list(arguments)))
        return list(arguments)

    one, two = Operation(first), Operation(second)
    held = Held(file)
    futures = [file.write_later(operation, n) for n, operation in enumerate((one, two, one, two, one))]
    held.release()
    assert [future.result(100) for future in futures] == [0, 1, 4, 3, 8]
    assert calls == [("first", [0, 2, 4]), ("second", [1, 3])]


def test_a_call_that_breaks_the_transaction_is_refused_alone(file: Database) -> None:
    wakes: list[Notification] = []
    file.notifications.subscribe(wakes.append)

    def insert(transaction: Transaction, arguments: Sequence[str | None]) -> list[int]:
        for argument in arguments:
            transaction.connection.execute(
                text("INSERT INTO providers (name, with_token) VALUES (:name, false)"), {"name": argument}
            )
            transaction.notify_deleted(len(argument or ""))
        return [len(argument or "") for argument in arguments]

    operation = Operation(insert)
    held = Held(file)
    futures = [file.write_later(operation, name) for name in ("a", None, "bb", "bb", "ccc")]
    held.release()
    assert [type(future.exception(10)).__name__ for future in futures] == [
        *("NoneType", "IntegrityError", "NoneType", "IntegrityError", "NoneType")
    ]
    with file.read() as connection:
        assert connection.execute(text("SELECT name FROM providers WHERE id > 0 ORDER BY name")).scalars().all() == [
            "a",
            "bb",
            "ccc",
        ]
    assert [sorted(notification.jobs) for notification in wakes] == [[1], [2], [3]]


def test_a_faulty_operation_fails_alone_and_the_writer_continues(file: Database) -> None:
    def fine(transaction: Transaction, arguments: Sequence[int]) -> list[int]:
        return list(arguments)

    def broken(transaction: Transaction, arguments: Sequence[int]) -> list[int]:
        raise KeyError("a fault")

    def short(transaction: Transaction, arguments: Sequence[int]) -> list[int]:
        return []

    held = Held(file)
    futures = [file.write_later(Operation(run), 1) for run in (fine, broken, short, fine)]
    held.release()
    assert [type(future.exception(10)) for future in futures] == [type(None), KeyError, ValueError, type(None)]
    assert file.write(Operation(fine), 7) == 7


def test_a_result_that_is_an_error_is_raised_to_its_caller_alone(file: Database) -> None:
    def some(transaction: Transaction, arguments: Sequence[int]) -> list[int | CallError]:
        return [argument if argument % 2 else NotFound("thing", argument) for argument in arguments]

    operation = Operation(some)
    held = Held(file)
    futures = [file.write_later(operation, number) for number in range(4)]
    held.release()
    assert [future.exception(10) is None for future in futures] == [False, True, False, True]


def test_a_transaction_is_durable_if_any_of_its_operations_is(file: Database) -> None:
    def nothing(transaction: Transaction, arguments: Sequence[None]) -> list[None]:
        modes.append(transaction.connection.exec_driver_sql("PRAGMA synchronous").scalar_one())
        return [None] * len(arguments)

    modes: list[int] = []
    durable, quick = Operation(nothing, durable=True), Operation(nothing, durable=False)
    file.write(quick, None)
    file.write(durable, None)
    held = Held(file)
    futures = [file.write_later(operation, None) for operation in (quick, durable)]
    held.release()
    for future in futures:
        future.result(100)
    file.write(quick, None)
    normal, full = 1, 2
    assert modes == [normal, full, full, full, normal]


def break_after_commit(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the connection after the commit of the next transaction, whose outcome is then unknown."""
    transactions: Any = db._writer._transactions
    run = transactions.run

    def commit_and_break(*arguments: Any, **options: Any) -> Notification:
        monkeypatch.setattr(transactions, "run", run)
        run(*arguments, **options)
        raise OperationalError("COMMIT", None, ConnectionResetError("the connection broke"))

    monkeypatch.setattr(transactions, "run", commit_and_break)


def test_all_watchers_reread_after_a_commit_of_unknown_outcome(file: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(transaction: Transaction, arguments: Sequence[None]) -> list[None]:
        transaction.queued.add("IBM")
        return [None] * len(arguments)

    looked = threading.Event()
    file.notifications.subscribe(
        lambda notification: looked.set() if notification.all_jobs and notification.queue else None
    )
    break_after_commit(file, monkeypatch)
    with pytest.raises(Unavailable):
        file.write(Operation(change), None)
    assert looked.wait(100)


def test_notifications_follow_the_commit_and_precede_the_answer(file: Database) -> None:
    order: list[object] = []

    def note(notification: Notification) -> None:
        with file.read() as connection:
            order.append(connection.execute(text("SELECT name FROM providers WHERE id > 0")).scalars().all())

    file.notifications.subscribe(note)
    order.append(file.write_later(Operation(_queue_jobs), "answer").result(100))
    assert order == [["answer"], "answer"]


def _queue_jobs(transaction: Transaction, arguments: Sequence[str]) -> list[str]:
    for name in arguments:
        transaction.connection.execute(
            text("INSERT INTO providers (name, with_token) VALUES (:name, false)"), {"name": name}
        )
    transaction.queued.add("IBM")
    return list(arguments)


def _name_claim(transaction: Transaction, queued: AbstractSet[str]) -> int:
    assert queued
    transaction.connection.execute(text("INSERT INTO providers (name, with_token) VALUES ('followed', false)"))
    return int(transaction.connection.execute(text("SELECT count(*) FROM providers WHERE id > 0")).scalar_one())


def test_a_follow_up_is_made_once_by_the_next_transaction_that_queues_jobs(file: Database) -> None:
    follow_up = FollowUp(["IBM"], _name_claim)
    file.follow(follow_up)
    file.write(Operation(lambda transaction, arguments: list(arguments)), None)
    assert not follow_up.future.done()
    file.write(Operation(_queue_jobs), "first")
    assert follow_up.future.result(0) == 2
    assert not file.withdraw(follow_up)
    file.write(Operation(_queue_jobs), "second")


@pytest.mark.parametrize(("queued", "made"), [("AWS", False), (ANY_PROVIDER, True)])
def test_a_follow_up_is_made_only_for_its_providers(file: Database, queued: str, made: bool) -> None:
    def queue_other(transaction: Transaction, arguments: Sequence[None]) -> Sequence[None]:
        transaction.queued.add(queued)
        return arguments

    follow_up = FollowUp(["IBM", "GOOGLE"], _name_claim)
    file.follow(follow_up)
    file.write(Operation(queue_other), None)
    assert file.withdraw(follow_up) is not made


def test_claimers_are_notified_if_any_follow_up_leaves_jobs(file: Database) -> None:
    queued: list[bool] = []
    file.notifications.subscribe(lambda notification: queued.append(notification.queue))

    def leave(transaction: Transaction, queued: AbstractSet[str]) -> None:
        assert queued == {"IBM"}
        transaction.queued.add("IBM")

    def take_all(transaction: Transaction, queued: AbstractSet[str]) -> None:
        assert queued == {"IBM"}
        taken.append(transaction)

    taken: list[Transaction] = []
    follow_ups: Sequence[Callable[[Transaction, AbstractSet[str]], None]]
    for place, follow_ups in enumerate(([], [leave, take_all], [take_all])):
        for each in follow_ups:
            file.follow(FollowUp(["IBM"], each))
        file.write(Operation(_queue_jobs), f"job {place}")
    assert len(taken) == 2
    assert queued[:2] == [True, True]
    assert not any(queued[2:])


def test_a_withdrawn_follow_up_is_not_made(file: Database) -> None:
    follow_up, other = FollowUp(["IBM"], _name_claim), FollowUp(["IBM"], lambda transaction, queued: "other")
    file.follow(follow_up)
    file.follow(other)
    assert file.withdraw(follow_up)
    file.write(Operation(_queue_jobs), "first")
    assert not follow_up.future.done()
    assert other.future.result(0) == "other"


def test_calls_are_committed_without_a_follow_up_that_fails(file: Database) -> None:
    def fail(transaction: Transaction, queued: AbstractSet[str]) -> None:
        _name_claim(transaction, queued)
        raise KeyError("a fault")

    follow_up = FollowUp(["IBM"], fail)
    file.follow(follow_up)
    assert file.write(Operation(_queue_jobs), "first") == "first"
    assert follow_up.future.result(0) is None
    with file.read() as connection:
        assert connection.execute(text("SELECT name FROM providers WHERE id > 0")).scalars().all() == ["first"]


def test_a_follow_up_of_a_commit_of_unknown_outcome_is_unavailable(
    file: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_after_commit(file, monkeypatch)
    follow_up = FollowUp(["IBM"], _name_claim)
    file.follow(follow_up)
    with pytest.raises(Unavailable):
        file.write(Operation(_queue_jobs), "first")
    with pytest.raises(Unavailable):
        follow_up.future.result(0)
