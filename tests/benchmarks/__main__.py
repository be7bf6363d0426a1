# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.benchmarks`: measure and print a table; --write stores it in BENCHMARKS.md.

Every figure has a reference from the same run. Qonduit and the reference alternate, and the table shows medians, so
that a drift of the machine's speed affects both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qonduit_server.rpc.auth import token_file
from qonduit_server.rpc.auth.principal import Role
from tests.benchmarks import load, page
from tests.benchmarks.adapters import SDKS
from tests.benchmarks.overheads import PARTS
from tests.benchmarks.page import CORES, Row
from tests.postgresql import running
from tests.server_process import Server, serving

ROOT = Path(__file__).resolve().parents[2]
SHOTS = 1000
REST_SECONDS = 4.0
#: Modules with their kinds of measurement.
SIMULATIONS = (
    *(("simulations", kind) for kind in ("methods", "slices", "stim", "qsim")),
    *(("noise_simulations", kind) for kind in ("aer", "braket", "cirq", "shaped")),
)
_SIMULATION_SECONDS = 600
#: The callers of a load with authentication.
_CALLERS = 8
#: Modules that measure jobs of a server of their own, with their kinds of measurement.
SERVED = (
    *(("overheads", part) for part in PARTS),
    ("variational", "vqe"),
    ("served_jobs", "sweeps"),
    ("served_jobs", "terms"),
    ("other_servers", "servers_events"),
    ("other_servers", "servers_cpu"),
    ("worker_machines", "celery_loads"),
    ("worker_machines", "celery_faults"),
    ("vendor_jobs", "waiting"),
    ("server_program_runs", "programs"),
)
#: The factor and the format of a unit.
_UNITS = {
    "ms": (1e3, ".1f"),
    "us": (1e6, ".0f"),
    "s": (1.0, ".1f"),
    "jobs/s": (1.0, ".3g"),
    "terms/s": (1.0, ",.0f"),
    "KiB": (1.0, ".1f"),
    "threads": (1.0, ".0f"),
    "polls/s": (1.0, ".1f"),
    "%": (1.0, ".1f"),
}
#: Those of `tests.benchmarks.sweeps`, which sets up its process for simulations.
SWEPT_SDKS = ("qiskit", "cirq", "braket", "fake_manila", "fake_torino")


def _python(module: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | environment)


