# SPDX-License-Identifier: Apache-2.0
"""The settings: a frozen object that the command line creates from options, QONDUIT_* variables and a file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from qonduit_server.process.cores import usable_cores
from qonduit_server.process.memory import usable_memory

_LAST_PORT: Final = 65535


def _setting(default: Any, help: str, **rules: Any) -> Any:
    """Declare a setting.

    Args:
        default: its value, or a function that returns it.
        help: its help text.
        rules: `least` (the smallest value), `check` (raises ValueError for an invalid value),
            `formerly` (a deprecated name that still works in this release),
            `relocate` (returns the value with paths of a folder instead of relative ones),
            `redact` (returns the value without a secret), `tables` (whether its values may be tables in a file), and
            `reload`: "yes" if a running server can adopt a new value, "while set" if it can as long as the setting is
            not empty before and after, "user and password" if it can as long as the rest of the URL is the same.
    """
    metadata = {"help": help, **rules}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def _cache_folder() -> str:
    return str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qonduit" / "translations")


def _environments_folder() -> str:
    return str(Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "qonduit" / "providers")


def _half_of_memory() -> int:
    return usable_memory() // 2


def _most_of_memory() -> int:
    return usable_memory() // 4 * 3


def _is_host_and_port(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and int(port) <= _LAST_PORT


def _check_metrics_address(address: str) -> None:
    """Accept no address, for no endpoint."""
    if address and not _is_host_and_port(address):
        raise ValueError(f"must be HOST:PORT with a port from 0 (a free one) to {_LAST_PORT}, got {address!r}")


def _check_address(address: str) -> None:
    """Reject a port above 65535, of which gRPC would use only the lowest 16 bits."""
    if not _is_host_and_port(address) and not (address.startswith("unix:") and len(address) > len("unix:")):
        raise ValueError(
            f"must be HOST:PORT with a port from 0 (a free one) to {_LAST_PORT}, or unix:PATH, got {address!r}"
        )


def _in_folder(path: str, folder: Path) -> str:
    return str(folder / Path(path).expanduser()) if path else ""


def _socket_in_folder(listen: str, folder: Path) -> str:
    kind, separator, path = listen.partition(":")
    return f"unix:{_in_folder(path, folder)}" if separator and kind == "unix" else listen


def _database_in_folder(url: str, folder: Path) -> str:
    kind, separator, path = url.partition(":///")
    return f"{kind}:///{_in_folder(path, folder)}" if separator and kind.startswith("sqlite") else url


def _without_password(url: str) -> str:
    url = re.sub(r"(://[^:/@]*:)[^@]+@", r"\1***@", url)
    return re.sub(r"([?&](?:ssl)?password=)[^&#]+", r"\1***", url)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of an operator. Sizes are in bytes, times in seconds."""

    listen: str = _setting(
        "127.0.0.1:50051",
        "HOST:PORT to listen on, port 0 selects a free port; or unix:PATH, a socket for this user only.",
        check=_check_address,
        relocate=_socket_in_folder,
    )
    database: str = _setting(
        "sqlite:///qonduit.sqlite3",
        "sqlite:///FILE or postgresql://USER@HOST/NAME.",
        relocate=_database_in_folder,
        redact=_without_password,
    )
    database_pooler: str = _setting(
        "",
        "URL of the same PostgreSQL database through a connection pooler in transaction mode, for reads.",
        redact=_without_password,
    )

    tls_certificate: str = _setting(
        "",
        "File of the server's certificate chain (PEM); plain text if empty.",
        relocate=_in_folder,
        reload="while set",
    )
    tls_key: str = _setting(
        "", "File of the private key of the certificate (PEM).", relocate=_in_folder, reload="while set"
    )
    tls_client_ca: str = _setting(
        "",
        "File of the CAs (PEM) of client certificates, which clients must then have.",
        relocate=_in_folder,
        reload="while set",
    )
    tls_client_roles: Mapping[str, str] = _setting(
        lambda: MappingProxyType({}),
        "Roles of client certificates: NAME=operator,NAME=admin; others are users.",
        reload="yes",
    )
    token_file: str = _setting(
        "", "File of tokens, written by `qonduit token`; calls then need a token.", relocate=_in_folder, reload="yes"
    )
    oidc_issuer: str = _setting("", "URL of the OIDC issuer whose tokens are accepted.", reload="yes")
    oidc_audience: str = _setting("", "Audience that its tokens must have.", reload="yes")
    oidc_jwks_url: str = _setting("", "URL of its keys; by discovery if empty.", reload="yes")
    oidc_name_claim: str = _setting(
        "sub", "Claim with the caller's name, which owns the caller's objects.", reload="yes"
    )
    oidc_role_claim: str = _setting(
        "", "Claim with roles or groups; dots lead into objects. If empty, all are users.", reload="yes"
    )
    oidc_roles: Mapping[str, str] = _setting(
        lambda: MappingProxyType({}), "Roles of values of that claim: VALUE=operator,VALUE=admin.", reload="yes"
    )
    credential_key_file: str = _setting(
        "",
        "File of the keys that encrypt stored credentials, written by `qonduit credential-key`.",
        relocate=_in_folder,
    )
    worker_key_file: str = _setting(
        "",
        "File of the keys that encrypt credentials on their way to worker machines; the same file at both.",
        relocate=_in_folder,
    )
    allow_insecure_remote_access: Literal["on", "off"] = _setting(
        "off", "Whether the server may listen beyond this machine without TLS or without authentication."
    )

    providers: tuple[str, ...] = _setting((), "Providers to offer: NAME,NAME; all registered providers if empty.")
    provider_python: Mapping[str, str] = _setting(
        lambda: MappingProxyType({}),
        "Another Python for a provider's processes: NAME=PATH,NAME=PATH.",
        relocate=_in_folder,
    )
    vendor_python: Mapping[str, str] = _setting(
        lambda: MappingProxyType({}),
        "Another Python for the processes that call a vendor: NAME=PATH,NAME=PATH.",
        relocate=_in_folder,
    )
    provider_environments: str = _setting(
        _environments_folder,
        "Folder of the environments that `qonduit provider install` builds for vendors.",
        relocate=_in_folder,
    )
    vendor_refresh_seconds: float = _setting(
        900.0, "How often vendors list the devices of known accounts; 0: only on request.", least=0
    )
    vendor_probes: Literal["simulators", "all", "off"] = _setting(
        "simulators", "The devices at vendors whose bit order a job verifies, which the vendor may charge for."
    )
    vendor_prices: Mapping[str, str] = _setting(
        lambda: MappingProxyType({}),
        "Prices of devices at vendors: PROVIDER/device=unit=EUR; job=0.3; shot=0.01; second=1.6; max_seconds=60.",
        tables=True,
        reload="yes",
    )
    disabled_devices: tuple[str, ...] = _setting(
        (), "Devices that accept no jobs: PROVIDER/device,PROVIDER/device.", reload="yes"
    )
    fake_backends: tuple[str, ...] = _setting(
        ("default",), "Fake backends of IBM to offer: default (eight), all, or NAME,NAME."
    )
    preload: tuple[str, ...] = _setting((), "Providers whose SDK is loaded at start, in this order; all if empty.")

    enable_python_source: tuple[str, ...] = _setting(
        (),
        "Languages whose Python source runs in a sandbox: QISKIT,CIRQ,BRAKET,QRISP,PYTHON; disabled if empty.",
        formerly="python_source",
    )
    language_python: Mapping[str, str] = _setting(
        lambda: MappingProxyType({}),
        "Another Python for a language's source: NAME=PATH,NAME=PATH.",
        relocate=_in_folder,
    )
    python_environments: Mapping[str, str] = _setting(
        lambda: MappingProxyType({}),
        "Pythons of the environments for server programs: NAME=PATH,NAME=PATH; `default` is that of PYTHON.",
        relocate=_in_folder,
    )

    max_running_programs: int = _setting(16, "Server programs that run at once, beside the workers.", least=1)
    max_program_seconds: float = _setting(
        6 * 3600.0, "Time limit of a server program in seconds, with its jobs; 0: no limit.", least=0
    )
    max_program_jobs: int = _setting(1000, "Jobs that one server program submits; 0: no limit.", least=0)

    translation_cache: str = _setting(
        _cache_folder,
        "The folder of programs that were slow to read or place, shared by all workers.",
        relocate=_in_folder,
    )
    translation_cache_bytes: int = _setting(
        256 * 1024**2, "Largest size of the translation cache; 0 disables it.", least=0
    )

    executor: str = _setting(
        "local",
        "The executor that runs tasks: local, celery (on worker machines), or one that a package registers.",
    )
    broker: str = _setting(
        "",
        "URL of the RabbitMQ that connects servers and worker machines: amqps://USER:PASSWORD@HOST/VHOST.",
        redact=_without_password,
        reload="user and password",
    )
    broker_ca: str = _setting(
        "", "File of the CAs (PEM) of the broker's certificate; those of the system if empty.", relocate=_in_folder
    )
    workers: int = _setting(
        usable_cores, "Number of tasks that run at once; default: one per core.", least=1, reload="yes"
    )
    max_attempts: int = _setting(3, "Maximum number of starts of a job whose worker or server dies.", least=1)
    max_job_seconds: float = _setting(3600.0, "Time limit of one job.", least=0.001)
    max_read_seconds: float = _setting(20.0, "Time limit for reading one program.", least=0.001)
    max_task_memory_bytes: int = _setting(
        _half_of_memory,
        "Memory limit of one task, at most max_memory_bytes; default: half of the machine's.",
        least=1,
    )
    max_memory_bytes: int = _setting(
        _most_of_memory, "Memory limit of all tasks together; default: three quarters of the machine's.", least=1
    )
    lease_seconds: float = _setting(
        30.0, "Time without a lease renewal after which other servers claim a server's jobs.", least=0.1
    )
    drain_seconds: float = _setting(30.0, "Time for running jobs to end when the server stops.", least=0, reload="yes")

    max_request_bytes: int = _setting(16 * 1024**2, "Largest request.", least=1)
    max_program_bytes: int = _setting(1024**2, "Largest program.", least=1, reload="yes")
    max_programs: int = _setting(500, "Maximum number of programs in a deployment.", least=1, reload="yes")
    max_shots: int = _setting(
        10_000_000, "Maximum number of shots of a job; a device may allow fewer.", least=1, reload="yes"
    )
    max_queued_jobs: int = _setting(100_000, "Maximum number of waiting jobs.", least=1, reload="yes")
    max_caller_preparations: int = _setting(
        64,
        "Maximum of translations, validations and comparisons of a caller at once; 0: no limit.",
        least=0,
        reload="yes",
    )
    max_caller_preparation_seconds: float = _setting(
        120.0, "Worker seconds that these calls of a caller may use per minute; 0: no limit.", least=0, reload="yes"
    )
    project_creation: Literal["everyone", "admin"] = _setting(
        "everyone", "Who may create projects: every caller, or only admins."
    )
    default_quotas: Mapping[str, str] = _setting(
        lambda: MappingProxyType({}),
        "Quotas of owners without their own: NAME=NUMBER,NAME=NUMBER, as queued_jobs=1000,open_streams=100.",
        reload="yes",
    )
    max_tested_rows: int = _setting(
        1_000_000,
        "Rows that all pages of a list may test for a filter without an index and leave out; 0: no limit.",
        least=0,
        reload="yes",
    )
    max_result_bytes: int = _setting(64 * 1024**2, "Largest result of one program.", least=1)
    max_streams: int = _setting(20_000, "Maximum number of open streams.", least=1)
    stream_send_timeout_seconds: float = _setting(
        10.0,
        "Time limit for a client to accept an event; six times as long for a response.",
        least=0.1,
        formerly="slow_reader_seconds",
    )
    request_receive_timeout_seconds: float = _setting(
        120.0, "Time limit for a request to arrive.", least=0.1, formerly="slow_request_seconds"
    )
    retention_days: float = _setting(
        0.0, "Days after which ended jobs are deleted; 0 disables this.", least=0, reload="yes"
    )
    retention_archive: str = _setting(
        "",
        "Folder to which retention writes jobs, as JSON lines, before it deletes them; no copy if empty.",
        relocate=_in_folder,
    )

    audit: Literal["changes", "all", "off"] = _setting(
        "changes", "What the audit log contains: changes, refusals and operators' reads; all calls; or off."
    )
    audit_retention_days: float = _setting(
        365.0, "Days after which entries of the audit log are deleted; 0 disables this.", least=0, reload="yes"
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (), "Addresses of proxies whose metadata x-forwarded-for names the caller, for the audit log."
    )

    rpc_threads: int = _setting(24, "Number of threads that answer unary calls.", least=2)
    reflection: Literal["on", "off"] = _setting("on", "Whether clients can read the contract by reflection.")
    public_reflection: Literal["on", "off"] = _setting("on", "Whether reflection needs no token.")
    public_health: Literal["on", "off"] = _setting("on", "Whether the health service needs no token.")
    log_format: Literal["auto", "json", "console"] = _setting(
        "auto", "Format of the log; auto is console on a terminal, else json."
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "Lowest level that is logged.", reload="yes"
    )

    metrics_address: str = _setting(
        "",
        "HOST:PORT of the endpoint of metrics for Prometheus, as 127.0.0.1:9464; none if empty.",
        check=_check_metrics_address,
    )
    allow_insecure_remote_metrics: Literal["on", "off"] = _setting(
        "off", "Whether other machines may read the metrics without authentication, and collectors need no TLS."
    )
    metrics_owners: int = _setting(
        100, "Maximum number of owners with metrics of their own, others count together; 0: none.", least=0
    )
    otlp_endpoint: str = _setting(
        "", "URL of a collector of OpenTelemetry (OTLP over HTTP), as http://127.0.0.1:4318; none if empty."
    )
    otlp_signals: tuple[str, ...] = _setting(
        ("metrics", "traces"), "What the server sends to the collector: metrics,traces,logs."
    )
    otlp_trace_ratio: float = _setting(
        0.05, "Share of the calls that are traced although their callers do not trace them, 0 to 1.", least=0
    )

    def __post_init__(self) -> None:
        # Admission cannot reserve more memory for one task than for all tasks together.
        object.__setattr__(self, "max_task_memory_bytes", min(self.max_task_memory_bytes, self.max_memory_bytes))
