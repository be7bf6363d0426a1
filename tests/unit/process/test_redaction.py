# SPDX-License-Identifier: Apache-2.0
"""Secrets are removed from texts and messages, in the forms in which SDKs repeat them."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest

from qonduit.execution.v1.task_pb2 import FurtherResult, ProgramFailed, ProgramSucceeded, TaskEvent
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.result_pb2 import Result
from qonduit_server.process.redaction import MARK, Redaction

SECRET = "vendor-s3cret/with+signs & äöü"


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        repr(SECRET),
        json.dumps({"token": SECRET}),
        urllib.parse.quote(SECRET),
        urllib.parse.quote_plus(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        *(base64.b64encode(b"u" * length + b":" + SECRET.encode() + b"!").decode() for length in range(1, 4)),
    ],
)
def test_each_form_of_a_secret_is_replaced(text: str) -> None:
    redacted = Redaction(SECRET).text(f"401 for {text}, try again")
    assert MARK in redacted
    assert redacted.startswith("401 for ")
    assert redacted.endswith(", try again")
    for form in (SECRET, SECRET.encode().hex(), base64.b64encode(SECRET.encode()).decode()[4:-4]):
        assert form not in redacted


def test_parts_of_a_structured_secret_are_replaced() -> None:
    secret = json.dumps({"client": "lab-7", "key": "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----"})
    redaction = Redaction(secret)
    assert redaction.text("invalid key MIIEvQIBADANBg of lab-7") == f"invalid key {MARK} of lab-7"
    assert redaction.text(f"got {secret}") == f"got {MARK}"


def test_the_names_in_a_structured_secret_are_kept() -> None:
    secret = json.dumps(
        {"project_id": "lab-project", "access_token": "ya29.0123456789", "scope": {"region": "eu-north-1"}}
    )
    redaction = Redaction(secret)
    text = "projects/lab-project/jobs/1 in eu-north-1"
    assert redaction.text(f"{text} with ya29.0123456789") == f"{text} with {MARK}"
    assert redaction.text(f"got {secret}") == f"got {MARK}"
    # A name that is a secret too is a secret.
    assert Redaction('{"project_id": "lab-project", "key": "lab-project"}').text("lab-project") == MARK


def test_a_text_without_the_secret_is_unchanged() -> None:
    assert Redaction(SECRET).text("vendor-s3cret is close") == "vendor-s3cret is close"
    assert not Redaction("")
    assert Redaction("").text("anything") == "anything"
    assert Redaction("short").text("short") == "short"


def test_every_field_of_a_message_is_redacted() -> None:
    result = Result()
    result.meta_data.update({"url": f"https://x/{SECRET}", SECRET: {"list": [SECRET, 1.0]}})
    result.counts_and_probabilities.counts["0x3"] = 7
    event = TaskEvent(
        job_id=1,
        program_succeeded=ProgramSucceeded(result=result, further=[FurtherResult(result=result, buffer=b"\0\1")]),
    )
    Redaction(SECRET).message(event)
    assert SECRET.encode() not in event.SerializeToString()
    first = event.program_succeeded.result
    assert first.meta_data["url"] == f"https://x/{MARK}"
    assert first.counts_and_probabilities.counts == {"0x3": 7}
    assert event.program_succeeded.further[0].buffer == b"\0\1"
    failed = TaskEvent(
        program_failed=ProgramFailed(failure=Failure(message=SECRET, provider_code=SECRET), diagnostic=SECRET)
    )
    Redaction(SECRET).message(failed)
    assert failed.program_failed.failure == Failure(message=MARK, provider_code=MARK)
    assert failed.program_failed.diagnostic == MARK


def test_bytes_keep_their_number() -> None:
    assert Redaction("vendor-12").data(b"a vendor-12 b") == b"a ********* b"
