# SPDX-License-Identifier: Apache-2.0
"""Checks of the machine and the settings: contradictory settings, and insufficient memory, files or disk space."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from qonduit_server import provider_environments
from qonduit_server.encryption import key_ring
from qonduit_server.errors import RunError, StartError
from qonduit_server.languages.python.source_runner import PythonSource
from qonduit_server.process.memory import format_bytes, usable_memory
from qonduit_server.providers.aer.aer_gpu import find_gpu
from qonduit_server.settings import Settings
from qonduit_server.store.admin import key_rotation
from qonduit_server.store.admin.finding import Finding

#: File descriptors of a server beside one per client connection.
_OWN_FILES: Final = 256
#: Source that does nothing: it fails only if the sandbox cannot start.
_NOTHING: Final = "pass\n"
_UNAVAILABLE: Final = "PYTHON_SOURCE_UNAVAILABLE"


def examine(settings: Settings, known: tuple[str, ...]) -> Iterator[Finding]:
    """Check the machine, and start the sandbox of each language.

    Args:
        settings: the operator's settings.
        known: the names of all providers.
    """
    yield from _credential_keys(settings)
    yield from _memory(settings)
    yield from _files(settings)
    yield from _sandboxes(settings)
    yield from _gpu(settings, known)


def check_settings(settings: Settings, known: tuple[str, ...]) -> Iterator[Finding]:
    """Check that the settings do not contradict each other, and the programs and the folder that they name.

    Args:
        settings: the operator's settings.
        known: the names of all providers.
    """
    yield from _contradictions(settings, known)
    yield from _cache(settings)
    yield from _pythons(settings)


def _contradictions(settings: Settings, known: tuple[str, ...]) -> Iterator[Finding]:
    for smaller, larger in (
        ("max_program_bytes", "max_request_bytes"),
        ("max_result_bytes", "max_task_memory_bytes"),
    ):
        one, other = getattr(settings, smaller), getattr(settings, larger)
        if one > other:
            what = f"{smaller} ({format_bytes(one)}) is more than {larger} ({format_bytes(other)})"
            yield Finding("warning", what, f"Lower {smaller}, or raise {larger}.")
    offered = settings.providers or known
    for name in ("preload", "provider_python", "vendor_prices"):
        unknown = sorted({each.partition("/")[0] for each in getattr(settings, name)}.difference(offered))
        if unknown:
            fix = f"Remove them from {name}, or add them to QONDUIT_PROVIDERS."
            yield Finding("warning", f"{name} names providers that are not offered: {', '.join(unknown)}", fix)
    unused = sorted(set(settings.language_python).difference(settings.enable_python_source))
    if unused:
        fix = f"Enable them: QONDUIT_ENABLE_PYTHON_SOURCE={','.join(unused)}."
        yield Finding("warning", f"language_python names languages that are not enabled: {', '.join(unused)}", fix)
    if settings.lease_seconds < 5:
        what = f"lease_seconds is {settings.lease_seconds:g}: a server that pauses briefly loses its jobs to another"
        yield Finding("warning", what, "Raise lease_seconds to 30.")


def _credential_keys(settings: Settings) -> Iterator[Finding]:
    """Check that the server has the keys of all stored credentials."""
    try:
        known = [key.id for key in key_ring.load(settings.credential_key_file, dict(os.environ)).keys()]  # noqa: SIM118
    except StartError:
        return  # reported by the check of the settings
    try:
        used = key_rotation.usage(settings.database)
    except StartError:
        return  # reported by the checks of the database
    for key_id in sorted(set(used).difference(known)):
        what = f"{used[key_id]} credentials are encrypted with the key {key_id}, which the server does not have"
        fix = "Restore the key in credential_key_file, or let the owners replace the secrets of these credentials."
        yield Finding("error", what, fix)
    if known:
        old = sum(count for key_id, count in used.items() if key_id != known[0])
        fix = "`qonduit credential-key rotate` encrypts them with the first key." if old else ""
        yield Finding(
            "ok", f"{len(known)} keys for credentials; {old} credentials use an older one than the first", fix
        )


def _memory(settings: Settings) -> Iterator[Finding]:
    usable = usable_memory()
    if settings.max_memory_bytes > usable:
        most = format_bytes(settings.max_memory_bytes)
        what = f"max_memory_bytes is {most}, but this machine has {format_bytes(usable)}"
        yield Finding("warning", what, "Lower max_memory_bytes, or the kernel kills workers when memory runs out.")
    free = _available()
    if free is not None and free < min(settings.max_task_memory_bytes, settings.max_memory_bytes):
        what = f"{format_bytes(free)} of memory are free, less than the limit of one task"
        yield Finding("warning", what, "Stop other programs that use memory, or lower max_task_memory_bytes.")
    elif free is not None:
        yield Finding("ok", f"{format_bytes(free)} of {format_bytes(usable)} of memory are free")


def _gpu(settings: Settings, known: tuple[str, ...]) -> Iterator[Finding]:
    if "IBM" not in (settings.providers or known):
        return
    gpu = find_gpu()
    if gpu.memory_bytes:
        yield Finding("ok", f"IBM/aer_gpu is offered, with {format_bytes(gpu.memory_bytes)} on the GPU")
    else:
        yield Finding("ok", f"IBM/aer_gpu is not offered: {gpu.missing}")


def _available() -> int | None:
    """Return the available memory in bytes as the kernel reports it; None if it does not."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _files(settings: Settings) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_streams + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        what = f"{soft} files may be open, enough for about {max(0, soft - _OWN_FILES)} clients; max_streams is "
        fix = f"`ulimit -n {wanted}` before serving, or LimitNOFILE={wanted} for systemd."
        if hard != resource.RLIM_INFINITY and hard < wanted:
            fix = (
                f"The hard limit is {hard}: this user can set `ulimit -n {hard}`. To raise it, set "
                f"`* hard nofile {wanted}` in /etc/security/limits.conf (effective at the next login), "
                f"LimitNOFILE={wanted} for systemd, or --ulimit nofile={wanted}:{wanted} for a container. "
                f"Or lower QONDUIT_MAX_STREAMS to {max(1, hard - _OWN_FILES)}."
            )
        yield Finding("warning", f"{what}{settings.max_streams}", fix)