def _answers(processes: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    answers = []
    for process in processes:
        out, _ = process.communicate(timeout=600)
        if process.returncode:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        answers.append(json.loads(out.splitlines()[-1]))
    return answers


def _rest() -> None:
    """Sleep: virtual machines throttle after load, and Qonduit is measured after the reference."""
    time.sleep(REST_SECONDS)


def bare(kind: str, seconds: float, processes: int = 1, shots: int = SHOTS) -> list[dict[str, Any]]:
    """Measure the bare SDK in a number of concurrent processes."""
    _rest()
    return _answers([_python("tests.benchmarks.bare", kind, seconds, shots) for _ in range(processes)])


def ours(
    server: Server, kind: str, seconds: float, streams: int = 1, shots: int = SHOTS, tokens: Sequence[str] = ()
) -> dict[str, Any]:
    """Measure the same through the server, by callers with these tokens; add the CPU seconds of its processes."""
    _rest()
    before = server.cpu()
    callers = {"BENCHMARK_TOKENS": " ".join(tokens)}
    (answer,) = _answers([_python("tests.benchmarks.load", server.target, kind, seconds, shots, streams, **callers)])
    if answer["failures"] or not answer["checked"]:
        raise RuntimeError(f"jobs failed: {answer['failures']}")
    answer["server_cpu"] = server.cpu() - before
    return answer


def _warm(server: Server) -> None:
    ours(server, "bell", 2, streams=8)


def _spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def throughput(server: Server, name: str, rounds: int, seconds: float) -> list[Row]:
    """Measure end-to-end Bell jobs per second against one bare loop per core, and the CPU time of a job."""
    rates, references, ratios, cpus, cpu_references = [], [], [], [], []
    for _ in range(rounds):
        loops = bare("bell", seconds, CORES)
        reference = sum(len(loop["times"]) / loop["wall"] for loop in loops)
        cpu_reference = sum(loop["cpu"] for loop in loops) / sum(len(loop["times"]) for loop in loops)
        load = ours(server, "bell", seconds, streams=32)
        rate = len(load["times"]) / load["wall"]
        rates.append(rate)
        references.append(reference)
        ratios.append(rate / reference)
        cpus.append(load["server_cpu"] / len(load["times"]) * 1e3)
        cpu_references.append(cpu_reference * 1e3)
    cpu_ratios = [a / b for a, b in zip(cpus, cpu_references, strict=True)]
    return [
        Row(
            f"Bell jobs a second, end to end, {name}",
            _spread(rates, ".0f"),
            f"bare loop, {CORES} processes: {_spread(references, '.0f')}",
            _spread(ratios, ".2f"),
            ">= 0.5, never < 0.25",
        ),
        Row(
            f"CPU a job, server and workers, {name}",
            f"{_spread(cpus, '.2f')} ms",
            f"bare loop: {_spread(cpu_references, '.2f')} ms",
            _spread(cpu_ratios, ".2f"),
            "<= 2",
        ),
    ]


def latency(server: Server, name: str, rounds: int) -> list[Row]:
    """Measure one Bell job at a time on an idle server, from RunJob to the terminal event."""
    p50, p99, reference = [], [], []
    for _ in range(rounds):
        reference.append(statistics.median(bare("bell", 2)[0]["times"]) * 1e3)
        times = sorted(ours(server, "bell", 3)["times"])
        p50.append(statistics.median(times) * 1e3)
        p99.append(times[int(len(times) * 0.99)] * 1e3)
    over = [a - b for a, b in zip(p50, reference, strict=True)]
    over99 = [a - b for a, b in zip(p99, reference, strict=True)]
    reference_text = f"bare run: {_spread(reference, '.1f')} ms"
    return [
        Row(
            f"latency of a Bell job, p50, {name}",
            f"{_spread(p50, '.1f')} ms",
            reference_text,
            f"+{_spread(over, '.1f')} ms",
            "<= +10 ms",
        ),
        Row(
            f"latency of a Bell job, p99, {name}",
            f"{_spread(p99, '.1f')} ms",
            reference_text,
            f"+{_spread(over99, '.1f')} ms",
            "<= +30 ms",
        ),
    ]


def batch(server: Server, rounds: int) -> list[Row]:
    """Measure one job of a hundred programs against one call of the SDK with a list."""
    mine, reference = [], []
    for _ in range(rounds):
        reference.append(statistics.median(bare("hundred", 3)[0]["times"]) * 1e3)
        mine.append(statistics.median(ours(server, "hundred", 3)["times"]) * 1e3)
    speed = [b / a for a, b in zip(mine, reference, strict=True)]
    return [
        Row(
            "one job of 100 programs",
            f"{_spread(mine, '.0f')} ms",
            f"SDK, parse + one call with a list: {_spread(reference, '.0f')} ms",
            _spread(speed, ".2f"),
            ">= 1.0 x its speed",
        )
    ]


def large(server: Server, rounds: int, qubits: int, depth: int) -> list[Row]:
    """Measure a circuit dominated by its simulation, where the server's overhead must be negligible."""
    kind = f"layered:{qubits}:{depth}"
    mine, reference = [], []
    for _ in range(rounds):
        reference.append(statistics.median(bare(kind, 4)[0]["times"]))
        mine.append(statistics.median(ours(server, kind, 4)["times"]))
    over = [(a / b - 1) * 100 for a, b in zip(mine, reference, strict=True)]
    return [
        Row(
            f"a {qubits}-qubit circuit, depth {depth}",
            f"{_spread(mine, '.2f')} s",
            f"bare SDK: {_spread(reference, '.2f')} s",
            f"{_spread(over, '+.1f')} %",
            "<= +1 %",
        )
    ]


def adapted(server: Server, sdk: str, rounds: int) -> list[Row]:
    """Measure our adapter of an SDK against the SDK's own local simulator on the same circuits."""
    _rest()
    process = _python("tests.benchmarks.adapters", server.target, sdk, rounds * 4)
    out, _ = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}")
    rows = []
    for line in map(json.loads, out.splitlines()):
        ours, local = ([seconds * 1e3 for seconds in line[key]] for key in ("ours", "local"))
        ratios = [a / b for a, b in zip(ours, local, strict=True)]
        reference = f"its own simulator: {_spread(local, '.1f')} ms"
        rows.append(Row(line["what"], f"{_spread(ours, '.1f')} ms", reference, _spread(ratios, ".2f"), ""))
    return rows


