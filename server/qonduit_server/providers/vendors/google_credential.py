# SPDX-License-Identifier: Apache-2.0
"""The credential of a project of Google Cloud: a service account's key, or an access token."""

from __future__ import annotations

import json
from typing import Any, Final

from google.oauth2 import credentials, service_account

from qonduit_server.providers.remote_provider import CredentialRefused

_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_EXPECTED: Final = (
    'the credential of GOOGLE must be the JSON text of a service account\'s key, or {"project_id": "...", '
    '"access_token": "..."}'
)
#: Of a key. The others contain addresses, to which the SDK would send it.
_KEY_FIELDS: Final = ("type", "project_id", "private_key_id", "private_key", "client_email", "client_id")


def read(text: str) -> tuple[str, Any]:
    """Return the project of a credential, and its form for Google's SDK.

    Other forms of Google's credentials are refused: they name files, programs and hosts that the SDK uses.

    Raises:
        CredentialRefused: the text is no such credential.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CredentialRefused(f"{_EXPECTED}; the text is not JSON") from error
    project = found.get("project_id") if isinstance(found, dict) else None
    if not isinstance(project, str) or not project or "/" in project:
        raise CredentialRefused(f"{_EXPECTED}; its project_id is missing")
    if found.get("type") == "service_account":
        key = {name: found[name] for name in _KEY_FIELDS if name in found}
        # Google accepts tokens that the key signs, so none is requested from this address.
        key["token_uri"] = "https://oauth2.googleapis.com/token"
        try:
            return project, service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                key, scopes=[_SCOPE]
            )
        except (ValueError, TypeError) as error:
            raise CredentialRefused(f"{_EXPECTED}; the key cannot be used: {error}") from error
    token = found.get("access_token")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise CredentialRefused(f"{_EXPECTED}; it contains neither")
    return project, credentials.Credentials(token)  # type: ignore[no-untyped-call]
