# SPDX-License-Identifier: Apache-2.0
"""Reads the results of Amazon Braket's tasks: of one program, and of a set of programs in one file or in many.

Imported only in the process that calls Braket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from braket.schema_common import BraketSchemaBase
from braket.task_result import GateModelTaskResult, ProgramSetTaskResult
from google.protobuf.json_format import MessageToDict

from qonduit.execution.v1.vendor_pb2 import NativeCircuit, VendorOutcome
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit_server.providers.remote_provider import vendor_outcome

#: The name of the results of a task, and of a program of a set that has a file of its own.
RESULTS: Final = "results.json"
_SUFFIX: Final = f"/{RESULTS}"
#: Braket charges a task of a simulator for at least this time. No API of Braket contains it.
_MIN_SECONDS: Final = 3.0

#: Returns the object of S3 with a key.
Read = Callable[[str], bytes]


def outcomes(
    data: bytes, circuits: Sequence[NativeCircuit], shots: int, folder: str, read: Read
) -> Sequence[VendorOutcome]:
    """Return the outcomes of a task, one for each circuit; fewer if its results cannot be read.

    Args:
        data: the file of the results.
        circuits: of the task.
        shots: of each circuit.
        folder: of the task in its bucket.
        read: reads further files.
    """
    try:
        result = BraketSchemaBase.parse_raw_schema(data)
    except ValueError:
        return ()
    if isinstance(result, GateModelTaskResult) and len(circuits) == 1:
        task = result.taskMetadata
        found = _outcome(result, circuits[0], shots, _facts(task))
        return () if found is None else (found,)
    if not isinstance(result, ProgramSetTaskResult) or len(result.programResults) != len(circuits):
        return ()
    # Amazon names the files of large results relative to this folder.
    folder = result.s3Location[1] if result.s3Location else folder
    task = _parsed(result.taskMetadata, folder, read)
    return list(_of_programs(result.programResults, circuits, shots, folder, read, _facts(task)))


def charged_seconds(data: bytes) -> float | None:
    """Return the time that a task of a simulator is charged for; None if its results do not contain it."""
    try:
        result = BraketSchemaBase.parse_raw_schema(data)
    except ValueError:
        return None
    simulator = getattr(getattr(result, "additionalMetadata", None), "simulatorMetadata", None)
    return None if simulator is None else max(simulator.executionDuration / 1000, _MIN_SECONDS)


def _of_programs(
    results: Sequence[Any],
    circuits: Sequence[NativeCircuit],
    shots: int,
    folder: str,
    read: Read,
    facts: Mapping[str, object],
) -> Iterator[VendorOutcome]:
    """Yield the outcomes of the programs of a set, each of which has one executable; nothing after a wrong one."""
    for place, (each, circuit) in enumerate(zip(results, circuits, strict=True)):
        program = _parsed(each, folder, read)
        own = f"{folder}/{each}".removesuffix(_SUFFIX) if isinstance(each, str) else folder
        if len(program.executableResults) != 1:
            return
        executable = _parsed(program.executableResults[0], own, read)
        if (failed := getattr(executable, "failureMetadata", None)) is not None:
            yield _failure(failed, place)
            continue
        found = _outcome(executable, circuit, shots, facts)
        if found is None:
            return
        yield found


def _parsed(part: Any, folder: str, read: Read) -> Any:
    """Return a part of results: as it is, or read from its file."""
    return BraketSchemaBase.parse_raw_schema(read(f"{folder}/{part}")) if isinstance(part, str) else part


def _facts(task: Any) -> Mapping[str, object]:
    return {
        "task": task.id,
        "device_arn": task.deviceId,
        "created_at": task.createdAt or "",
        "ended_at": task.endedAt or "",
    }


def _failure(failed: Any, place: int) -> VendorOutcome:
    outcome = vendor_outcome({})
    outcome.failure.category = FailureCategory.FAILURE_CATEGORY_PROVIDER
    outcome.failure.reason = "VENDOR_FAILED"
    outcome.failure.message = f"program {place} of the set failed at Amazon Braket: {failed.failureReason}"
    outcome.failure.provider_code = str(getattr(failed.category, "value", failed.category))
    outcome.failure.retryable = failed.retryable
    return outcome


def _outcome(result: Any, circuit: NativeCircuit, shots: int, facts: Mapping[str, object]) -> VendorOutcome | None:
    """Return the counts of a circuit; None if they are not those of its measured qubits."""
    bits = {int(qubit): int(bit) for qubit, bit in MessageToDict(circuit.layout)["bits"].items()}
    columns = [bits.get(qubit) for qubit in result.measuredQubits or ()]
    if not bits.keys() <= set(result.measuredQubits or ()):
        return None
    sent = result.measurements is not None
    rows: Iterator[tuple[Sequence[Any], int]]
    if sent:
        rows = ((row, 1) for row in result.measurements)
    elif result.measurementProbabilities is not None:
        rows = iter(_drawn(result.measurementProbabilities, shots))
    else:
        return None
    counts: Counter[int] = Counter()
    for row, count in rows:
        key = 0
        for bit, value in zip(columns, row, strict=True):
            if bit is not None and int(value):
                key |= 1 << bit
        counts[key] += count
    return vendor_outcome(dict(counts), counts_from="measurements" if sent else "probabilities", **facts)


def _drawn(probabilities: Mapping[str, float], shots: int) -> list[tuple[str, int]]:
    """Return counts that are closest to probabilities, with the sum of the shots."""
    total = sum(probabilities.values()) or 1.0
    exact = {key: shots * value / total for key, value in probabilities.items()}
    counts = {key: int(value) for key, value in exact.items()}
    by_remainder = sorted(exact, key=lambda key: (counts[key] - exact[key], key))
    for key in by_remainder[: shots - sum(counts.values())]:
        counts[key] += 1
    return [(key, count) for key, count in counts.items() if count]
