# SPDX-License-Identifier: Apache-2.0
"""`python -m qonduit_client.cli`: the command line where its script is not on the path."""

from qonduit_client.cli.commands import main

if __name__ == "__main__":
    main()
