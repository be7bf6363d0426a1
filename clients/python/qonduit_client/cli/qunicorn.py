# SPDX-License-Identifier: Apache-2.0
"""The command import-qunicorn: import deployments and job requests of the predecessor system, each once."""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from qonduit_client.cli.completion import program_files
from qonduit_client.cli.error_messages import REFUSED, did_you_mean, exit_code, explain, worst
from qonduit_client.cli.output import Column, write_rows
from qonduit_client.cli.session import SHOTS, Session, print_error, session, shared_options
from qonduit_client.errors import QonduitError, ServerUnavailable

if TYPE_CHECKING:
    from qonduit.v1.deployment_pb2 import QuantumProgram
    from qonduit_client.client import Client
    from qonduit_client.qunicorn import OldDeployment, OldJob, Refusal

#: Of a Python file, or of its metadata.
_MOST_SOURCE_BYTES: Final = 1024**2
_NAMESPACE: Final = uuid.UUID("5a4d2c0e-6d0b-5c55-9c1e-0f6a4b0f7f11")


@dataclass(frozen=True)
class Line:
    """The outcome of one entry, or the reason for its rejection."""

    entry: str
    kind: str
    name: str
    old_id: int | None
    outcome: str
    deployment_id: int | None = None
    job_id: int | None = None
    why: str = ""
    code: int = 0


_COLUMNS: Final = [
    Column("entry", lambda line: line.entry, "ENTRY"),
    Column("kind", lambda line: line.kind, "KIND"),
    Column("name", lambda line: line.name, "NAME"),
    Column("old_id", lambda line: line.old_id, "OLD ID", right=True),
    Column("outcome", lambda line: line.outcome, "OUTCOME"),
    Column("deployment_id", lambda line: line.deployment_id, "DEPLOYMENT", right=True),
    Column("job_id", lambda line: line.job_id, "JOB", right=True),
    Column("why", lambda line: line.why),
]


@click.command("import-qunicorn")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=program_files)
@click.option("--dry-run", is_flag=True, help="Check all entries; store and run nothing.")
@click.option("--run", "run_all", is_flag=True, help="Also run the deployments without a job request.")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="OLD=NEW",
    help="Run jobs of device OLD on NEW, as RIGETTI/2q-qvm=GOOGLE/cirq_simulator. Repeatable.",
)
@click.option(
    "--deployment",
    "deployments",
    multiple=True,
    metavar="OLD=NEW",
    help="Map a deployment id of the old server to a stored deployment. Repeatable.",
)
@click.option(
    "--shots", type=SHOTS, default=1000, show_default=True, metavar="N", help="Shots of entries that set none."
)
@shared_options()
def import_qunicorn(
    files: Sequence[str],
    dry_run: bool,
    run_all: bool,
    devices: Sequence[str],
    deployments: Sequence[str],
    shots: int,
) -> int:
    """Import deployments and job requests from qunicorn: JSON files in the format of its API.

    Each FILE (- for standard input) contains one of them or a list. The command stores the deployments, then runs the
    job requests. Repeating an import creates nothing twice. Deployments without an id are numbered from 1, as a new
    server does. A token is sent only to a provider that accepts one.
    """
    here = session()
    entries = [(name, entry) for name in files for entry in _read(name)]
    mapped = _pairs(devices, "--device")
    known: dict[int, int] = {}
    for old, new in _pairs(deployments, "--deployment").items():
        if not (old.isdigit() and new.isdigit()):
            raise click.UsageError(f"--deployment {old}={new}: ids must be integers, as in --deployment 3=17")
        known[int(old)] = int(new)
    with here.client() as client:
        importer = _Importer(here, client, mapped, known, shots, dry_run)
        lines: list[Line] = []

        def report_lines() -> Iterator[Line]:
            for line in importer.all(entries, run_all):
                lines.append(line)
                if line.why:
                    print_error("Refused", f"{line.entry}: {line.why}")
                yield line

        write_rows(here, _COLUMNS, report_lines(), empty="nothing to import")
    if importer.unsent_tokens:
        tokens = "1 token was" if importer.unsent_tokens == 1 else f"{importer.unsent_tokens} tokens were"
        click.echo(f"{tokens} not sent: the providers accept none", err=True)
    made = [str(line.job_id) for line in lines if line.job_id is not None]
    if made and here.output == "table":
        click.echo(f"follow the jobs: qonduit watch {' '.join(made)}{here.server_hint()}")
    return worst(line.code for line in lines)


