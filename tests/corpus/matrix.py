# SPDX-License-Identifier: Apache-2.0
"""The matrix: every program of the corpus on every simulator (identical, refused or wrong), and translation times.

Devices with the shape of a processor are left out: their noise cannot be turned off.

Exact probabilities are compared where a provider returns them, counts always: by a chi-square test that rejects a
right result once in a million. The exit code is 1 if any result is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from qonduit_server.errors import RunError
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from tests.corpus.noisy import noisy_matrix
from tests.corpus.programs import FALSE_ALARM, LANGUAGES, SHOTS, Entry, Verdict, entries, judge, mqtbench_index

#: The refused programs of one device that are listed.
_LISTED = 10
#: A layer of rotations, a chain of controlled gates, and so on; all measured.
_HUNDRED_GATES = (
    'OPENQASM 2.0; include "qelib1.inc"; qreg q[10]; creg c[10];\n'
    + "".join(
        f"ry({0.1 * k:.2f}) q[{k % 10}];\n" if k // 10 % 2 == 0 else f"cx q[{k % 10}], q[{(k + 1) % 10}];\n"
        for k in range(100)
    )
    + "measure q -> c;\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the matrix."""
    parser = argparse.ArgumentParser(prog="tests.corpus", description=__doc__)
    parser.add_argument("--provider", action="append", choices=sorted(registry.PROVIDERS), help="only these")
    parser.add_argument("--language", action="append", choices=sorted(LANGUAGES), help="only these")
    parser.add_argument("--qubits", type=int, default=10**6, help="only programs with at most this many")
    options = parser.parse_args(arguments)
    names = options.provider or sorted(registry.PROVIDERS)
    languages = options.language or list(LANGUAGES)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        running = {
            (name, device): pool.submit(run, name, device, languages, options.qubits)
            for name in names
            for device in exact_devices(name)
        }
        verdicts_by_device = {"/".join(place): each.result() for place, each in running.items()}
    if mqtbench_index() is None:
        print("without MQT Bench: QONDUIT_CORPUS names no folder, and there is no ../shared/corpus\n")
    wrong = show(verdicts_by_device, languages) + noisy_matrix.show(names, languages)
    print("\nReading, median milliseconds (and the library's own reading of the same programs)\n")
    for language in languages:
        print(reading_times(language, options.qubits))
    print("\nA circuit of 100 gates on 10 qubits, milliseconds: read, written, and read by the library itself\n")
    for language in languages:
        print(edges(language))
    return 1 if wrong else 0


def exact_devices(name: str) -> list[str]:
    """Return the available simulators of a provider that run programs without noise of their own."""
    devices = registry.get(name).describe().devices
    return [
        each.name for each in devices if each.is_simulator and each.available and not each.capabilities.coupling_map
    ]


def run(name: str, device: str, languages: Sequence[str], qubits: int) -> list[tuple[Entry, Verdict]]:
    """Judge all programs on one device."""
    provider = registry.get(name)
    provider.load()
    reading = Languages()
    reading.load()
    return [
        (entry, judge(entry, reading, provider, device))
        for language in languages
        for entry in entries("exact", language, qubits, mqtbench=True)
    ]


def show(verdicts_by_device: dict[str, list[tuple[Entry, Verdict]]], languages: Sequence[str]) -> int:
    """Print the tallies, the refused programs and the wrong results; return the number of wrong results."""
    print("identical / refused / wrong (identical also by exact probabilities)")
    print(f"{SHOTS} shots; a right result is rejected with a probability of {FALSE_ALARM:g}\n")
    print(f"{'':28}" + "".join(f"{language:>20}" for language in (*languages, "all")))
    wrong = 0
    for name, verdicts in verdicts_by_device.items():
        tallies = {language: Counter[str]() for language in (*languages, "all")}
        for entry, verdict in verdicts:
            for column in (entry.language, "all"):
                tallies[column][verdict.kind] += 1
                tallies[column]["exact"] += verdict.exact and verdict.kind == "identical"
        print(f"{name:28}" + "".join(f"{_tally(each):>20}" for each in tallies.values()))
        wrong += tallies["all"]["wrong"]
    for name, verdicts in verdicts_by_device.items():
        for kind, most in (("refused", _LISTED), ("wrong", len(verdicts))):
            lines = [f"  {entry.file}: {verdict.detail}" for entry, verdict in verdicts if verdict.kind == kind]
            if lines:
                print(f"\n{kind} by {name}: {len(lines)}", *lines[:most], sep="\n")
    return wrong


def _tally(tally: Counter[str]) -> str:
    return f"{tally['identical']} / {tally['refused']} / {tally['wrong']} ({tally['exact']})"


def reading_times(language: str, qubits: int) -> str:
    """Print the time of reading, beside the library's own call."""
    reading = Languages()
    bare = _sdk_call(language)
    ours: list[float] = []
    theirs: list[float] = []
    failed = 0
    for entry in (each for check in ("exact", "speed") for each in entries(check, language, qubits, mqtbench=True)):
        try:
            entry.read(reading)  # imports and caches of the first program do not count
            ours.append(_seconds(lambda entry=entry: entry.read(reading)))
        except RunError:
            continue
        if bare is not None:
            data = entry.path.read_bytes()
            try:
                theirs.append(_seconds(lambda data=data: bare(data)))
            except Exception:  # noqa: BLE001 - the library's own reading fails where ours does not; that is counted
                failed += 1
    if not ours:
        return f"{language:8}  nothing was read"
    line = f"{language:8} {statistics.median(ours) * 1e3:8.2f}"
    if theirs:
        line += f"  ({statistics.median(theirs) * 1e3:.2f}, which fails for {failed} of {len(ours)})"
    return line


def edges(language: str) -> str:
    """Print the time to read and write one circuit, as the language registry reports it."""
    languages = Languages()
    number = LANGUAGES[language]
    circuit = languages.read(LANGUAGES["qasm2"], _HUNDRED_GATES, b"", {})
    source = languages.write(number, circuit).source
    text, data = (source, b"") if isinstance(source, str) else ("", source)
    bare = _sdk_call(language)
    raw = data or text.encode()
    rounds = [
        (
            _seconds(lambda: languages.read(number, text, data, {})),
            _seconds(lambda: languages.write(number, circuit)),
            _seconds(lambda: bare(raw)) if bare is not None else 0.0,
        )
        for _ in range(25)
    ]
    read, written, theirs = (statistics.median(each) * 1e3 for each in zip(*rounds, strict=True))
    return f"{language:8} {read:8.2f} {written:8.2f} {theirs:8.2f}"


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _sdk_call(language: str) -> Callable[[bytes], Any] | None:
    """Return the calls that users of the SDK itself make."""

    def module(name: str) -> Any:
        return importlib.import_module(name)

    calls: dict[str, Callable[[bytes], Any]] = {
        "qasm2": lambda data: module("qiskit.qasm2").loads(data.decode()),
        "qasm3": lambda data: module("qiskit.qasm3").loads(data.decode()),
        "braket": lambda data: module("braket.circuits").Circuit.from_ir(data.decode()),
        "quil": lambda data: module("quil.program").Program.parse(data.decode()),
        "qpy": lambda data: module("qiskit.qpy").load(io.BytesIO(data)),
        "cirq": lambda data: module("cirq").read_json(json_text=data.decode()),
        "ionq": lambda data: json.loads(data),
    }
    call = calls.get(language)
    if call is not None:
        for entry in entries("exact", language):
            try:
                call(entry.path.read_bytes())
                break
            except Exception:  # noqa: BLE001 - only meant to import and warm up
                continue
    return call
