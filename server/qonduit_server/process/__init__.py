# SPDX-License-Identifier: Apache-2.0
"""What the processes of the server and of its workers share: framing, memory, standard streams."""
