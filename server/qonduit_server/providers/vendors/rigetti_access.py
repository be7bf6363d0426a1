# SPDX-License-Identifier: Apache-2.0
"""Credentials of Rigetti's QCS, and the addresses of its services and of quilc."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qonduit_server.providers.remote_provider import CredentialRefused
from qonduit_server.providers.vendors.own_client import is_safe, is_token

#: The addresses, by the variables of Rigetti's client; the issuer of tokens has none there.
_VARIABLES: Final = {
    "api": ("QCS_SETTINGS_API_URL", "https://api.qcs.rigetti.com"),
    "grpc": ("QCS_SETTINGS_GRPC_URL", "https://grpc.qcs.rigetti.com"),
    "quilc": ("QCS_SETTINGS_APPLICATIONS_QUILC_URL", "tcp://127.0.0.1:5555"),
    "issuer": ("QONDUIT_RIGETTI_ISSUER", ""),
}


@dataclass(frozen=True)
class Access:
    """A credential: a refresh token of a user, or the client id and secret of a service."""

    refresh_token: str = field(default="", repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class Endpoints:
    """The addresses of QCS and of quilc; an empty issuer is Rigetti's."""

    api: str
    grpc: str
    quilc: str
    issuer: str


def read_credential(text: str) -> Access:
    """Read a credential: a refresh token, or JSON with it or with `client_id` and `client_secret`.

    Raises:
        CredentialRefused: it is another text.
    """
    found: Any = text
    if text.lstrip().startswith(("{", "[")):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
    else:
        found = {"refresh_token": text.strip()}
    forms = ({"refresh_token"}, {"client_id", "client_secret"})
    if not isinstance(found, dict) or found.keys() not in forms or not all(map(is_token, found.values())):
        raise CredentialRefused(
            'the credential must be a refresh token of QCS, or JSON with the field "refresh_token", or with '
            '"client_id" and "client_secret"'
        )
    return Access(**found)


def endpoints(variables: Mapping[str, str] = os.environ) -> Endpoints:
    """Return the addresses that the variables name.

    Raises:
        ValueError: a token would cross a network in plain text.
    """
    found = {}
    for part, (variable, default) in _VARIABLES.items():
        found[part] = url = variables.get(variable, "") or default
        if part != "quilc" and url and not is_safe(url):
            raise ValueError(f"{variable} must be an https URL, or an http URL of this machine, got {url!r:.200}")
    return Endpoints(**{part: url.rstrip("/") for part, url in found.items()})
