# SPDX-License-Identifier: Apache-2.0
"""The processes of server programs: a fork server in an environment, and the programs that it forks.

They run in the sandbox of Python source (`languages/python/sandbox`), with one more descriptor: the socket to the
server. These files import the client, and of the server only each other and the confinement, because the environment
may lack the server: the server names the folders of its packages (see `execution/programs`).
"""
