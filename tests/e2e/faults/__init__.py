# SPDX-License-Identifier: Apache-2.0
"""Tests of jobs, events and submits when processes are killed or stopped at any step of a job."""
