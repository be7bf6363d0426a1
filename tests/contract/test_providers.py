# SPDX-License-Identifier: Apache-2.0
"""The contract of every provider, on the real SDKs: the same program gives the same keys and numbers everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskProgram
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_pb2 import Result, ResultType
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.providers.provider import SimulatorProvider
from qonduit_server.worker import runner
from tests.universal_providers import universal_providers

QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
QASM3 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
HEADER2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
HEADER3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
#: The types that every simulator runs.
JOB_TYPES = [JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER, JobType.JOB_TYPE_ESTIMATOR]
BELL = HEADER2 + "qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"


@pytest.fixture(scope="session", params=universal_providers())
def provider(request: pytest.FixtureRequest) -> SimulatorProvider:
    """Each provider, loaded once a session, because their SDKs take seconds to import."""
    found = registry.get(request.param)
    runner.Runner(found, Languages()).load()
    return found


class Run:
    """The events that running a task emitted."""

    def __init__(
        self, provider: SimulatorProvider, *programs: str, shots: int = 500, seed: int | None = 11, **task: object
    ) -> None:
        device = provider.describe().devices[0].name
        self.task = Task(
            job_id=7,
            attempt=2,
            provider=provider.name,
            device=device,
            spec=JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=shots),
            programs=[
                TaskProgram(program_id=100 + k, language=QASM3 if "OPENQASM 3" in text else QASM2, text=text)
                for k, text in enumerate(programs)
            ],
        )
        if seed is not None:
            self.task.spec.seed = seed
        for name, value in task.items():
            setattr(self.task.spec if name in JobSpec.DESCRIPTOR.fields_by_name else self.task, name, value)
        self.events: list[TaskEvent] = []
        runner.Runner(provider, Languages()).run(self.task, self.events.append)
        self.results: dict[int, Result] = {
            event.program_succeeded.index: event.program_succeeded.result
            for event in self.events
            if event.HasField("program_succeeded")
        }
        self.failures: dict[int, Failure] = {
            event.program_failed.index: event.program_failed.failure
            for event in self.events
            if event.HasField("program_failed")
        }

    @property
    def counts(self) -> dict[str, int]:
        """Return the counts of the only program."""
        assert not self.failures, self.failures
        (result,) = self.results.values()
        return dict(result.counts_and_probabilities.counts)

    @property
    def registers(self) -> list[tuple[str, int]]:
        (result,) = self.results.values()
        return [(register.name, register.size) for register in result.registers]

    @property
    def failure(self) -> Failure:
        """Return the failure of the only program."""
        assert not self.results, self.results
        (failure,) = self.failures.values()
        return failure


def close(counts: Mapping[str, int], expected: Mapping[str, float]) -> bool:
    """Return whether counts are within five standard deviations of probabilities, without impossible outcomes."""
    shots = sum(counts.values())
    return set(counts) <= set(expected) and all(
        abs(counts.get(key, 0) - shots * probability) <= 5 * math.sqrt(shots * probability * (1 - probability)) + 1
        for key, probability in expected.items()
    )


class TestCounts:
    """Keys, registers and numbers are correct."""

    def test_asymmetric(self, provider: SimulatorProvider) -> None:
        run = Run(provider, HEADER2 + "qreg q[3]; creg c[3]; x q[1]; ry(0.8) q[2]; measure q -> c;")
        one = math.sin(0.4) ** 2
        assert run.registers == [("c", 3)]
        assert close(run.counts, {"0x2": 1 - one, "0x6": one})

    def test_permuted_measurement(self, provider: SimulatorProvider) -> None:
        text = "qreg q[3]; creg c[3]; x q[0]; measure q[0] -> c[2]; measure q[2] -> c[0]; measure q[1] -> c[1];"
        assert Run(provider, HEADER2 + text).counts == {"0x4": 500}

    def test_two_registers_of_unequal_size(self, provider: SimulatorProvider) -> None:
        run = Run(
            provider,
            HEADER2 + "qreg q[3]; creg a[1]; creg b[3]; x q[0]; x q[2]; measure q -> b; measure q[0] -> a[0];",
        )
        assert run.registers == [("b", 3), ("a", 1)]
        assert run.counts == {"0x5 0x1": 500}

    def test_partial_measurement_and_unwritten_bits(self, provider: SimulatorProvider) -> None:
        run = Run(provider, HEADER2 + "qreg q[3]; creg c[4]; creg d[2]; x q[1]; x q[2]; measure q[1] -> c[3];")
        assert run.registers == [("d", 2), ("c", 4)]
        assert run.counts == {"0x0 0x8": 500}

    def test_idle_qubits_shift_nothing(self, provider: SimulatorProvider) -> None:
        run = Run(provider, HEADER2 + "qreg q[5]; creg c[5]; x q[3]; measure q -> c;")
        assert run.counts == {"0x8": 500}

    def test_untouched_qubits_are_zero(self, provider: SimulatorProvider) -> None:
        assert Run(provider, HEADER2 + "qreg q[2]; creg c[2]; measure q -> c;").counts == {"0x0": 500}

    def test_no_measurement_with_registers(self, provider: SimulatorProvider) -> None:
        run = Run(provider, HEADER2 + "qreg q[2]; creg c[2]; creg d[1]; h q[0];")
        assert run.counts == {"0x0 0x0": 500}

    def test_no_registers(self, provider: SimulatorProvider) -> None:
        run = Run(provider, HEADER2 + "qreg q[2]; h q[0];")
        assert run.counts == {}
        assert run.registers == []

    def test_no_qubits(self, provider: SimulatorProvider) -> None:
        assert Run(provider, HEADER2 + "creg c[2];").counts == {"0x0": 500}

    def test_a_bit_measured_twice_keeps_the_last_value(self, provider: SimulatorProvider) -> None:
        text = "qreg q[2]; creg c[1]; x q[1]; measure q[1] -> c[0]; measure q[0] -> c[0];"
        assert Run(provider, HEADER2 + text).counts == {"0x0": 500}

    def test_a_qubit_measured_twice(self, provider: SimulatorProvider) -> None:
        text = "qreg q[1]; creg c[2]; h q[0]; measure q[0] -> c[0]; measure q[0] -> c[1];"
        assert close(Run(provider, HEADER2 + text).counts, {"0x0": 0.5, "0x3": 0.5})

    def test_more_classical_bits_than_a_machine_word(self, provider: SimulatorProvider) -> None:
        run = Run(provider, HEADER2 + "qreg q[1]; creg c[70]; x q[0]; measure q[0] -> c[69];")
        assert run.counts == {hex(1 << 69): 500}

    def test_many_measured_bits_keep_their_order(self, provider: SimulatorProvider) -> None:
        # More bits than providers sample from probabilities, each of them changed by a gate.
        gates, measured = "x q; x q; x q[0]; x q[1]; x q[5]; h q[13];", "measure q -> c;"
        plain = Run(provider, f"{HEADER2}qreg q[14]; creg c[14]; {gates} {measured}")
        assert close(plain.counts, {"0x23": 0.5, "0x2023": 0.5})
        guarded = "measure q[13] -> d[0]; if(d==1) x q[12];"
        conditional = Run(provider, f"{HEADER2}qreg q[14]; creg c[14]; creg d[1]; {gates} {guarded} {measured}")
        assert close(conditional.counts, {"0x0 0x23": 0.5, "0x1 0x3023": 0.5})

    @pytest.mark.parametrize("shots", [1, 100_000])
    def test_shots(self, provider: SimulatorProvider, shots: int) -> None:
        run = Run(provider, BELL, shots=shots)
        (result,) = run.results.values()
        assert sum(run.counts.values()) == shots == result.shots
        assert close(run.counts, {"0x0": 0.5, "0x3": 0.5})
        probabilities = result.counts_and_probabilities.probabilities
        assert dict(probabilities) == {key: number / shots for key, number in run.counts.items()}

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("gate foo(t) a,b { ry(t) a; cx a,b; } foo(0.8) q[0],q[1];", {"0x0": 0.848353, "0x3": 0.151647}),
            ("gate sxdagger a { x a; } gate ecr a,b { cx b,a; } sxdagger q[1]; ecr q[0],q[1];", {"0x3": 1.0}),
            ("gate r(t) a { x a; } r(0.1) q[0];", {"0x1": 1.0}),
            ("x q[0]; u0(1) q[0];", {"0x1": 1.0}),
            ("x q[0]; cu3(pi,0,pi) q[0],q[1];", {"0x3": 1.0}),
            ("sx q[0]; sxdg q[0];", {"0x0": 1.0}),
            ("sx q[0]; sx q[0];", {"0x1": 1.0}),
            ("rxx(pi) q[0],q[1];", {"0x3": 1.0}),
            ("ryy(pi) q[0],q[1];", {"0x3": 1.0}),
            ("h q[0]; rzz(pi) q[0],q[1]; h q[0];", {"0x1": 1.0}),
            ("h q[0]; x q[1]; crz(pi) q[1],q[0]; h q[0];", {"0x0": 0.5, "0x3": 0.5}),
            ("h q[0]; x q[1]; cu1(pi) q[1],q[0]; h q[0];", {"0x3": 1.0}),
            ("ch q[0],q[1]; id q[0]; barrier q;", {"0x0": 1.0}),
            ("u3(pi,0.1,0.2) q[0]; u2(0,pi) q[1]; u2(0,pi) q[1];", {"0x1": 1.0}),
            ("x q[0]; swap q[0],q[1];", {"0x2": 1.0}),
            ("x q[0]; csx q[0],q[1]; csx q[0],q[1];", {"0x3": 1.0}),
        ],
    )
    def test_gates(self, provider: SimulatorProvider, text: str, expected: dict[str, float]) -> None:
        if "crz(pi)" in text:
            # A controlled rz rotates the target by half the angle of a controlled phase: visible through two Hadamards.
            expected = {"0x3": 1.0}
        run = Run(provider, f"{HEADER2}qreg q[2]; creg c[2]; {text} measure q -> c;")
        assert close(run.counts, expected)

    def test_gates_on_many_qubits(self, provider: SimulatorProvider) -> None:
        text = (
            "qreg q[5]; creg c[5]; x q[0]; x q[1]; x q[2]; x q[3]; "
            "c4x q[0],q[1],q[2],q[3],q[4]; c3x q[0],q[1],q[2],q[3]; rccx q[0],q[1],q[3]; cswap q[0],q[1],q[3];"
        )
        assert Run(
            provider, HEADER2 + text + "c3sqrtx q[0],q[2],q[4],q[1]; c3sqrtx q[0],q[2],q[4],q[1]; measure q -> c;"
        ).counts

    def test_global_phases_are_visible_under_control_only(self, provider: SimulatorProvider) -> None:
        text = (
            "qubit[2] q; bit[2] c; gphase(1.1); h q[0]; ctrl @ gphase(pi) q[0]; h q[0]; "
            "negctrl @ x q[0], q[1]; c = measure q;"
        )
        assert Run(provider, HEADER3 + text).counts == {"0x1": 500}


class TestControl:
    """Measurement, reset and conditions within a circuit: every provider declares them and must run them."""

    def test_described(self, provider: SimulatorProvider) -> None:
        for device in provider.describe().devices:
            assert device.capabilities.mid_circuit_measurement
            assert device.capabilities.reset or device.capabilities.coupling_map
            # Virtual processors have the constructs of the machines.
            assert device.capabilities.conditionals or device.capabilities.coupling_map
            assert device.capabilities.loops or device.capabilities.coupling_map
            assert device.capabilities.parameters
            assert list(device.capabilities.job_types) == JOB_TYPES

    def test_measurement_in_the_middle(self, provider: SimulatorProvider) -> None:
        text = "qreg q[1]; creg c[2]; h q[0]; measure q[0] -> c[0]; h q[0]; measure q[0] -> c[1];"
        assert close(Run(provider, HEADER2 + text).counts, {f"0x{k}": 0.25 for k in range(4)})

    def test_reset(self, provider: SimulatorProvider) -> None:
        text = "qreg q[2]; creg c[3]; h q[0]; cx q[0],q[1]; measure q[0] -> c[2]; reset q[0]; measure q -> c;"
        run = Run(provider, HEADER2 + text.replace("measure q -> c", "measure q[0] -> c[0]; measure q[1] -> c[1]"))
        assert close(run.counts, {"0x0": 0.5, "0x6": 0.5})

    def test_teleportation(self, provider: SimulatorProvider) -> None:
        text = (
            "qubit[3] q; bit[2] m; bit r; ry(0.8) q[0]; h q[1]; cx q[1], q[2]; cx q[0], q[1]; h q[0]; "
            "m[0] = measure q[0]; m[1] = measure q[1]; if (m[1]) { x q[2]; } if (m[0]) { z q[2]; } r = measure q[2];"
        )
        counts = Run(provider, HEADER3 + text, shots=2000).counts
        ones = sum(number for key, number in counts.items() if key.startswith("0x1"))
        assert close({"0": 2000 - ones, "1": ones}, {"0": math.cos(0.4) ** 2, "1": math.sin(0.4) ** 2})

    def test_a_condition_on_a_register_counts_its_first_bit_as_the_lowest(self, provider: SimulatorProvider) -> None:
        text = "qreg q[3]; creg c[2]; creg d[1]; x q[1]; measure q[1] -> c[1]; if(c==2) x q[2]; measure q[2] -> d[0];"
        assert Run(provider, HEADER2 + text).counts == {"0x1 0x2": 500}

    def test_conditional_measurement_and_reset(self, provider: SimulatorProvider) -> None:
        text = (
            "qubit[3] q; bit[2] c; bit d; h q[0]; x q[1]; x q[2]; c[0] = measure q[0]; "
            "if (c[0]) { c[1] = measure q[1]; reset q[2]; } d = measure q[2];"
        )
        assert close(Run(provider, HEADER3 + text).counts, {"0x1 0x0": 0.5, "0x0 0x3": 0.5})

    def test_else_and_logic(self, provider: SimulatorProvider) -> None:
        text = (
            "qubit[3] q; bit[2] c; bit d; h q[0]; h q[1]; c = measure q[0:1]; "
            "if (c[0] ^ c[1]) { x q[2]; } else { ry(pi) q[2]; x q[2]; } d = measure q[2];"
        )
        expected = {"0x0 0x0": 0.25, "0x1 0x1": 0.25, "0x1 0x2": 0.25, "0x0 0x3": 0.25}
        assert close(Run(provider, HEADER3 + text).counts, expected)

    def test_every_bit_of_a_condition_is_evaluated(self, provider: SimulatorProvider) -> None:
        text = (
            "qubit[4] q; bit[3] c; bit d; ry(0.8) q[0]; ry(1.9) q[1]; ry(1.2) q[2]; c = measure q[0:2]; "
            "if (c[0] && !c[1] && !c[2]) { x q[3]; } d = measure q[3];"
        )
        ones = [math.sin(angle / 2) ** 2 for angle in (0.8, 1.9, 1.2)]
        expected = {
            f"{hex(outcome == 0b001)} {hex(outcome)}": math.prod(
                one if outcome >> place & 1 else 1 - one for place, one in enumerate(ones)
            )
            for outcome in range(8)
        }
        assert close(Run(provider, HEADER3 + text, shots=4000).counts, expected)

    def test_a_loop_that_a_measurement_ends(self, provider: SimulatorProvider) -> None:
        text = "qubit q; bit c; bit d; h q; c = measure q; while (c) { h q; c = measure q; } x q; d = measure q;"
        assert Run(provider, HEADER3 + text).counts == {"0x1 0x0": 500}

    def test_more_rounds_than_there_is_memory_for_helpers(self, provider: SimulatorProvider) -> None:
        rounds = "h q[0]; measure q[0] -> c[0]; reset q[0]; if(c==1) x q[1];" * 40
        run = Run(provider, f"{HEADER2}qreg q[2]; creg c[1]; creg d[1]; {rounds} measure q[1] -> d[0];")
        assert close(run.counts, {f"0x{d} 0x{c}": 0.25 for d in range(2) for c in range(2)})


class TestTask:
    """The events that are emitted, and their order."""

    def test_events(self, provider: SimulatorProvider) -> None:
        run = Run(provider, BELL)
        # Phases appear in the log and in ListWorkers only.
        kinds = [kind for event in run.events if (kind := event.WhichOneof("event")) != "phase"]
        assert kinds == ["started", "program_started", "program_succeeded", "progress", "finished"]
        assert {(event.job_id, event.attempt) for event in run.events} == {(7, 2)}
        assert run.events[-2].progress.progress == 1.0
        assert not run.events[-1].finished.HasField("failure")
        (result,) = run.results.values()
        assert result.program_id == 100
        assert result.result_type == ResultType.RESULT_TYPE_COUNTS_AND_PROBABILITIES
        for key in ("sdk", "sdk_version", "method", "seed", "parse_seconds", "compile_seconds", "run_seconds"):
            assert key in result.meta_data

    def test_a_program_that_fails_stops_no_other(self, provider: SimulatorProvider) -> None:
        run = Run(
            provider,
            BELL,
            HEADER2 + "qreg q[1];\nfoo q[0];",
            HEADER2 + "qreg q[64]; creg c[1]; ry(1) q; measure q[0] -> c[0];",
            BELL,
        )
        assert sorted(run.results) == [0, 3]
        assert run.failures[1].reason == "UNKNOWN_GATE"
        assert (run.failures[1].line, run.failures[1].column) == (4, 1)
        assert run.failures[1].category == FailureCategory.FAILURE_CATEGORY_PROGRAM
        assert run.failures[2].category == FailureCategory.FAILURE_CATEGORY_LIMIT
        assert not run.events[-1].finished.HasField("failure")
        progress = [event.progress.progress for event in run.events if event.HasField("progress")]
        assert progress == sorted(progress)
        assert progress[-1] == 1.0

    def test_progress_of_many_programs_grows(self, provider: SimulatorProvider) -> None:
        run = Run(provider, *[BELL.replace("h q[0]", f"ry(0.{k}) q[0]") for k in range(1, 41)])
        progress = [event.progress.progress for event in run.events if event.HasField("progress")]
        assert len(run.results) == 40
        assert progress == sorted(set(progress))
        assert len(progress) > 20

    def test_the_same_seed_gives_the_same_counts(self, provider: SimulatorProvider) -> None:
        text = HEADER2 + "qreg q[4]; creg c[4]; h q; measure q -> c;"
        first, second, other = Run(provider, text, text), Run(provider, text, text), Run(provider, text, text, seed=12)
        counts = [
            [dict(run.results[k].counts_and_probabilities.counts) for k in range(2)] for run in (first, second, other)
        ]
        assert counts[0] == counts[1]
        assert counts[0] != counts[2]
        assert counts[0][0] != counts[0][1]

    @pytest.mark.parametrize("seed", [0, 2**32 - 1])
    def test_every_seed_is_accepted(self, provider: SimulatorProvider, seed: int) -> None:
        assert close(
            Run(provider, BELL, BELL, seed=seed).results[1].counts_and_probabilities.counts, {"0x0": 0.5, "0x3": 0.5}
        )

    def test_without_a_seed_runs_differ(self, provider: SimulatorProvider) -> None:
        text = HEADER2 + "qreg q[8]; creg c[8]; h q; measure q -> c;"
        assert Run(provider, text, seed=None).counts != Run(provider, text, seed=None).counts

    def test_compiled_programs_are_cached(self, provider: SimulatorProvider) -> None:
        keeping = runner.Runner(provider, Languages())
        task = Run(provider, BELL).task
        events: list[TaskEvent] = []
        for _ in range(2):
            keeping.run(task, events.append)
        hits = [
            event.program_succeeded.result.meta_data["from_cache"]
            for event in events
            if event.HasField("program_succeeded")
        ]
        assert hits == [False, True]

    @pytest.mark.parametrize(
        "kind", [JobType.JOB_TYPE_IBM_RUNNER, JobType.JOB_TYPE_IBM_UPLOAD, JobType.JOB_TYPE_UNSPECIFIED]
    )
    def test_other_job_types_are_refused(self, provider: SimulatorProvider, kind: JobType) -> None:
        run = Run(provider, BELL, type=kind)
        assert run.events[-1].finished.failure.reason == "UNSUPPORTED_JOB_TYPE"
        assert run.events[-1].finished.failure.category == FailureCategory.FAILURE_CATEGORY_DEVICE
        assert not run.results

    def test_an_unknown_device_is_refused(self, provider: SimulatorProvider) -> None:
        assert Run(provider, BELL, device="nowhere").failure.reason == "UNKNOWN_DEVICE"


class TestProbabilities:
    """The exact distribution, where the provider can compute it."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;", {0: 0.5, 3: 0.5}),
            ("qreg q[3]; creg c[2]; x q[2]; ry(0.8) q[0]; measure q[2] -> c[0]; measure q[0] -> c[1];", None),
            (
                "qreg q[1]; creg c[2]; h q[0]; measure q[0] -> c[0]; h q[0]; measure q[0] -> c[1];",
                dict.fromkeys(range(4), 0.25),
            ),
            ("qreg q[2]; creg c[2]; h q[0];", {0: 1.0}),
            ("qreg q[14]; creg c[14]; h q[13]; cx q[13],q[0]; measure q -> c;", {0: 0.5, 0x2001: 0.5}),
        ],
    )
    def test_exact(self, provider: SimulatorProvider, text: str, expected: dict[int, float] | None) -> None:
        one = math.sin(0.4) ** 2
        found = self.probabilities(provider, text)
        assert found == pytest.approx(expected or {1: 1 - one, 3: one}, abs=1e-12)

    def test_too_many_bits(self, provider: SimulatorProvider) -> None:
        assert self.probabilities(provider, "qreg q[21]; creg c[21]; h q; measure q -> c;") is None

    def test_impossible_outcomes_are_left_out(self, provider: SimulatorProvider) -> None:
        turns = "h q[0]; t q[0]; cx q[0],q[1]; ry(0.7) q[1]; " * 20
        back = "ry(-0.7) q[1]; cx q[0],q[1]; tdg q[0]; h q[0]; " * 20
        text = f"qreg q[2]; creg c[2]; {turns} {back} measure q -> c;"
        assert self.probabilities(provider, text) == pytest.approx({0: 1.0}, abs=1e-12)
        assert Run(provider, HEADER2 + text, shots=1_000_000).counts == {"0x0": 1_000_000}

    def probabilities(self, provider: SimulatorProvider, text: str) -> Mapping[int, float] | None:
        device = provider.describe().devices[0].name
        circuit = Languages().read(QASM2, HEADER2 + text, b"", {})
        return provider.probabilities(device, provider.compile(circuit, device))


