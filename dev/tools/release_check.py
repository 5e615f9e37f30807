"""dev/release-check: whether the whole kill matrix, `dev/chaos` and `dev/shapes` passed with the present source."""

from __future__ import annotations

import argparse
import sys

from dev.tools import proofs


def main() -> int:
    """0 when every stamp is of the present source; else 1, and what to run."""
    argparse.ArgumentParser(prog="dev/release-check", description=__doc__).parse_args()
    wrong = [text for proof in proofs.ALL if (text := proof.wrong()) is not None]
    for text in wrong:
        print(text, file=sys.stderr)
    if not wrong:
        print("the stamps are of the present source")
    return 1 if wrong else 0
