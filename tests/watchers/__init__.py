# SPDX-License-Identifier: Apache-2.0
"""Many watchers of a real server: crowds, clients without manners, and what they cost."""
