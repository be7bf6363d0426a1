# SPDX-License-Identifier: Apache-2.0
"""Server programs: the processes that run them beside the workers, and the executor that adds them to another one."""
