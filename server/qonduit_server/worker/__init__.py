# SPDX-License-Identifier: Apache-2.0
"""The worker program: fork server, loop, runner, result encoding."""