def estimated(server: Server) -> list[Row]:
    """Compare estimated run times with the times of the runs, for each device and method."""
    process = _python("tests.benchmarks.estimates", server.target)
    out, _ = process.communicate(timeout=1200)
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}")
    kinds: dict[str, list[dict[str, Any]]] = {}
    for line in map(json.loads, out.splitlines()):
        kinds.setdefault(f"{line['device']}, {line['method']}", []).append(line)
    rows = []
    for kind, lines in kinds.items():
        known = [line for line in lines if line["p50"]]
        if len(known) < len(lines):
            raise RuntimeError(f"{kind}: {len(lines) - len(known)} of {len(lines)} estimates are unknown")
        estimates, times = ([line[key] * 1e3 for line in known] for key in ("p50", "seconds"))
        below = sum(line["seconds"] <= line["p90"] for line in known)
        rows.append(
            Row(
                f"estimated time of a run, {kind}",
                f"{_spread(estimates, '.1f')} ms",
                f"the runs: {_spread(times, '.1f')} ms; {below} of {len(known)} within p90",
                _spread([a / b for a, b in zip(estimates, times, strict=True)], ".2f"),
                "0.5-2",
            )
        )
    return rows


def swept(sdk: str, rounds: int) -> list[Row]:
    """Measure sweeps in a worker against the SDK's own batch, in one process."""
    _rest()
    process = _python("tests.benchmarks.sweeps", sdk, rounds)
    out, _ = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}")
    rows = []
    for line in map(json.loads, out.splitlines()):
        ours, local = ([seconds / line["points"] * 1e6 for seconds in line[key]] for key in ("ours", "local"))
        ratios = [a / b for a, b in zip(ours, local, strict=True)]
        reference = f"the SDK's batch: {_spread(local, '.0f')} us"
        what = f"sweep in a worker, a point of {line['what']}"
        rows.append(Row(what, f"{_spread(ours, '.0f')} us", reference, _spread(ratios, ".2f"), "<= 1.0"))
    return rows


def served(module: str, kind: str, rounds: int) -> list[Row]:
    """Measure jobs end to end against a reference, if there is one: see the modules of `SERVED`."""
    _rest()
    process = _python(f"tests.benchmarks.{module}", kind, rounds)
    out, _ = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}")
    rows = []
    for line in map(json.loads, out.splitlines()):
        factor, form = _UNITS[line["unit"]]
        ours, theirs = ([seconds * factor for seconds in line.get(key, ())] for key in ("ours", "theirs"))
        if not theirs:
            rows.append(Row(line["what"], f"{_spread(ours, form)} {line['unit']}", "", "", line["goal"]))
            continue
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        mine, other = (f"{_spread(values, form)} {line['unit']}" for values in (ours, theirs))
        rows.append(Row(line["what"], mine, f"{line['reference']}: {other}", _spread(ratios, ".2f"), line["goal"]))
    return rows


def start_up(folder: Path, rounds: int) -> list[Row]:
    """Measure the time from `serve` to serving (new and existing database), idle memory, and `qonduit --help`."""
    fresh, again, resident, helped, floor = [], [], [], [], []
    for k in range(rounds):
        url = f"sqlite:///{folder / f'start{k}.sqlite3'}"
        with serving(url, preload="") as server:
            fresh.append(server.serving_after)
        with serving(url, preload="") as server:
            again.append(server.serving_after)
            _warm(server)
            resident.append(server.resident() / 1024**2)
        for into, command in (
            (helped, [str(Path(sys.executable).parent / "qonduit"), "--help"]),
            (floor, [sys.executable, "-c", "import grpc, sqlalchemy"]),
        ):
            begun = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            into.append(time.perf_counter() - begun)
    base = statistics.median(floor)
    reference = f"`import grpc, sqlalchemy`: {_spread(floor, '.2f')} s"
    rows = [
        Row(what, f"{_spread(times, '.2f')} s", reference, f"{statistics.median(times) / base:.1f}", goal)
        for what, times, goal in (
            ("`serve` to serving, new database", fresh, "<= 1.0 s"),
            ("`serve` to serving, existing database", again, "<= 1.0 s"),
            ("`qonduit --help`", helped, "<= 0.25 s"),
        )
    ]
    return [
        *rows,
        Row("server process after 2 s of load, resident", f"{_spread(resident, '.0f')} MB", "", "", "<= 120 MB"),
    ]


