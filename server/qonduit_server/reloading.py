# SPDX-License-Identifier: Apache-2.0
"""Adopt changed settings while the server runs; the declaration of a setting says whether it can be adopted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from qonduit_server import authentication, logs, offered_devices
from qonduit_server.authentication import CallAuthentication
from qonduit_server.execution.dispatcher.dispatcher import Dispatcher
from qonduit_server.execution.executor import Executor
from qonduit_server.executor_assembly import slots
from qonduit_server.executor_settings import environments
from qonduit_server.monitoring import Monitoring
from qonduit_server.rpc.auth.certificates import Certificates
from qonduit_server.rpc.server import RpcServer
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.setting_values import adoptable, changes
from qonduit_server.settings import Settings
from qonduit_server.store.admin.retention import Retention
from qonduit_server.store.database import Database
from qonduit_server.store.quota_registry import read_setting

#: A change of these builds a new object that authenticates: an unchanged one keeps the keys of its issuer.
_AUTHENTICATION: Final = ("token_file", "tls_client_roles")


@dataclass
class Reloader:
    """The settings in force, and the components that adopt changes of them.

    Attributes:
        settings: the settings in force.
        database: the store, for quotas.
        rpc_server: for limits.
        retention: for the times of retention.
        access: authenticates calls.
        certificates: the files of TLS; None without TLS.
        executor: for the number of workers, and the password of the broker.
        dispatcher: for the number of workers.
        monitor: shows the number of workers.
    """

    settings: Settings
    database: Database
    rpc_server: RpcServer
    retention: Retention
    access: CallAuthentication
    certificates: Certificates | None
    executor: Executor
    dispatcher: Dispatcher
    monitor: Monitoring

    def adopt(self, wanted: Settings) -> None:
        """Adopt the changes that a running server can adopt, and log the others. All are checked before.

        Raises:
            StartError: a change is invalid, or a file cannot be used; no setting has changed.
        """
        changed = changes(self.settings, wanted)
        adopted = adoptable(self.settings, changed)
        new = replace(self.settings, **adopted)
        authentication.check(new)
        quotas = read_setting(new.default_quotas)
        offered_devices.rules_of(new)
        certificates = authentication.certificates(new)
        access = CallAuthentication(new) if _authenticates_otherwise(adopted) else self.access
        # From here on, nothing fails.
        self.database.quotas.set_default(quotas)
        self.database.max_tested_rows = new.max_tested_rows
        self.rpc_server.set_limits(limits(new))
        offered_devices.adopt_rules(new, self.database)
        if {"retention_days", "audit_retention_days"} & adopted.keys():
            self.retention.keep(new.retention_days, new.audit_retention_days)
        self.access.adopt(access)
        if self.certificates is not None and certificates is not None:
            self.certificates.adopt(certificates)
        if "workers" in adopted:
            self.executor.resize(new.workers)
            self.dispatcher.resize(slots(new))
            self.monitor.adopt(new)
        if "broker" in adopted:
            self.executor.use_broker(new.broker)
        self.settings = new
        logs.configuration_reloaded(new.log_level, adopted, changed)


def limits(settings: Settings) -> Limits:
    """Return the limits of calls."""
    return Limits(
        max_request_bytes=settings.max_request_bytes,
        max_program_bytes=settings.max_program_bytes,
        max_programs=settings.max_programs,
        max_shots=settings.max_shots,
        max_task_memory_bytes=settings.max_task_memory_bytes,
        max_job_seconds=settings.max_job_seconds,
        max_queued_jobs=settings.max_queued_jobs,
        max_memory_bytes=settings.max_memory_bytes,
        max_result_bytes=settings.max_result_bytes,
        max_streams=settings.max_streams,
        max_caller_preparations=settings.max_caller_preparations,
        max_caller_preparation_seconds=settings.max_caller_preparation_seconds,
        retention_days=settings.retention_days,
        python_source=frozenset(settings.enable_python_source),
        python_environments=frozenset(environments(settings)),
    )


def _authenticates_otherwise(changed: dict[str, Any]) -> bool:
    return any(name in _AUTHENTICATION or name.startswith("oidc_") for name in changed)
