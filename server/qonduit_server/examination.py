# SPDX-License-Identifier: Apache-2.0
"""Check settings and installations: `qonduit serve --check-config`, and `qonduit doctor`, which checks more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

from qonduit_server import authentication, diagnostics, monitoring, offered_devices
from qonduit_server.encryption import key_ring
from qonduit_server.errors import StartError
from qonduit_server.execution.executor import make_executor
from qonduit_server.executor_settings import executor_options
from qonduit_server.process.release import installed_release
from qonduit_server.providers import registry
from qonduit_server.settings import Settings
from qonduit_server.store.admin.finding import Finding
from qonduit_server.store.device_rules import DeviceRules
from qonduit_server.store.engines import parse_url
from qonduit_server.store.quota_registry import read_setting

#: What raises StartError, and how to repair that.
_Check = tuple[Callable[[], object], str]


def check_settings(settings: Settings) -> list[Finding]:
    """Check all settings, and the files and folders that they name, without a process, a connection or a change.

    Args:
        settings: the settings of the server.
    """
    return [*_settings_and_files(settings), *_database_file(settings)]


def check_machine(settings: Settings) -> list[Finding]:
    """Check the settings of a worker machine, and the files and folders that they name, as `check_settings` does.

    Args:
        settings: the settings of the machine.
    """
    findings = [*_errors((_executor_check(replace(settings, executor="celery")),))]
    return [*findings, *diagnostics.check_settings(settings, registry.names())]


def _settings_and_files(settings: Settings) -> Iterator[Finding]:
    yield from _errors_of_start(settings)
    if settings.listen.startswith("unix:"):
        yield from _unwritable("listen", Path(settings.listen.removeprefix("unix:")).absolute().parent)
    if settings.retention_archive:
        yield from _unwritable("retention_archive", diagnostics.existing_parent(Path(settings.retention_archive)))
    yield from diagnostics.check_settings(settings, registry.names())


def _errors_of_start(settings: Settings) -> Iterator[Finding]:
    """Run the checks that a server runs when it starts."""
    yield from _errors(
        (
            (lambda: parse_url(settings.database), "Correct QONDUIT_DATABASE."),
            (
                lambda: parse_url(settings.database_pooler) if settings.database_pooler else None,
                "Correct QONDUIT_DATABASE_POOLER, which is a URL as QONDUIT_DATABASE is.",
            ),
            (lambda: authentication.check(settings), "Correct the settings of TLS and authentication."),
            (lambda: authentication.certificates(settings), "Correct the settings of TLS."),
            (lambda: authentication.check_files(settings), "Correct the settings of authentication."),
            (
                lambda: key_ring.load(settings.credential_key_file, dict(os.environ)),
                "Correct QONDUIT_CREDENTIAL_KEY_FILE.",
            ),
            (lambda: monitoring.check(settings), "Correct the settings of metrics."),
            (lambda: read_setting(settings.default_quotas), "Correct QONDUIT_DEFAULT_QUOTAS."),
            (lambda: offered_devices.rules_of(settings), "Correct QONDUIT_VENDOR_PRICES."),
            _executor_check(settings),
        )
    )


def _executor_check(settings: Settings) -> _Check:
    fix = "Correct the settings of the executor, of the providers or of the languages."
    return (lambda: make_executor(settings.executor, executor_options(settings))), fix


def _errors(checks: Iterable[_Check]) -> Iterator[Finding]:
    for check, fix in checks:
        try:
            check()
        except StartError as error:
            yield Finding("error", str(error), fix)


def _database_file(settings: Settings) -> Iterator[Finding]:
    """Check that the server can use the file of a SQLite database."""
    try:
        url = parse_url(settings.database)
    except StartError:
        return
    if url.drivername == "sqlite" and url.database:
        file = Path(url.database).absolute()
        # SQLite and the server create further files beside it.
        yield from _unwritable("database", file.parent)
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            yield Finding("error", f"database: {file} is not readable and writable", "Correct its owner or its mode.")


def _unwritable(name: str, folder: Path) -> Iterator[Finding]:
    if folder.exists() and not folder.is_dir():
        yield Finding("error", f"{name}: {folder} is not a folder", "Correct it.")
    elif not folder.exists():
        yield Finding("error", f"{name}: the folder {folder} does not exist", "Create it.")
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("error", f"{name}: the folder {folder} is not writable", "Correct its owner or its mode.")


def examine(settings: Settings, *, deep: bool = False) -> list[Finding]:
    """Check the settings, the database, the machine and the environment of each provider.

    Args:
        settings: the settings of the server.
        deep: check every row of the database, without a time limit.
    """
    from qonduit_server.store.admin.doctor import inspect

    findings = list(inspect(settings.database, deep=deep, calls=settings.rpc_threads))
    findings += diagnostics.examine(settings, registry.names())
    # The check of the database reports an invalid URL as well.
    known = {each.what for each in findings}
    findings += [each for each in _settings_and_files(settings) if each.what not in known]
    try:
        executor = make_executor(settings.executor, executor_options(settings))
    except StartError:
        return findings
    if settings.executor == "celery":
        findings.append(broker := _broker(settings))
        if broker.level == "error":
            return findings
    executor.launch()
    try:
        described = executor.descriptions(offered_devices.DESCRIBE_SECONDS)
        names = {f"{each.provider.name}/{device.name}" for each in described for device in each.devices}
        if unknown := sorted(set(settings.disabled_devices) - names):
            what = f"disabled_devices names devices that no provider has: {', '.join(unknown)}"
            fix = "Correct QONDUIT_DISABLED_DEVICES, unless a vendor lists these devices to a running server."
            findings.append(Finding("warning", what, fix))
        rules = DeviceRules(frozenset(settings.disabled_devices))
        descriptions = [rules.applied_to(each) for each in described]
        if unknown := offered_devices.unknown_backends(descriptions, settings.fake_backends):
            what = f"fake_backends names backends that do not exist: {', '.join(unknown)}"
            findings.append(Finding("warning", what, "Correct QONDUIT_FAKE_BACKENDS: default, all, or NAME,..."))
        for description in descriptions:
            name = description.provider.name
            if description.unavailable:
                findings.append(Finding("warning", f"provider {name} cannot run here", description.unavailable))
            else:
                devices = ", ".join(f"{name}/{device.name}" for device in description.devices if device.available)
                findings.append(Finding("ok", f"provider {name} offers {devices}", ""))
        findings += _machines({(each.host, each.release) for each in executor.list_workers() if each.host})
    finally:
        executor.stop(1)
    return findings


def _broker(settings: Settings) -> Finding:
    """Connect to the broker, and use the permissions that a server needs."""
    from qonduit_server.execution.celery.broker_check import broker_problem

    if problem := broker_problem(settings.broker, settings.broker_ca):
        fix = "Start RabbitMQ, correct QONDUIT_BROKER, or permit the user the names that begin with qonduit."
        return Finding("error", f"cannot use the broker {problem}", fix)
    return Finding("ok", "the broker can be used")


def _machines(found: AbstractSet[tuple[str, str]]) -> Iterator[Finding]:
    """Compare the releases of worker machines, given with the names of the machines, with the one installed here."""
    here = installed_release()
    for host, release in sorted(found):
        if release != here:
            what = f"worker machine {host} runs {f'release {release}' if release else 'an older release'}, not {here}"
            fix = "It takes tasks. Install the same release there, and restart `qonduit worker`: tasks return first."
            yield Finding("warning", what, fix)
    if same := [host for host, release in sorted(found) if release == here]:
        yield Finding("ok", f"worker machines of this release: {', '.join(same)}")