def catalogue(folder: Path, rounds: int) -> list[Row]:
    """Measure a start with all providers and with the first three, from `serve` to the end of a first Bell job."""
    walls: dict[str, list[float]] = {"": [], "IBM,AWS,GOOGLE": []}
    cpus: dict[str, list[float]] = {"": [], "IBM,AWS,GOOGLE": []}
    for k in range(rounds + 1):
        for providers in walls:
            begun = time.perf_counter()
            url = f"sqlite:///{folder / f'catalogue{k}{len(providers)}.sqlite3'}"
            with serving(url, providers=providers, preload="IBM") as server:
                load.run_once(server.target)
                if k:  # the first start reads files from the disk
                    walls[providers].append(time.perf_counter() - begun)
                    cpus[providers].append(server.cpu())
    rows = []
    for what, times in (("", walls), (", CPU of all processes", cpus)):
        whole, few = times.values()
        ratios = [a / b for a, b in zip(whole, few, strict=True)]
        reference = f"without STIM: {_spread(few, '.2f')} s"
        name = f"`serve` to the end of a first Bell job{what}"
        rows.append(Row(name, f"{_spread(whole, '.2f')} s", reference, _spread(ratios, ".2f"), ""))
    return rows


def simulated(module: str, kind: str, rounds: int, label: str = "") -> list[Row]:
    """Measure simulations in a process of their own, by CPU time: see `simulations` and `noise_simulations`."""
    # As in the server's workers: threads that wait would count as processor time.
    threads = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
    process = _python(f"tests.benchmarks.{module}", kind, rounds, **threads)
    try:
        out, _ = process.communicate(timeout=_SIMULATION_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return [Row(f"{label or kind}", f"more than {_SIMULATION_SECONDS} s", "", "", "")]
    if process.returncode and label:
        return [Row(label, "not measured: refused by one of the two", "", "", "")]
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}")
    rows = []
    for line in map(json.loads, out.splitlines()):
        if "difference" in line:
            found = f"largest difference {line['difference']:.1g}"
            rows.append(Row(line["what"], found, line["reference"], "", line["goal"]))
            continue
        ours, theirs = ([seconds * 1e3 for seconds in line[key]] for key in ("ours", "theirs"))
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        reference = f"{line['reference']}: {_spread(theirs, '.1f')} ms CPU"
        rows.append(
            Row(line["what"], f"{_spread(ours, '.1f')} ms CPU", reference, _spread(ratios, ".2f"), line["goal"])
        )
    return rows


def callers(folder: Path, rounds: int, seconds: float) -> list[Row]:
    """Measure the cost of authentication, authorization and fair share: Bell jobs with them and without."""
    file = folder / "tokens.json"
    tokens = [token_file.create(file, f"caller{number}", Role.USER, None)[0] for number in range(_CALLERS)]
    command = (sys.executable, "-m", "tests.benchmarks.unshared_server", "serve")
    rates: list[list[float]] = [[], []]
    cpus: list[list[float]] = [[], []]
    with (
        serving(f"sqlite:///{folder / 'callers.sqlite3'}", preload="IBM", token_file=str(file)) as all_on,
        serving(f"sqlite:///{folder / 'no-callers.sqlite3'}", preload="IBM", command=command) as all_off,
    ):
        servers: list[tuple[Server, Sequence[str]]] = [(all_on, tokens), (all_off, ())]
        for number in range(rounds + 1):
            for place in (0, 1) if number % 2 else (1, 0):
                server, used = servers[place]
                found = ours(server, "bell", seconds, streams=32, tokens=used)
                if number:  # the first round warms up
                    rates[place].append(len(found["times"]) / found["wall"])
                    cpus[place].append(found["server_cpu"] / len(found["times"]) * 1e3)
    what = f"tokens, access and fair share of {_CALLERS} callers"
    reference = "anonymous, in the order of submission"
    rows = []
    for name, values, form, unit, goal in (
        ("Bell jobs a second", rates, ".0f", "", ">= 0.95"),
        ("CPU a job", cpus, ".2f", " ms", "<= 1.05"),
    ):
        mine, other = (f"{_spread(each, form)}{unit}" for each in values)
        ratios = [a / b for a, b in zip(*values, strict=True)]
        rows.append(Row(f"{name} with {what}", mine, f"{reference}: {other}", _spread(ratios, ".2f"), goal))
    return rows


