# SPDX-License-Identifier: Apache-2.0
"""The command line `qonduit`: its commands and their output."""
