# SPDX-License-Identifier: Apache-2.0
"""Connect the packages of the server: settings -> store, executor, dispatcher, rpc. Only this file imports all."""

from __future__ import annotations

import gc
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qonduit_server import authentication, monitoring, offered_devices
from qonduit_server.authentication import CallAuthentication
from qonduit_server.encryption import key_ring
from qonduit_server.errors import StartError, Unavailable
from qonduit_server.execution.executor import Executor, ExecutorOptions, make_executor
from qonduit_server.execution.stderr_log import StderrLog
from qonduit_server.executor_assembly import make_dispatcher, program_executor, remote_executor
from qonduit_server.executor_settings import executor_options, languages_of
from qonduit_server.observer import Observer
from qonduit_server.process.core_dumps import forbid_core_dumps
from qonduit_server.settings import Settings

if TYPE_CHECKING:
    from qonduit.execution.v1.worker_pb2 import ProviderDescription
    from qonduit_server.encryption.key_ring import KeyRing
    from qonduit_server.execution.dispatcher.dispatcher import Dispatcher
    from qonduit_server.execution.local.translator import Translator
    from qonduit_server.execution.remote.device_listing import DeviceListing
    from qonduit_server.execution.remote.remote_executor import RemoteExecutor
    from qonduit_server.job_log import JobLog
    from qonduit_server.process.standard_streams import StandardStreams
    from qonduit_server.reloading import Reloader
    from qonduit_server.rpc.auth.certificates import Certificates
    from qonduit_server.rpc.server import RpcServer
    from qonduit_server.store.admin.retention import Retention
    from qonduit_server.store.database import Database
    from qonduit_server.store.server_lock import ServerLock


@dataclass(frozen=True)
class App:
    """A running server."""

    target: str
    _database: Database
    _executor: Executor
    _dispatcher: Dispatcher
    _translator: Translator
    _rpc_server: RpcServer
    _job_log: JobLog
    _retention: Retention
    _lock: ServerLock | None
    _stderr: StderrLog
    _reloader: Reloader
    _monitor: monitoring.Monitoring
    _listing: DeviceListing | None

    @property
    def drain_seconds(self) -> float:
        """The time for running jobs to end when the server stops."""
        return self._reloader.settings.drain_seconds

    def reload(self, settings: Settings) -> None:
        """Adopt changed settings as far as a running server can, and log which need a restart.

        Raises:
            StartError: a change is invalid; no setting has changed.
        """
        self._reloader.adopt(settings)

    def stop(self, drain_seconds: float, force: threading.Event) -> None:
        """Stop: reject new jobs, end streams, wait for running jobs, and requeue the rest.

        Args:
            drain_seconds: how long running jobs may take to end.
            force: when set, the server stops without waiting.
        """
        import structlog

        log = structlog.get_logger("qonduit.app")
        log.info("draining", running=self._dispatcher.running(), seconds=drain_seconds)
        self._rpc_server.drain()
        self._retention.stop()
        if self._listing is not None:
            self._listing.stop()
        self._dispatcher.drain(drain_seconds, force)
        self._translator.stop(1)  # before the gRPC server, whose threads wait for it
        self._rpc_server.stop(0 if force.is_set() else 1)
        self._dispatcher.stop()
        self._executor.stop(1)
        self._stderr.stop()
        offered_devices.withdraw_offers(self._database)
        self._database.close()
        self._job_log.close()
        self._monitor.stop()
        if self._lock is not None:
            self._lock.close()
        log.info("stopped")


