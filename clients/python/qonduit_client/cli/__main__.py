# SPDX-License-Identifier: Apache-2.0
"""`python -m qonduit_client.cli`: run the command line without its script on PATH."""

from qonduit_client.cli.commands import main

if __name__ == "__main__":
    main()
