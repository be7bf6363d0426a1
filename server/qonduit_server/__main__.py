# SPDX-License-Identifier: Apache-2.0
"""`python -m qonduit_server`: the server's commands without the client's."""

from qonduit_server.cli import main

if __name__ == "__main__":
    main()
