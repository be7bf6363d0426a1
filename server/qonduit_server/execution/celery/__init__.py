# SPDX-License-Identifier: Apache-2.0
"""The executor of many machines: tasks travel by a message broker, as messages of Celery."""