class _Importer:
    """One import, with the deployments stored so far by their old ids.

    Attributes:
        unsent_tokens: the number of tokens not sent, because the provider accepts none.
    """

    def __init__(
        self,
        here: Session,
        client: Client,
        devices: Mapping[str, str],
        known: dict[int, int],
        shots: int,
        dry_run: bool,
    ) -> None:
        from qonduit_client.device_requests import named

        self._here = here
        self._client = client
        self._mapped = devices
        self._known = known
        self._shots = shots
        self._dry_run = dry_run
        providers = client.providers()
        devices_here = named(client.devices(), providers)
        self._devices = sorted(devices_here)
        of_providers = {each.id: each.with_token for each in providers}
        self._with_token = {
            name
            for name, each in devices_here.items()
            if (each.with_token if each.HasField("with_token") else of_providers[each.provider_id])
        }
        self._programs: dict[int, Sequence[QuantumProgram]] = {}
        self._seen: Counter[str] = Counter()
        self.unsent_tokens = 0

    def all(self, entries: Sequence[tuple[str, OldDeployment | OldJob | Refusal]], run_all: bool) -> Iterator[Line]:
        """Import all entries, deployments first; stop if the server becomes unreachable."""
        from qonduit_client.qunicorn import OldDeployment, OldJob

        deployments = [(name, each) for name, each in entries if isinstance(each, OldDeployment)]
        jobs = [(name, each) for name, each in entries if isinstance(each, OldJob)]
        for name, each in entries:
            if not isinstance(each, OldDeployment | OldJob):
                yield Line(f"{name} {each.path}", "", "", None, "refused", why=each.why, code=REFUSED)
        if all(each.old_id is None for _, each in deployments):
            deployments = [(name, replace(each, old_id=place)) for place, (name, each) in enumerate(deployments, 1)]
        for name, deployment in deployments:
            yield self._store(name, deployment)
        for name, job in jobs:
            yield self._run(name, job)
        if run_all:
            named = {each.deployment_id for _, each in jobs}
            for name, each in deployments:
                if each.old_id is not None and each.old_id in self._known and each.old_id not in named:
                    job = OldJob(each.path, each.name, "IBM/aer_simulator", None, each.old_id, "")
                    yield self._run(name, job)

    def _store(self, file: str, old: OldDeployment) -> Line:
        line = Line(f"{file} {old.path}", "deployment", old.name or "", old.old_id, "stored")
        if old.old_id is not None and old.old_id in self._known:
            return replace(
                line,
                outcome="refused",
                why=f"id: {old.old_id} occurs twice; remove one",
                code=REFUSED,
            )
        if self._dry_run:
            made = -1
        else:
            content = "\n".join(
                [old.name or "", *(each.SerializeToString(deterministic=True).hex() for each in old.programs)]
            )
            try:
                made = self._client.deploy(
                    old.programs, old.name, request_id=self._request_id("deployment", content)
                ).id
            except QonduitError as error:
                return self._refused(line, error)
        if old.old_id is not None:
            self._known[old.old_id] = made
            self._programs[old.old_id] = old.programs
        return replace(line, outcome="would be stored") if self._dry_run else replace(line, deployment_id=made)

    def _run(self, file: str, old: OldJob) -> Line:
        line = Line(f"{file} {old.path}", "job", old.name or "", old.deployment_id, "made")
        deployment_id = self._known.get(old.deployment_id)
        device = self._mapped.get(old.device, old.device)
        why = ""
        if deployment_id is None:
            why = (
                f"deploymentId: deployment {old.deployment_id} was not imported; pass its file, "
                f"or map it to a stored deployment: --deployment {old.deployment_id}=ID"
            )
        elif device not in self._devices:
            close = did_you_mean(device, self._devices) or self._devices
            why = (
                f"deviceName: this server has no {device}; map it to one of its devices: "
                f"--device {old.device}={' or '.join(close)}"
            )
        if deployment_id is None or why:
            return replace(line, outcome="refused", why=why, code=REFUSED)
        # A token authenticates a user at one vendor: it must not reach another.
        credential = old.token if device in self._with_token else ""
        self.unsent_tokens += bool(old.token) and not credential
        shots = self._shots if old.shots is None else old.shots
        try:
            if old.kind != "RUNNER":
                return self._run_file(line, old, deployment_id, device)
            if self._dry_run:
                programs = self._programs.get(old.deployment_id)
                stored = deployment_id if programs is None else None
                self._client.check(programs, device, shots, name=old.name, deployment_id=stored)
                return replace(line, outcome="would be made")
            content = f"{deployment_id}\n{device}\n{shots}\n{old.name or ''}"
            handle = self._client.run(
                device=device,
                shots=shots,
                name=old.name,
                deployment_id=deployment_id,
                credential=credential,
                request_id=self._request_id("job", content),
            )
        except QonduitError as error:
            return self._refused(line, error)
        outcome = "made before" if handle.deduplicated else "made"
        return replace(line, outcome=outcome, deployment_id=deployment_id, job_id=handle.id)

    def _run_file(self, line: Line, old: OldJob, deployment_id: int, device: str) -> Line:
        """Upload a Python file, or run it."""
        if self._dry_run:
            return replace(line, outcome="would be made")
        request_id = self._request_id("job", f"{old.kind}\n{deployment_id}\n{device}\n{old.name or ''}")
        programs = self._client.programs
        if old.kind == "IBM_UPLOAD":
            made = programs.upload(deployment_id, request_id=request_id)
            return replace(line, name=made.name, deployment_id=made.deployment_id, job_id=made.upload_job_id)
        run = programs.run(deployment_id, device, name=old.name, request_id=request_id)
        return replace(line, deployment_id=deployment_id, job_id=run.id)

    def _refused(self, line: Line, error: QonduitError) -> Line:
        if isinstance(error, ServerUnavailable):
            error.add_note("repeat the import when the server is back: it creates nothing twice")
            raise error
        text = explain(error, self._here.address)
        return replace(line, outcome="refused", why=text.replace("\n", "; "), code=exit_code(error))

    def _request_id(self, kind: str, content: str) -> str:
        """Return an id that is the same in each import; equal entries are distinguished by their number."""
        digest = hashlib.sha256(f"{kind}\n{content}".encode()).hexdigest()
        self._seen[digest] += 1
        return str(uuid.uuid5(_NAMESPACE, f"{digest} {self._seen[digest]}"))


def _read(name: str) -> Iterator[OldDeployment | OldJob | Refusal]:
    from qonduit_client.qunicorn import MOST_BYTES, Refusal, entries_of, no_files

    try:
        if name == "-":
            text = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                text = file.read(MOST_BYTES + 1)
    except OSError as error:
        return iter([Refusal("$", f"{error.strerror or error}; check its name and permissions")])
    if len(text) > MOST_BYTES:
        return iter([Refusal("$", f"larger than {MOST_BYTES // 1024**2} MiB; split it")])
    return entries_of(text, no_files if name == "-" else partial(_read_beside, Path(name)))


def _read_beside(entries: Path, name: str) -> str:
    """Return the text of a file in the folder of a file of entries. Raises ValueError."""
    folder = entries.resolve().parent
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise ValueError(f"{name[:200]} must be in the folder of {entries.name}: only files there are read")
    try:
        if path.stat().st_size > _MOST_SOURCE_BYTES:
            raise ValueError(f"{name[:200]} is larger than {_MOST_SOURCE_BYTES // 1024**2} MiB")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{name[:200]} is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"{name[:200]}: {error.strerror or error}") from None


def _pairs(given: Sequence[str], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given:
        old, equals, new = each.partition("=")
        if not equals or not old or not new:
            raise click.UsageError(f"{option}: expected OLD=NEW, got {each!r}")
        found[old] = new
    return found
