# SPDX-License-Identifier: Apache-2.0
"""The Qonduit client: submit quantum programs, follow them live, read results in one form."""