def _cache(settings: Settings) -> Iterator[Finding]:
    if not settings.translation_cache_bytes:
        return
    folder = Path(settings.translation_cache)
    existing = existing_parent(folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        fix = "Correct QONDUIT_TRANSLATION_CACHE, or set QONDUIT_TRANSLATION_CACHE_BYTES=0."
        yield Finding("warning", f"translation_cache: {existing} is not writable", fix)
    elif (free := shutil.disk_usage(existing).free) < settings.translation_cache_bytes and not folder.exists():
        most = format_bytes(settings.translation_cache_bytes)
        what = f"translation_cache may grow to {most}, but only {format_bytes(free)} are free"
        yield Finding("warning", what, "Lower QONDUIT_TRANSLATION_CACHE_BYTES, or move QONDUIT_TRANSLATION_CACHE.")


def existing_parent(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists: the server creates the others."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


def _pythons(settings: Settings) -> Iterator[Finding]:
    for name in ("provider_python", "vendor_python", "language_python"):
        for key, path in getattr(settings, name).items():
            if not _is_program(path):
                yield Finding("error", f"{name}: {path}, for {key}, cannot be executed", f"Correct {name}.")
    for each in provider_environments.environments(settings.provider_environments):
        if each.state in ("outdated", "broken") and each.provider not in settings.vendor_python:
            fix = f"Run `qonduit provider install {each.provider}` with the settings of the server."
            yield Finding("warning", f"the environment {each.folder} of {each.provider} is {each.state}", fix)


def _is_program(path: str) -> bool:
    return os.access(path, os.X_OK) and Path(path).is_file()


def _sandboxes(settings: Settings) -> Iterator[Finding]:
    """Start the sandbox of each language with enabled Python source."""
    for language in settings.enable_python_source:
        python = settings.language_python.get(language, sys.executable)
        if not _is_program(python):
            continue
        try:
            PythonSource({language: python}).build(language, _NOTHING, {})
        except RunError as error:
            if error.reason == _UNAVAILABLE:
                fix = "Use Linux 5.13 or newer with Landlock and seccomp, or remove it from enable_python_source."
                yield Finding("error", f"Python source of {language} cannot be run: {error}", fix)
                continue
        except (ImportError, OSError) as error:
            what = f"Python source of {language} cannot be run: {error}"
            yield Finding("error", what, f"Install the missing package, or make {tempfile.gettempdir()} usable.")
            continue
        yield Finding("ok", f"Python source of {language} runs in its sandbox")
