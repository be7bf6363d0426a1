# SPDX-License-Identifier: Apache-2.0
"""Administration of a database: retention, consistency checks, doctor, backup."""
