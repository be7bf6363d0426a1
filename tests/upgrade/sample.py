# SPDX-License-Identifier: Apache-2.0
"""The content of a sample: the same requests, under the same ids, for every version."""

from __future__ import annotations

import uuid
from pathlib import Path

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.deployment_service_pb2 import CreateDeploymentRequest
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.sweep_pb2 import ParameterSets

#: Where the samples are: <revision>.sqlite3 and <revision>.sql.
FOLDER = Path(__file__).parent
BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0], q[1];\nmeasure q -> c;\n'
GHZ = BELL.replace("[2]", "[3]").replace("measure", "cx q[1], q[2];\nmeasure")
WRONG = "OPENQASM 2.0;\nnonsense;\n"
#: A second or two of work in a few lines.
LONG = """OPENQASM 3.0;
include "stdgates.inc";
qubit[17] q;
bit[17] c;
for int k in [1:60] {
  for int i in [0:15] { rx(0.1 * k) q[i]; cx q[i], q[i + 1]; }
}
c = measure q;
"""
#: The names of the jobs, and their states when the server was killed.
STATES = {
    "succeeded": JobState.JOB_STATE_SUCCEEDED,
    "of a deployment": JobState.JOB_STATE_SUCCEEDED,
    "failed": JobState.JOB_STATE_FAILED,
    "cancelled": JobState.JOB_STATE_CANCELLED,
    "running": JobState.JOB_STATE_RUNNING,
    "cancelling": JobState.JOB_STATE_CANCELLING,
    "queued": JobState.JOB_STATE_QUEUED,
}
#: The job whose inputs are too large for its row. It is queued; samples before revision 0003 have none.
LARGE = "large inputs"
ANGLES = {f"theta_{k}": k / 7 for k in range(250)}
TURNS = "".join(
    (
        "OPENQASM 3.0;\n",
        *(f"input float {name};\n" for name in ANGLES),
        "qubit q;\nbit c;\nU(theta_22, 0, 0) q;\nc = measure q;\n",
    )
)
#: The job with results of points. It succeeded; samples before revision 0005 have none.
SWEEP = "sweep"
POINTS = (0.0, 3.141592653589793)
#: The labels of the sweep and of the deployment; samples before revision 0006 have none.
LABELS = {"project": "upgrade", "*": ""}
TURN = "OPENQASM 3.0;\ninput float theta;\nqubit q;\nbit c;\nU(theta, 0, 0) q;\nc = measure q;\n"
_PROGRAMS = {
    SWEEP: (TURN,),
    LARGE: (TURNS,),
    "succeeded": (BELL, GHZ),
    "failed": (BELL, WRONG),
    "running": (LONG,),
    "cancelling": (LONG,),
}


def request_id(name: str) -> str:
    """Return the request id of a job or deployment."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def programs(*texts: str) -> list[QuantumProgram]:
    """Return programs with these texts."""
    qasm2, qasm3 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2, AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
    newer = (LONG, TURN, TURNS)
    return [QuantumProgram(quantum_circuit=x, assembler_language=qasm3 if x in newer else qasm2) for x in texts]


def creating(name: str, deployment_id: int = 0) -> calls.CreateJobRequest:
    """Return the request that created the job of this name."""
    request = calls.CreateJobRequest(
        job=Job(name=name, shots=100, seed=7), device="IBM/aer_simulator", request_id=request_id(name)
    )
    if name == LARGE:
        request.job.inputs.update(ANGLES)
    if name == SWEEP:
        request.job.parameter_sets.MergeFrom(ParameterSets(names=["theta"], values=POINTS))
        request.job.labels.update(LABELS)
    if deployment_id:
        request.job.deployment_id = deployment_id
    else:
        request.deployment.programs.extend(programs(*_PROGRAMS.get(name, (BELL,))))
    return request


def deploying() -> CreateDeploymentRequest:
    """Return the request that created the deployment; its programs were replaced later."""
    return CreateDeploymentRequest(
        deployment=Deployment(name="kept", programs=programs(BELL)), request_id=request_id("kept")
    )