def start(
    settings: Settings,
    on_fault: Callable[[], None] = lambda: None,
    streams: StandardStreams | None = None,
    *,
    restored: bool = False,
) -> App:
    """Start a server; it serves calls when this returns.

    Args:
        settings: the operator's settings.
        on_fault: called when a fault stops the dispatcher; the caller should then restart the server.
        streams: the redirected standard streams of this process, if any.
        restored: the database was restored from a backup, and changes after it are lost.

    Raises:
        StartError: a setting, the database or the address cannot be used.
    """
    authentication.check(settings)
    # First: no process inherits the variable with the keys.
    keys = key_ring.load(settings.credential_key_file, os.environ)
    if keys.keys():
        forbid_core_dumps()
    owner = str(uuid.uuid4())
    monitor = monitoring.Monitoring(settings, owner)
    observer = monitor.observer
    with _started(), ExitStack() as undo:
        undo.callback(monitor.stop)
        stderr = StderrLog()
        undo.callback(stderr.stop)
        opened: list[Database] = []
        remotes: list[RemoteExecutor] = []

        def on_description(description: ProviderDescription) -> None:
            """Store a description that changed while the server runs. The database is open by then."""
            for each in remotes:
                each.adopt(description)
            with suppress(Unavailable):  # stored when leases are renewed
                offered_devices.store_description(opened[0], description)

        options = executor_options(
            settings, server=owner, stderr=stderr, on_description=on_description, observer=observer
        )
        executor = make_executor(settings.executor, options)
        if settings.executor != "local":  # it may log as soon as it starts
            _configure_logs(settings, streams, stderr, monitor)
        executor.launch()
        undo.callback(executor.stop, 1)
        _import_the_rest()
        if settings.executor == "local":  # its processes start while this one imports the rest
            _configure_logs(settings, streams, stderr, monitor)
        database, lock = _open_store(settings, undo, keys, observer, restored=restored)
        opened.append(database)
        job_log = _log_jobs(database, undo, monitor)
        descriptions = offered_devices.sync_catalogue(settings, database, executor)
        remote = remote_executor(settings, database, executor, descriptions, owner, stderr, on_fault)
        remotes.extend([remote] if remote else [])
        executor = remote or executor
        programs = program_executor(settings, executor, owner, stderr, on_fault)
        executor = programs or executor
        dispatcher = make_dispatcher(settings, database, executor, remote, owner, on_fault, observer)
        database.on_lost(dispatcher.abandon)
        translator = _translator(options, executor)
        access, certificates = CallAuthentication(settings), authentication.certificates(settings)
        listing = offered_devices.device_listing(settings, database, remote)
        rpc_server = _serve(settings, database, executor, remote, listing, translator, access, certificates, observer)
        if programs is not None:
            programs.answer_calls(rpc_server.program_calls.open)
        # Created before the dispatcher starts: existing chunks without a result are orphaned.
        retention = _retention(settings, database, observer)
        monitor.start(database, executor, dispatcher, rpc_server)
        dispatcher.start()
        retention.start()
        if listing is not None:
            listing.start()
        executor.preload(settings.preload or None)
        undo.pop_all()
    from qonduit_server.reloading import Reloader

    app = App(
        rpc_server.target,
        database,
        executor,
        dispatcher,
        translator,
        rpc_server,
        job_log,
        retention,
        lock,
        stderr,
        Reloader(settings, database, rpc_server, retention, access, certificates, executor, dispatcher, monitor),
        monitor,
        listing,
    )
    # All loaded objects stay. A full collection would stop all threads while it inspects it.
    gc.freeze()
    _log_start(app, owner, database.kind, descriptions, settings.workers)
    return app


def _import_the_rest() -> None:
    """Import the rest of the server while the provider processes start on other cores."""
    import qonduit_server.execution.dispatcher.dispatcher
    import qonduit_server.job_log
    import qonduit_server.languages.registry
    import qonduit_server.reloading
    import qonduit_server.rpc.server
    import qonduit_server.store.admin.retention  # noqa: F401


def _configure_logs(
    settings: Settings, streams: StandardStreams | None, stderr: StderrLog, monitor: monitoring.Monitoring
) -> None:
    """Configure logging, then start to log the output of the provider processes."""
    from qonduit_server import logs

    logs.configure(settings.log_format, settings.log_level, streams, monitor.log_line)
    stderr.start()


