# SPDX-License-Identifier: Apache-2.0
"""The bounds of a job in events and lists: 16 KiB for its fields, and 16 KiB for the outcomes of its programs.

The fields are bounded by arithmetic. A spec has at most `SPEC_BYTES` (see job_spec): 32 labels of the largest size take
10.3 KiB of them, and references to all large options fit beside these. The name, the caller and what the server assigns
take less than 2 KiB. The text of the failure is cut to the rest, which is never less than 1.5 KiB.
"""

from __future__ import annotations

from typing import Final

from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import Job

#: Maximum size of a job without `program_runs`, in bytes.
JOB_BYTES: Final = 16 * 1024
#: Maximum size of a stored spec, in bytes.
SPEC_BYTES: Final = 12 * 1024
#: Maximum size of `program_runs` in an event or a list, in bytes; a program without details takes about 25.
RUNS_BYTES: Final = 16 * 1024
#: Maximum size of the text of an event or a failure, in bytes.
TEXT_BYTES: Final = 8192
#: Minimum text size of a failure, and maximum size of its other texts, in bytes.
SHORT_TEXT_BYTES: Final = 128
#: More than the short texts of a failure and its numbers take.
_FAILURE_BYTES: Final = 2 * SHORT_TEXT_BYTES + 64
#: Maximum size of an id in a packed list, in bytes.
_ID_BYTES: Final = 9


def truncate(text: str, size: int) -> str:
    """Return a text cut to a maximum size in bytes; three dots mark a cut."""
    if len(text) * 4 <= size or len(data := text.encode()) <= size:
        return text
    return data[: size - 3].decode(errors="ignore") + "..."


def truncate_failure(failure: Failure, size: int) -> None:
    """Cut the message of a failure to a maximum size in bytes, and its other texts to `SHORT_TEXT_BYTES`."""
    failure.message = truncate(failure.message, size)
    failure.reason = truncate(failure.reason, SHORT_TEXT_BYTES)
    failure.provider_code = truncate(failure.provider_code, SHORT_TEXT_BYTES)


def set_failure(job: Job, failure: Failure) -> None:
    """Set the failure of a job, with as much of its message as fits."""
    job.ClearField("failure")
    left = JOB_BYTES - (job.ByteSize() - _runs_bytes(job)) - _FAILURE_BYTES
    job.failure.CopyFrom(failure)
    truncate_failure(job.failure, max(SHORT_TEXT_BYTES, min(TEXT_BYTES, left)))


def shorten_runs(job: Job) -> None:
    """Shorten `program_runs` to `RUNS_BYTES`, for events and lists.

    Failures share the bytes that are left beside the states, and then the ids of results. A failure that does not fit
    is left out.
    """
    if _runs_bytes(job) <= RUNS_BYTES:
        return
    runs = job.program_runs
    failures = {place: run.failure.SerializeToString() for place, run in enumerate(runs) if run.HasField("failure")}
    ids = {place: list(run.result_ids) for place, run in enumerate(runs) if run.result_ids}
    for run in runs:
        run.ClearField("failure")
        run.ClearField("result_ids")
    left = RUNS_BYTES - _runs_bytes(job)
    each = max(SHORT_TEXT_BYTES, left // max(1, len(failures)) - _FAILURE_BYTES)
    for place, data in failures.items():
        failure = Failure.FromString(data)
        truncate_failure(failure, each)
        size = failure.ByteSize() + 6
        if size <= left:
            left -= size
            runs[place].failure.CopyFrom(failure)
    number = (left - 6 * len(ids)) // (_ID_BYTES * max(1, len(ids)))
    for place, own in ids.items():
        runs[place].result_ids.extend(own[: max(0, number)])


def _runs_bytes(job: Job) -> int:
    """Return the size of `program_runs`, with the tag and the length of each."""
    return sum(run.ByteSize() + (4 if run.ByteSize() > 127 else 3) for run in job.program_runs)
