# SPDX-License-Identifier: Apache-2.0
"""The credential of a job: a secret, or one that the server stores."""

from __future__ import annotations

from typing import TypeAlias

from qonduit.v1.credential_pb2 import Credential
from qonduit.v1.device_service_pb2 import RefreshDevicesRequest
from qonduit.v1.job_service_pb2 import CreateJobRequest, RerunJobRequest, ResolveSubmissionRequest

#: A text is the secret itself; a number is the id of a stored credential.
JobCredential: TypeAlias = str | int | Credential


def set_credential(
    request: CreateJobRequest | RerunJobRequest | ResolveSubmissionRequest | RefreshDevicesRequest,
    credential: JobCredential,
) -> None:
    """Set the credential of a request. Raises TypeError for a value of another type, without the value."""
    if isinstance(credential, Credential):
        request.credential_id = credential.id
    elif isinstance(credential, str):
        request.credential = credential
    elif isinstance(credential, int) and not isinstance(credential, bool):
        request.credential_id = credential
    else:
        raise TypeError(
            "credential must be a secret (text), the id of a stored credential, or one of client.credentials, "
            f"got a {type(credential).__name__}"
        )
