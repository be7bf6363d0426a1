# SPDX-License-Identifier: Apache-2.0
"""Vendors' clients in environments of their own: their import, and the tokens and addresses that they get."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from qonduit_server.providers.remote_provider import CallRefused, CredentialRefused

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@contextmanager
def importing_client(client: str, provider: str) -> Iterator[None]:
    """Import the client of a vendor, such as "IonQ's client". Raises CallRefused: what installs it."""
    try:
        yield
    except ImportError as error:
        raise CallRefused(f"{client} is missing: run `qonduit provider install {provider}` ({error})") from error


def is_token(value: object) -> bool:
    """Return whether a value can be a token: one printable word of ASCII."""
    return isinstance(value, str) and bool(value) and value.isascii() and value.isprintable() and " " not in value


def check_token(credential: str, what: str) -> None:
    """Raise CredentialRefused if a credential cannot be a token, such as "an API key of IonQ"."""
    if not is_token(credential):
        raise CredentialRefused(f"the credential must be {what}, without spaces or line breaks")


def is_safe(url: str) -> bool:
    """Return whether tokens may be sent to a URL: by TLS, or to this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )
