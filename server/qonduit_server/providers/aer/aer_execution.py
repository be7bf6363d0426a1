# SPDX-License-Identifier: Apache-2.0
"""Execution on Aer: calls of the SDK with programs that were compiled for it."""

from __future__ import annotations

import cmath
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from qonduit_server.errors import LimitError, ProviderError, RunError
from qonduit_server.ir.circuit import Outcome
from qonduit_server.ir.formula import FALSE, bit
from qonduit_server.process.cores import usable_cores
from qonduit_server.providers.aer import stabilizer_sampling
from qonduit_server.providers.aer.aer_calls import (
    calls_of,
    has_one_shot,
    is_large,
    needs_threads,
    program_of,
    runs_alone,
    together,
)
from qonduit_server.providers.aer.aer_circuits import has_blocks
from qonduit_server.providers.aer.aer_methods import (
    MATRIX_PRODUCT_STATE,
    SMALL_QUBITS,
)
from qonduit_server.providers.aer.aer_program import AerProgram, Kind
from qonduit_server.providers.aer.aer_truncation import THRESHOLD, truncation
from qonduit_server.providers.provider import (
    SEED_STRIDE,
    CompiledCircuit,
    RunProgress,
    SmallRun,
    distant_seed,
    program_seed,
    seed_or_random,
)
from qonduit_server.providers.simulation.sampling import draw

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A call of the SDK with many circuits is cut so that progress is emitted about this often.
_CHUNK_SECONDS: Final = 0.1
#: So much of the shots of one program is run in one call.
_SLICE_SECONDS: Final = 0.3
_LARGEST_SLICE: Final = 64
#: The entries of all density matrices in the first of several calls.
_FIRST_ENTRIES: Final = 1 << 18
#: Parts of Aer's messages when it runs out of memory.
_OUT_OF_MEMORY: Final = ("allocate memory", "bad_alloc", "nsufficient memory")
#: The log of matrix product states stays in the process, and each result has a copy of it, which takes about 1 ms for a
#: MiB; beyond this, the process should be replaced.
_LARGEST_LOG: Final = 4 * 1024**2


