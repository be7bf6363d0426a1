# SPDX-License-Identifier: Apache-2.0
"""A load generator: keeps many RunJob streams open and measures their durations, in its own process."""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable

import grpc

from qonduit.v1 import job_service_pb2, job_service_pb2_grpc, result_service_pb2, result_service_pb2_grpc
from qonduit.v1.job_pb2 import Job, JobState, JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from tests.benchmarks import programs


def request(texts: list[str], shots: int) -> job_service_pb2.RunJobRequest:
    """Return the request of one job of these programs on Aer, with an inline deployment."""
    message = job_service_pb2.RunJobRequest(
        job=Job(type=JobType.JOB_TYPE_RUNNER, shots=shots), device="IBM/aer_simulator"
    )
    for text in texts:
        message.deployment.programs.add(
            quantum_circuit=text, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
        )
    return message


def run_for(target: str, message: job_service_pb2.RunJobRequest, seconds: float, streams: int) -> dict[str, object]:
    """Run the job repeatedly on concurrent streams; times are seconds from call to terminal event."""
    end = time.perf_counter() + seconds
    return run_until(target, message, lambda: time.perf_counter() >= end, streams, [])


def run_until(
    target: str,
    message: job_service_pb2.RunJobRequest,
    ended: Callable[[], bool],
    streams: int,
    times: list[float],
) -> dict[str, object]:
    """Run the job repeatedly on concurrent streams until the load has ended; add the time of each job to `times`."""
    payload = message.SerializeToString()
    failures: list[str] = []
    last_events: list[tuple[int, bytes]] = []

    # Streams share the tokens of the environment in turn; without one, calls are anonymous.
    tokens = os.environ.get("BENCHMARK_TOKENS", "").split()

    def metadata(number: int) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {tokens[number % len(tokens)]}")] if tokens else []

    def worker(number: int) -> None:
        own = metadata(number)
        channel = grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        # Bytes in, bytes out: the benchmark measures the server, so the client does as little as possible.
        run = channel.unary_stream("/qonduit.v1.JobService/RunJob", lambda b: b, lambda b: b)
        first = True
        while first or not ended():
            first = False
            begun = time.perf_counter()
            last = b""
            for event in run(payload, timeout=120, metadata=own):
                last = event
            times.append(time.perf_counter() - begun)
            final = job_service_pb2.RunJobResponse.FromString(last).event.state_change
            if final.to_state != JobState.JOB_STATE_SUCCEEDED:
                failures.append(final.job.failure.message)
            last_events.append((number, last))
        channel.close()

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(streams)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - begun
    number, last = last_events[-1]
    job = job_service_pb2.RunJobResponse.FromString(last).event.state_change.job
    with grpc.insecure_channel(target) as channel:
        listed = result_service_pb2_grpc.ResultServiceStub(channel).ListResults(
            result_service_pb2.ListResultsRequest(job_id=job.id, page_size=1000),
            metadata=metadata(number),
        )
    shots = [sum(result.counts_and_probabilities.counts.values()) for result in listed.results]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "times": times,
        "wall": wall,
        "failures": failures[:3],
        "checked": len(shots) == len(message.deployment.programs) and set(shots) == {message.job.shots},
        "client_cpu": usage.ru_utime + usage.ru_stime,
    }


def run_once(target: str) -> None:
    """Run one Bell job, to its end."""
    with grpc.insecure_channel(target) as channel:
        *_, last = job_service_pb2_grpc.JobServiceStub(channel).RunJob(request([programs.BELL], 1000), timeout=120)
    if last.event.state_change.to_state != JobState.JOB_STATE_SUCCEEDED:
        raise RuntimeError(f"the job failed: {last.event.state_change.job.failure.message}")


def main(target: str, kind: str, seconds: float, shots: int, streams: int) -> None:
    """Measure one kind: bell, hundred, or layered:QUBITS:DEPTH."""
    name, *numbers = kind.split(":")
    texts = {"bell": lambda: [programs.BELL], "hundred": programs.hundred}.get(
        name, lambda: [programs.layered(*map(int, numbers))]
    )()
    run_for(target, request(texts, shots), 0.5, 1)
    print(json.dumps(run_for(target, request(texts, shots), seconds, streams)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
