# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.corpus`: see matrix.py."""

import sys

from tests.corpus.matrix import main

if __name__ == "__main__":
    sys.exit(main())
