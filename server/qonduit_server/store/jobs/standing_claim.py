# SPDX-License-Identifier: Apache-2.0
"""A claim that waits in the store for the next jobs: they are created and claimed in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta

from qonduit.execution.v1.task_pb2 import Task
from qonduit_server.errors import Unavailable
from qonduit_server.store.database import Database
from qonduit_server.store.job_pools import Pool, provider_name
from qonduit_server.store.jobs.queue import ClaimResult, account_for, claim_of, run_claims
from qonduit_server.store.lane_accounts import Lane, Owed, add_owed
from qonduit_server.store.writer import FollowUp, Transaction
from qonduit_server.version_requirements import Environment


class StandingClaim:
    """A claim that the transaction that queues the next jobs also makes, so that they need no second one.

    It claims as `queue.claim` does, once. If it claims all jobs that wait, no claimer is notified of queued jobs.

    Args:
        db: the database.
        owner: the dispatcher's id.
        capacity: the maximum number of jobs, by pool (job_pools.py).
        lease: the duration of the lease.
        slots: the number of tasks that run at once.
        on_result: called when `tasks` has an answer.
        environments: the environments of the workers, by provider name; None if they have all versions.
    """

    def __init__(
        self,
        db: Database,
        owner: str,
        capacity: Mapping[Pool, int],
        lease: timedelta,
        slots: int,
        on_result: Callable[[], None],
        environments: Mapping[str, Sequence[Environment]] | None = None,
    ) -> None:
        self.owner = owner
        self.capacity = capacity
        self.environments = environments
        self._db = db
        self._lease = lease
        self._slots = slots
        self._owed: dict[Lane, Owed] = {}
        self._follow_up: FollowUp[ClaimResult] = FollowUp(map(provider_name, capacity), self._run)
        self._follow_up.future.add_done_callback(lambda _: on_result())
        db.follow(self._follow_up)

    def withdraw(self) -> bool:
        """Withdraw the claim; return False if it is or was made, and `tasks` must be called."""
        return self._db.withdraw(self._follow_up)

    @property
    def answered(self) -> bool:
        """Whether `tasks` does not wait."""
        return self._follow_up.future.done()

    def tasks(self, seconds: float | None = None) -> list[Task] | None:
        """Return the tasks of a claim that is or was made; None if its transaction was rolled back.

        Raises:
            Unavailable: it is unknown whether the transaction was committed, also after `seconds`.
        """
        accounts = self._db.lane_accounts
        try:
            result = self._follow_up.future.result(seconds)
        except TimeoutError as error:
            raise Unavailable("the store has not answered a claim in time") from error
        except Unavailable:
            accounts.add(self._owed)
            raise
        if result is None:
            accounts.add(self._owed)
            return None
        return account_for(accounts, result)

    def _run(self, transaction: Transaction, queued: AbstractSet[str]) -> ClaimResult:
        add_owed(self._owed, self._db.lane_accounts.take())
        claim = claim_of(self._db, self.owner, self.capacity, self._lease, self._slots, self._owed, self.environments)
        (result,) = run_claims(transaction, [claim], queued)
        transaction.queued |= result.more
        return result