def _open_store(
    settings: Settings, undo: ExitStack, keys: KeyRing, observer: Observer, *, restored: bool
) -> tuple[Database, ServerLock | None]:
    """Open the database and lock it if it is SQLite; requeue the jobs that the previous server left running."""
    from qonduit_server.store.quota_registry import read_setting
    from qonduit_server.store.server_database import open_for_server

    quotas = read_setting(settings.default_quotas)
    url, audited = settings.database, settings.audit != "off"
    database, lock = open_for_server(
        url,
        undo,
        keys,
        observer,
        pooler=settings.database_pooler,
        restored=restored,
        audited=audited,
        max_attempts=settings.max_attempts,
    )
    database.quotas.set_default(quotas)
    database.max_tested_rows = settings.max_tested_rows
    return database, lock


def _log_jobs(database: Database, undo: ExitStack, monitor: monitoring.Monitoring) -> JobLog:
    from qonduit_server.job_log import JobLog

    job_log = JobLog(database.notifications, monitor.job_observers)
    undo.callback(job_log.close)
    return job_log


def _serve(
    settings: Settings,
    database: Database,
    executor: Executor,
    remote: RemoteExecutor | None,
    listing: DeviceListing | None,
    translator: Translator,
    access: CallAuthentication,
    certificates: Certificates | None,
    observer: Observer,
) -> RpcServer:
    """Start the gRPC server."""
    from qonduit_server.reloading import limits
    from qonduit_server.rpc import server as rpc

    options = rpc.RpcOptions(
        listen=settings.listen,
        credentials=certificates.credentials() if certificates else None,
        authenticate=access.principal,
        reject_early=access.reject_early,
        limits=limits(settings),
        threads=settings.rpc_threads,
        reflection=settings.reflection == "on",
        public_reflection=settings.public_reflection == "on",
        public_health=settings.public_health == "on",
        everyone_creates_projects=settings.project_creation == "everyone",
        features=tuple(f"python-source:{each}" for each in settings.enable_python_source),
        languages=languages_of(settings),
        translate=translator.translate,
        compile_job=translator.compile,
        estimate_cost=remote.accounts.estimate if remote is not None else None,
        analyze_job=translator.analyze,
        check_program=translator.check,
        workers=executor.list_workers,
        refresh_devices=partial(offered_devices.refresh_provider, database, executor, translator, listing),
        stream_send_timeout_seconds=settings.stream_send_timeout_seconds,
        request_receive_timeout_seconds=settings.request_receive_timeout_seconds,
        audit=settings.audit,
        trusted_proxies=settings.trusted_proxies,
        observer=observer,
    )
    return rpc.serve(database, options)


def _retention(settings: Settings, database: Database, observer: Observer) -> Retention:
    import structlog

    from qonduit_server.store.admin.retention import Retention

    archiver = None
    if settings.retention_archive:
        from qonduit_client.cli.as_json import as_dict
        from qonduit_server.store.admin.archive import Archive
        from qonduit_server.store.admin.archived_objects import Archiver

        archiver = Archiver(database, Archive(Path(settings.retention_archive)), as_dict)
    return Retention(
        database,
        settings.retention_days,
        structlog.get_logger("qonduit.retention").info,
        keep_audit_days=settings.audit_retention_days,
        archiver=archiver,
        observer=observer,
    )


def _log_start(app: App, owner: str, store: str, descriptions: Sequence[ProviderDescription], workers: int) -> None:
    """Log the server's address and providers, and a warning for each unavailable provider."""
    import structlog

    log = structlog.get_logger("qonduit.app")
    for description in descriptions:
        if description.unavailable:
            log.warning("provider unavailable", provider=description.provider.name, why=description.unavailable)
    names = [description.provider.name for description in descriptions]
    log.info("serving", target=app.target, owner=owner, store=store, providers=names, workers=workers)


@contextmanager
def _started() -> Iterator[None]:
    """Convert `Unavailable` at start, raised when the database is not writable, to `StartError`."""
    try:
        yield
    except Unavailable as error:
        raise StartError(
            f"the database is not writable: {error.__cause__ or error}. Is it locked by another process, full "
            "or read-only?"
        ) from error


def _translator(options: ExecutorOptions, executor: Executor) -> Translator:
    from qonduit_server.execution.local.interactive_pools import make_interactive_pools
    from qonduit_server.execution.local.translator import Translator

    return Translator(make_interactive_pools(options), executor)