def queue_waits(kind: str, rounds: int) -> list[Row]:
    """Measure waits of callers, and estimates of waits, in virtual time: see `queue_waits`."""
    process = _python("tests.benchmarks.queue_waits", kind, rounds)
    out, _ = process.communicate(timeout=1200)
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}")
    found: dict[str, list[dict[str, Any]]] = {}
    for line in map(json.loads, out.splitlines()):
        found.setdefault(line["what"], []).append(line)
    rows = []
    for what, lines in found.items():
        mine = [line["ours"] for line in lines]
        if "theirs" in lines[0]:
            fifo = [line["theirs"] for line in lines]
            ratio = statistics.median(mine) / max(0.001, statistics.median(fifo))
            reference = f"in the order of submission: {_spread(fifo, '.1f')} s"
            rows.append(Row(what, f"{_spread(mine, '.1f')} s", reference, f"{ratio:.2f}", ""))
        else:
            count = sum(line["estimates"] for line in lines)
            goal = "0.50" if what.endswith("p50") else "0.90"
            rows.append(Row(what, _spread(mine, ".2f"), f"{count} estimates: {goal}", "", goal))
    return rows


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="store the rows in BENCHMARKS.md")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds per measurement [5]")
    parser.add_argument("--only", help="run only measurements whose name contains this text")
    options = parser.parse_args()
    rounds, seconds = options.rounds, 2.0
    rows: list[Row] = []

    def measure(name: str, work: Callable[[], list[Row]]) -> None:
        if options.only and options.only not in name:
            return
        new = work()
        rows.extend(new)
        for row in new:
            print(f"{row.what}: {row.ours} | {row.reference} | {row.ratio} | {row.goal}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for sdk in SWEPT_SDKS:
            measure(f"sweeps {sdk}", lambda sdk=sdk: swept(sdk, min(rounds, 3)))
        for module, kind in SERVED:
            measure(f"served {kind}", lambda module=module, kind=kind: served(module, kind, min(rounds, 3)))
        for kind in ("shares", "estimates"):
            measure(f"queue {kind}", lambda kind=kind: queue_waits(kind, rounds))
        measure("callers", lambda: callers(folder, rounds, seconds))
        measure("start", lambda: start_up(folder, rounds))
        measure("catalogue", lambda: catalogue(folder, rounds))
        with serving(f"sqlite:///{folder / 'bench.sqlite3'}", preload="IBM") as server:
            _warm(server)
            measure("throughput sqlite", lambda: throughput(server, "SQLite", rounds, seconds))
            measure("latency sqlite", lambda: latency(server, "SQLite", rounds))
            measure("hundred", lambda: batch(server, rounds))
            measure("large", lambda: large(server, min(rounds, 3), 22, 5))
        with serving(f"sqlite:///{folder / 'adapters.sqlite3'}", preload="IBM,AWS,GOOGLE") as server:
            for sdk in SDKS:
                measure(f"adapters {sdk}", lambda sdk=sdk: adapted(server, sdk, rounds))
        for module, kind in SIMULATIONS:
            measure(f"simulations {kind}", lambda module=module, kind=kind: simulated(module, kind, rounds))
        for file in sorted(Path(os.environ["QASMBENCH"]).rglob("*.qasm")) if os.environ.get("QASMBENCH") else ():
            measure(f"qasmbench {file.stem}", lambda file=file: simulated("simulations", str(file), 1, file.stem))
        with serving(f"sqlite:///{folder / 'estimates.sqlite3'}", preload="IBM,AWS,GOOGLE,STIM") as server:
            measure("estimates", lambda: estimated(server))
        if not options.only or "postgresql" in options.only:
            with (
                running() as postgresql,
                serving(postgresql.url(postgresql.new_database()), preload="IBM") as server,
            ):
                _warm(server)
                measure("throughput postgresql", lambda: throughput(server, "PostgreSQL", rounds, seconds))
                measure("latency postgresql", lambda: latency(server, "PostgreSQL", rounds))
    print("\n" + page.table(rows))
    if options.write:
        page.write(rows, rounds, SHOTS, whole=not options.only)


if __name__ == "__main__":
    main()