class TestLimits:
    """A program that does not fit is refused before anything is allocated."""

    @pytest.mark.parametrize("gates", ["h q;", "ry(0.1) q;", ""], ids=["clifford", "rotations", "idle"])
    def test_forty_qubits(self, provider: SimulatorProvider, gates: str) -> None:
        run = Run(provider, f"{HEADER2}qreg q[40]; creg c[40]; {gates} measure q -> c;")
        methods = {method.name for method in provider.describe().devices[0].capabilities.methods}
        if "stabilizer" in methods and "ry" not in gates:
            assert sum(run.counts.values()) == 500
            return
        assert run.failure.reason == "MEMORY_LIMIT"
        assert run.failure.category == FailureCategory.FAILURE_CATEGORY_LIMIT
        assert "40 qubits" in run.failure.message
        assert "TiB" in run.failure.message

    def test_the_memory_limit_of_the_task_applies(self, provider: SimulatorProvider) -> None:
        text = HEADER2 + "qreg q[20]; creg c[1]; ry(0.1) q[0]; measure q[0] -> c[0];"
        assert Run(provider, text, memory_limit_bytes=1024**2).failure.reason == "MEMORY_LIMIT"
        assert Run(provider, text, memory_limit_bytes=1024**3, shots=10).counts

    def test_the_described_number_of_qubits_fits(self, provider: SimulatorProvider) -> None:
        device = provider.describe().devices[0]
        assert 16 <= device.num_qubits < 64
        run = Run(provider, f"{HEADER2}qreg q[{device.num_qubits + 2}]; creg c[1]; ry(1) q[0]; measure q[0] -> c[0];")
        assert run.failure.reason == "MEMORY_LIMIT"