class AerExecution:
    """Runs programs on one of Aer's backends.

    Args:
        backend: an `AerSimulator`.
        versions: the metadata of every result.
    """

    #: The size of Aer's log of matrix product states, which all simulators of the process share.
    _log_bytes: ClassVar[int] = 0

    def __init__(self, backend: Any, versions: Mapping[str, object]) -> None:
        self._backend = backend
        self._versions = versions
        #: There, binding at run time has not been compared with circuits that have the values.
        self._on_gpu = getattr(backend.options, "device", "CPU") != "CPU"

    @property
    def exhausted(self) -> bool:
        """Whether Aer holds so much of finished runs that the process should be replaced."""
        return self._log_bytes > _LARGEST_LOG

    def run(
        self, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError | RunProgress]:
        """Run programs; see `SimulatorProvider`."""
        start, sampled = 0, 0
        size = 64 if compiled and program_of(compiled[0]).slots else 16
        while start < len(compiled):
            alone = runs_alone(compiled[start])
            end = start + 1
            if not alone:
                while end < min(start + size, len(compiled)) and not runs_alone(compiled[end]):
                    end += 1
            began = time.perf_counter()
            programs = [program_of(each) for each in compiled[start:end]]
            # Aer gives the circuits of one call seeds in a row: this continues where the last call ended.
            first = program_seed(seed, sampled)
            if programs[0].kind is Kind.SHOTS:
                yield from self._sliced(compiled[start], shots, first)
            else:
                seeds = [program_seed(seed, place) for place in range(start, end)]
                yield from self._call(programs, shots, seeds, first, alone)
            sampled += sum(each.kind in (Kind.SAMPLED, Kind.SHOTS) for each in programs)
            seconds = time.perf_counter() - began
            size = max(2, min(512, int((end - start) * _CHUNK_SECONDS / max(seconds, 1e-4))))
            start = end

    def distributions(
        self, programs: Iterable[AerProgram | None], most_bits: int
    ) -> Iterator[Mapping[int, float] | None]:
        """Yield the exact distributions of programs' outcomes; None where more than `most_bits` bits are random."""
        for group in together(programs):
            own = [each for each in group if each is not None]
            if not own:
                yield None
            elif not own[0].slots:
                yield self._probabilities(own[0], most_bits)
            else:
                results = self._simulate(own, 1, None, is_large(own[0]))
                yield from (_distribution(own[0], _succeeded(result), most_bits) for result in results)

    @staticmethod
    def is_small(compiled: CompiledCircuit) -> bool:
        """Return whether a program's shots are drawn from probabilities that take less time than a call of the SDK."""
        return program_of(compiled).kind is Kind.PROBABILITIES and not runs_alone(compiled)

    def run_small(self, runs: Sequence[SmallRun]) -> list[Outcome | RunError]:
        """Run small programs, with one call of the SDK for those that are alike."""
        began = time.perf_counter()
        programs = [program_of(each.compiled) for each in runs]
        results: dict[int, Any] = {}
        for _, places in calls_of(programs):
            found = self._simulate([programs[place] for place in places], 1, None, False)
            results.update(zip(places, found, strict=True))
        seconds = (time.perf_counter() - began) / len(runs)
        return [
            self._outcome(program, results[place], run.shots, run.seed, seconds)
            for place, (program, run) in enumerate(zip(programs, runs, strict=True))
        ]

    def run_each(self, runs: Sequence[SmallRun]) -> Iterator[Outcome | RunError | RunProgress]:
        """Run programs that have seeds of their own: adjacent small ones in calls of about `_SLICE_SECONDS`."""
        start, size = 0, max(1, min(64, _FIRST_ENTRIES >> 2 * runs[0].compiled.qubits))
        while start < len(runs):
            own = [*takewhile(lambda run: self.is_small(run.compiled), runs[start : start + size])]
            if not own:
                run = runs[start]
                yield from self.run([run.compiled], run.shots, run.seed)
                start += 1
                continue
            began = time.perf_counter()
            yield from self.run_small(own)
            start += len(own)
            size = max(2, int(len(own) * _SLICE_SECONDS / max(time.perf_counter() - began, 1e-4)))

    def _probabilities(self, program: AerProgram, most_bits: int) -> Mapping[int, float] | None:
        deferred, circuit = program.deferred, program.circuit
        if program.kind is Kind.AFFINE:
            if len(program.basis) > most_bits:
                return None
            (result,) = self._simulate([program], 1, 0, False)
            assert deferred is not None
            return deferred.outcomes(stabilizer_sampling.distribution(_sample(_succeeded(result)), program.basis))
        if program.final is not None and program.kind is Kind.NOTHING:
            return program.final.distribution(np.ones(1), most_bits)
        if program.final is None and circuit is None:
            return {deferred.outcome(0) if deferred is not None else 0: 1.0}
        (result,) = self._simulate([program], 1, None, is_large(program))
        return _distribution(program, _succeeded(result), most_bits)

    def statevectors(self, evolutions: Sequence[AerProgram]) -> Iterator[NDArray[np.complex128]]:
        """Yield the states that programs save."""
        for each in together(evolutions):
            assert each[0].circuit is not None
            qubits = each[0].circuit.num_qubits
            if not qubits:  # of which Aer returns none
                yield from (np.ones(1, dtype=np.complex128) for _ in each)
                continue
            results = self._simulate(each, 1, None, qubits >= SMALL_QUBITS)
            for program, result in zip(each, results, strict=True):
                state = np.asarray(_succeeded(result).data.statevector)
                phases = program.angles[len(program.slots) :]
                yield state * cmath.exp(1j * phases[0]) if phases else state

    def _call(
        self, programs: Sequence[AerProgram], shots: int, seeds: Sequence[int | None], seed: int | None, alone: bool
    ) -> Iterator[Outcome | RunError]:
        """Run programs, with one call of the SDK for those that are alike, and give their outcomes in order."""
        began = time.perf_counter()
        results: dict[int, Any] = {}
        for before, places in calls_of(programs):
            own = [programs[place] for place in places]
            number, first = shots, program_seed(seed, before)
            if has_one_shot(own[0]):
                number, first = 1, seeds[places[0]] if own[0].kind is Kind.AFFINE else None
            found = self._simulate(own, number, first, alone and is_large(own[0]))
            results.update(zip(places, found, strict=True))
        seconds = (time.perf_counter() - began) / len(programs)
        for place, program in enumerate(programs):
            yield self._outcome(program, results.get(place), shots, seeds[place], seconds)

    def _outcome(
        self, program: AerProgram, result: Any, shots: int, seed: int | None, seconds: float
    ) -> Outcome | RunError:
        if result is None:
            return self._nothing(program, shots, seed)
        if not result.success:
            return failure_of(str(result.status))
        details: dict[str, object] = {}
        of_aer = program.kind in (Kind.SAMPLED, Kind.SHOTS)
        seed = result.seed_simulator if of_aer else seed_or_random(seed)
        generator = np.random.default_rng(seed)
        if program.kind is Kind.PROBABILITIES:
            probabilities = result.data.probabilities
            if program.final is not None:
                counts = program.final.draw(probabilities, shots, generator)
            else:
                counts = program.outcomes(draw(probabilities, shots, generator), generator)
        elif program.kind is Kind.AFFINE:
            counts = _drawn(program, _sample(result), shots, generator)
        else:
            counts = program.outcomes(_counts(result), generator)
        if program.method == MATRIX_PRODUCT_STATE:
            try:
                details = self._truncation(program, result)
            except RunError as error:
                return error
        return Outcome(counts, self._meta_data(program, seed, seconds) | details)

    def _nothing(self, program: AerProgram, shots: int, seed: int | None) -> Outcome:
        counts: Mapping[int, int] = {program.deferred.outcome(0) if program.deferred is not None else 0: shots}
        if program.final is not None:
            counts = program.final.draw(np.ones(1), shots, np.random.default_rng(seed))
        return Outcome(counts, {**self._versions, "method": "none: nothing random is measured"})

    def _meta_data(self, program: AerProgram, seed: object, seconds: float) -> dict[str, object]:
        assert program.circuit is not None
        meta_data = {
            **self._versions,
            "method": program.method,
            "seed": seed,
            "run_seconds": seconds,
            "qubits": program.circuit.num_qubits,
            "helper_qubits": program.deferred.helpers if program.deferred is not None else 0,
        }
        if program.single:
            meta_data["floating_point"] = "single"
        return meta_data

    def _truncation(self, program: AerProgram, result: Any) -> dict[str, object]:
        """Return what a matrix product state discarded; raise where too much is uncertain."""
        log = str(result.metadata.get("MPS_log_data", ""))
        before, AerExecution._log_bytes = AerExecution._log_bytes, len(log)
        # Aer (0.18) never clears its log.
        found = truncation(log[max(0, before - 2) :])
        if found.fidelity < program.min_fidelity:
            raise LimitError(
                "APPROXIMATION_TOO_COARSE",
                f"the state has a fidelity of at least {found.fidelity:.3g} only, simulation.min_fidelity is "
                f"{program.min_fidelity:g}: bond dimension {program.bond} discarded a weight of {found.weight:.3g}. "
                "Raise simulation.max_bond_dimension, or lower simulation.min_fidelity",
            )
        return {
            "approximate": found.approximate,
            "discarded_weight": found.weight,
            "fidelity_bound": found.fidelity,
            "max_bond_dimension": found.bond_dimension,
            "truncation_threshold": THRESHOLD,
        }

    # ---- shots one after another

    def _sliced(
        self, compiled: CompiledCircuit, shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError | RunProgress]:
        """Run a program's shots in blocks, each with a seed of its own; a slice is a number of blocks."""
        program = program_of(compiled)
        seed = seed_or_random(seed)
        first = distant_seed(seed)
        whole, rest = divmod(shots, program.block)
        counts: dict[int, int] = {}
        began = time.perf_counter()
        done, size = 0, min(usable_cores(), _LARGEST_SLICE)
        while done * program.block < shots:
            number = min(size, whole - done) or 1
            own = program.block if done < whole else rest
            since = time.perf_counter()
            own_seed = first + SEED_STRIDE * done
            for result in self._simulate([program] * number, own, own_seed, needs_threads(program)):
                if not result.success:
                    yield failure_of(str(result.status))
                    return
                for outcome, times in _counts(result).items():
                    counts[outcome] = counts.get(outcome, 0) + times
            done += number
            size = int(number * _SLICE_SECONDS / max(time.perf_counter() - since, 1e-4))
            size = max(1, min(_LARGEST_SLICE, size))
            if done * program.block < shots:
                yield RunProgress(
                    done * program.block / shots,
                    lambda: program.outcomes(counts, np.random.default_rng(first)),
                )
        found = program.outcomes(counts, np.random.default_rng(first))
        yield Outcome(found, self._meta_data(program, seed, time.perf_counter() - began))

    def _simulate(self, programs: Sequence[AerProgram], shots: int, seed: int | None, large: bool) -> Iterator[Any]:
        """Make one call of the SDK with programs whose options are alike; yield a result for each."""
        templates = list(together(programs, len(programs)))
        circuits = [group[0].circuit for group in templates]
        options: dict[str, object] = {"shots": shots, **programs[0].options}
        if any(group[0].slots for group in templates):
            options["parameterizations"] = [_angles(group) for group in templates]
            # Angles are put in while the gates are applied; else a copy of the circuit is made for each point, whose
            # gates may be merged, which pays for large states.
            options["runtime_parameter_bind_enable"] = not (large or self._on_gpu)
        if seed is not None:
            options["seed_simulator"] = seed
        if any(has_blocks(circuit) for circuit in circuits if circuit is not None):
            # Aer (0.18) removes the end of a loop behind the last measurement, and then cannot jump to it.
            options["enable_truncation"] = False
        shot_by_shot = programs[0].kind is Kind.SHOTS
        if shot_by_shot:
            # Else the random numbers of a shot, and the memory, would depend on the number of cores.
            options["max_parallel_shots"] = 1
        if large:
            options["max_parallel_threads"] = 0
        elif shots > 1 and len(programs) >= (2 if shot_by_shot else 8) and (cores := usable_cores()) > 1:
            options["max_parallel_threads"] = cores
            options["max_parallel_experiments"] = cores
        done = self._backend.run(circuits, **options).result()
        if len(done.results) == len(programs):
            return iter(done.results)
        if len(programs) == 1:
            return iter((SimpleNamespace(success=False, status=done.status),))
        # Aer takes none where it cannot load one of them.
        return (
            result
            for place, program in enumerate(programs)
            for result in self._simulate([program], shots, program_seed(seed, place), large)
        )


def _distribution(program: AerProgram, result: Any, most_bits: int) -> Mapping[int, float] | None:
    """Return the distribution of outcomes for the result of a program that saves probabilities."""
    from qonduit_server.providers.simulation.sampling import as_mapping

    probabilities = result.data.probabilities
    if program.final is not None:
        return program.final.distribution(probabilities, most_bits)
    assert program.deferred is not None
    return program.deferred.outcomes(as_mapping(probabilities))


def _angles(programs: Sequence[AerProgram]) -> list[tuple[tuple[int, int], list[float]]]:
    """Return the slots of a template, each with its values in programs of it, as Aer takes them."""
    columns = zip(*(program.angles for program in programs), strict=True)
    return [(slot, list(column)) for slot, column in zip(programs[0].slots, columns, strict=False)]


def _drawn(program: AerProgram, sample: int, shots: int, generator: np.random.Generator) -> Mapping[int, int]:
    """Return the counts of a Clifford circuit of which one sample is known."""
    deferred = program.deferred
    assert deferred is not None
    if all(
        formula == FALSE or (len(formula.bits) == 1 and formula == bit(min(formula.bits)))
        for formula in deferred.values
    ):
        # Outcomes are the samples' bits in another order: it is enough to order those of the space.
        basis = [deferred.outcome(each) for each in program.basis]
        return stabilizer_sampling.draw(deferred.outcome(sample), basis, shots, generator)
    return deferred.outcomes(stabilizer_sampling.draw(sample, program.basis, shots, generator))


def _counts(result: Any) -> dict[int, int]:
    return {int(key, 16): number for key, number in getattr(result.data, "counts", {"0x0": 0}).items()}


def _sample(result: Any) -> int:
    (outcome,) = _counts(result)
    return outcome


def _succeeded(result: Any) -> Any:
    if not result.success:
        raise failure_of(str(result.status))
    return result


def failure_of(status: str) -> RunError:
    """Return the error of a run by the status that Aer gives it."""
    if any(sign in status for sign in _OUT_OF_MEMORY):
        message = "the run needed more memory than one task may use: use fewer qubits or shots"
        return LimitError("MEMORY_LIMIT", message)
    return ProviderError("SIMULATION_FAILED", f"Aer could not run it: {status}", retryable=False)
