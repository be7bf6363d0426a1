# SPDX-License-Identifier: Apache-2.0
"""The outcomes of compiled circuits: of all shots, of as many as a stop condition needs, or exact ones."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import JobType
from qonduit_server.errors import ProviderError, RunError
from qonduit_server.ir.circuit import Outcome
from qonduit_server.providers.provider import CompiledCircuit, RunProgress, program_seed
from qonduit_server.worker.preparation import Preparation

#: The shots of the first round of a run with a stop condition; each further round doubles them.
FIRST_ROUND: Final = 128
#: Seeds of rounds are far from those of circuits.
_ROUND_SEEDS: Final = 0x632BE59BD9B4E019
#: Seeds stand in results as JSON numbers, which are exact below 2^53.
SEED_MASK: Final = (1 << 52) - 1


def outcomes_of(
    preparation: Preparation, compiled: Sequence[CompiledCircuit], spec: JobSpec, seed: int | None
) -> Iterator[Outcome | Exception | RunProgress]:
    """Yield an outcome of each circuit; where the provider breaks down, the rest fail with its error.

    Args:
        preparation: has the provider.
        compiled: the circuits.
        spec: of their programs.
        seed: of the first circuit.
    """
    number, given = len(compiled), 0
    try:
        for outcome in _run(preparation, compiled, spec, seed):
            yield outcome
            given += not isinstance(outcome, RunProgress)
            if given == number:
                break
    except Exception as error:  # noqa: BLE001 - a program that fails does not keep the others from being reported
        for _ in range(number - given):
            yield error
    else:
        for _ in range(number - given):
            yield ProviderError("RESULT_MISSING", f"{preparation.task.provider} gave no result for this program")


def rounds(shots: int) -> Iterator[int]:
    """Yield the shots of each round: after each, all shots so far are twice those before, at most `shots` in all."""
    done = 0
    while done < shots:
        own = min(done or FIRST_ROUND, shots - done)
        yield own
        done += own


def round_seed(seed: int | None, number: int) -> int | None:
    """Return the seed of a round; that of the first is the seed itself."""
    return None if seed is None else (seed + number * _ROUND_SEEDS) & SEED_MASK


def _run(
    preparation: Preparation, compiled: Sequence[CompiledCircuit], spec: JobSpec, seed: int | None
) -> Iterator[Outcome | RunError | RunProgress]:
    if preparation.outcome is not None:
        return iter((preparation.outcome,))
    if spec.type == JobType.JOB_TYPE_SAMPLER and spec.sampler.exact:
        return _exact(preparation, compiled)
    if not spec.HasField("stop_when"):
        return preparation.provider.run(preparation.task.device, compiled, spec.shots, seed)
    return (
        outcome
        for place, each in enumerate(compiled)
        for outcome in _in_rounds(preparation, each, spec, program_seed(seed, place))
    )


def _in_rounds(
    preparation: Preparation, compiled: CompiledCircuit, spec: JobSpec, seed: int | None
) -> Iterator[Outcome | RunError | RunProgress]:
    """Run a circuit until the standard error of each outcome's probability is small enough."""
    counts: dict[int, int] = {}
    done = 0
    outcome: Outcome | None = None
    for number, shots in enumerate(rounds(spec.shots)):
        for found in preparation.provider.run(preparation.task.device, [compiled], shots, round_seed(seed, number)):
            if isinstance(found, RunError):
                yield found
                return
            if isinstance(found, Outcome):
                outcome = found
        if outcome is None:
            return
        for key, times in outcome.counts.items():
            counts[key] = counts.get(key, 0) + times
        done += shots
        if _largest_error(counts, done) <= spec.stop_when.standard_error:
            break
        if done < spec.shots:
            yield RunProgress(done / spec.shots, lambda: counts)
    if outcome is not None:
        meta_data = dict(outcome.meta_data)
        if seed is not None:
            meta_data["seed"] = seed
        yield Outcome(counts, meta_data)


def _largest_error(counts: Mapping[int, int], shots: int) -> float:
    return max(math.sqrt(number * (shots - number) / shots) / shots for number in counts.values())


def _exact(preparation: Preparation, compiled: Sequence[CompiledCircuit]) -> Iterator[Outcome | RunError]:
    """Yield the exact distributions of circuits, as `Outcome.exact`."""
    provider, device = preparation.provider, preparation.task.device
    for each in compiled:
        began = time.perf_counter()
        probabilities = provider.probabilities(device, each)
        if probabilities is None:
            yield RunError(
                "NO_EXACT_PROBABILITIES",
                f"{preparation.device_name} has no exact probabilities of this program: its outcomes must be sampled. "
                "Submit the job with shots and without sampler.exact",
            )
        else:
            yield Outcome({}, {"run_seconds": time.perf_counter() - began}, probabilities)
