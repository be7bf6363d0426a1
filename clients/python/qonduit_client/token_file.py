# SPDX-License-Identifier: Apache-2.0
"""The token of a server whose configuration names a token file."""

from __future__ import annotations

from qonduit_client.errors import ConfigInvalid
from qonduit_client.named_servers import NamedServer
from qonduit_client.private_files import read_private


class TokenFile:
    """Returns the token in the file. Reads it for each call, so that a replaced file takes effect at once.

    Attributes:
        remedy: the next step if the server rejects the token.
    """

    def __init__(self, server: NamedServer) -> None:
        self.remedy = f"replace the token in {server.token_file}"
        self._server = server

    def __call__(self) -> str:
        """Return the current token.

        Raises:
            ConfigInvalid: the file cannot be read, contains no token, or other users have access to it.
        """
        file = self._server.token_file
        assert file is not None
        try:
            token = read_private(file).strip()
            if not token or not token.isascii() or not token.isprintable() or " " in token:
                raise ValueError(f"{file} must contain one token of visible ASCII characters")
        except FileNotFoundError:
            raise self._error(f"{file} does not exist") from None
        except (OSError, ValueError) as error:
            raise self._error(str(error)) from None
        return token

    def _error(self, problem: str) -> ConfigInvalid:
        return ConfigInvalid(f"{self._server.config}: servers.{self._server.name}.token_file: {problem}")