class TestDescription:
    """Descriptions that need no SDK."""

    def test_names_and_languages(self, provider: SimulatorProvider) -> None:
        description = provider.describe()
        assert description.provider.name == provider.name
        device = description.devices[0]
        assert not (device.with_token if device.HasField("with_token") else description.provider.with_token)
        assert device.is_simulator
        assert device.is_local
        assert device.available
        assert not description.unavailable
        assert device.max_shots >= 100_000
        assert device.basis_gates

    def test_every_basis_gate_runs(self, provider: SimulatorProvider) -> None:
        from qiskit.circuit import Measure, QuantumCircuit
        from qiskit.circuit.library import get_standard_gate_name_mapping

        from qonduit_server.ir.circuit import Circuit, Outcome

        known = get_standard_gate_name_mapping()
        device = provider.describe().devices[0]
        for name in device.basis_gates:
            gate = known.get(name)
            if gate is None or gate.num_qubits == 0:
                continue
            gate = gate.base_class(*[0.3] * len(gate.params)) if gate.params else gate
            quantum = QuantumCircuit(gate.num_qubits, 1)
            quantum.append(gate, range(gate.num_qubits))
            quantum.append(Measure(), [0], [0])
            compiled = provider.compile(Circuit(quantum, ()), device.name)
            (outcome,) = provider.run(device.name, [compiled], 10, 1)
            assert isinstance(outcome, Outcome), name
