# SPDX-License-Identifier: Apache-2.0
"""A plain evaluation of filters of jobs in Python, and random filters."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import strategies as st

from qonduit.v1.job_pb2 import Job, JobState, JobType
from qonduit_server.store.filter_language import AnyOf, Comparison, Node, Not, Value
from qonduit_server.store.timestamps import microseconds


def value_of(job: Job, field: str, key: str | None) -> str | int | None:
    """Return a job's value of a field of filters; None if it has none."""
    match field:
        case "label":
            return job.labels.get(key) if key is not None else None
        case "name":
            return job.name if job.HasField("name") else None
        case "owner":
            return job.executed_by
        case "created_at" | "started_at" | "finished_at":
            return microseconds(getattr(job, field)) if job.HasField(field) else None
        case _:
            return getattr(job, field)  # type: ignore[no-any-return]


def compared(job: Job, comparison: Comparison) -> bool:
    """Evaluate a comparison."""
    operator, value = comparison.operator, comparison.value
    if comparison.field == "label" and comparison.key is None:
        return bool(job.labels) if value.is_anything else value.text in job.labels
    own = value_of(job, comparison.field, comparison.key)
    if own is None:
        return False
    if isinstance(own, str):
        matches = (value.starts_open and value.ends_open and value.text in own) or (
            own.endswith(value.text) and len(own) >= len(value.text)
            if value.starts_open and not value.ends_open
            else own.startswith(value.text)
            if value.ends_open and not value.starts_open
            else own == value.text and value.is_exact
        )
        return matches != (operator == "!=")
    if value.is_anything:
        return True
    other = number_of(comparison.field, value)
    return {
        "=": own == other,
        ":": own == other,
        "!=": own != other,
        "<": own < other,
        "<=": own <= other,
        ">": own > other,
        ">=": own >= other,
    }[operator]


def number_of(field: str, value: Value) -> int:
    """Return the number that a value stands for."""
    if field == "state":
        return JobState.Value(f"JOB_STATE_{value.text}")
    if field == "type":
        return JobType.Value(f"JOB_TYPE_{value.text}")
    if field.endswith("_at"):
        return int(datetime.fromisoformat(value.text).timestamp()) * 1_000_000
    return int(value.text)


def holds(job: Job, node: Node) -> bool:
    """Evaluate a filter."""
    if isinstance(node, Comparison):
        return compared(job, node)
    if isinstance(node, Not):
        return not holds(job, node.part)
    results = [holds(job, part) for part in node.parts]
    return any(results) if isinstance(node, AnyOf) else all(results)


BASE = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
_WORDS = st.sampled_from(["a", "ab", "b", "", "ba", "a*", "é", "*"])
_OPERATORS = st.sampled_from(["=", "!=", ":", "<", "<=", ">", ">="])


def _quoted(text: str) -> str:
    return "".join(f"\\{char}" if char in '"\\*' else char for char in text)


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    """Draw a comparison that is valid."""
    field = draw(st.sampled_from(["state", "type", "name", "owner", "device", "label", "id", "shots", "created_at"]))
    field = draw(st.just(field) | st.sampled_from(["finished_at", "deployment_id", "label.k", "label.a*"]))
    if field == "label":
        return f"label:{draw(st.sampled_from(['k', '*', chr(34) + 'a' + chr(92) + '*' + chr(34), 'none']))}"
    if field in ("name", "owner", "device") or field.startswith("label."):
        field = 'label."a\\*"' if field == "label.a*" else field
        word = draw(st.sampled_from(["anonymous", "IBM/other", "other"]) | _WORDS)
        before, after = draw(st.sampled_from([("", ""), ("*", ""), ("", "*"), ("*", "*")]))
        return f'{field} {draw(st.sampled_from(["=", "!=", ":"]))} "{before}{_quoted(word)}{after}"'
    if field in ("state", "type"):
        values = ["QUEUED", "RUNNING", "SUCCEEDED", "CANCELLED"] if field == "state" else ["RUNNER", "SAMPLER"]
        return f"{field} {draw(st.sampled_from(['=', '!=', ':']))} {draw(st.sampled_from(values))}"
    operator = draw(_OPERATORS)
    if operator == ":" and draw(st.booleans()):
        return f"{field}:*"
    if field.endswith("_at"):
        return f"{field} {operator} {(BASE + timedelta(seconds=draw(st.integers(0, 40)))).isoformat()}"
    return f"{field} {operator} {draw(st.integers(0, 12) | st.sampled_from([1000, -1]))}"


def joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Join filters to longer ones."""
    return st.one_of(
        st.tuples(parts, st.sampled_from([" AND ", " OR ", " "]), parts).map("".join),
        parts.map(lambda part: f"NOT ({part})"),
        parts.map(lambda part: f"-({part})"),
        parts.map(lambda part: f"({part})"),
    )


#: Filters of up to six comparisons.
FILTERS = st.recursive(comparisons(), joined, max_leaves=6)
