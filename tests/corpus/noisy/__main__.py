# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.corpus.noisy`: write the noise models, the references and the index of the noisy corpus again."""

from tests.corpus.noisy.references import FOLDER, files

if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
        print(name)
