"""Carries golden recipes out in a process of its own, and prints the digests of what came of them.

Run as `python -m portability.carrying_out MICRO RECIPE... [--emulate TARGET] [--threads N]`, with
`tests` on the path. How numba compiles is told by its variables in the environment.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Print a JSON object: for each recipe the digests of its manifest and weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("micro", type=Path)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--emulate", choices=("arm64", "riscv64"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.emulate is not None:
        # Before anything else of the algebra is imported.
        from portability.emulation import EMULATED, emulate_kernels

        emulate_kernels(EMULATED[options.emulate])
    from golden.test_golden_compositions import carry_out

    with tempfile.TemporaryDirectory() as folder:
        digests = {
            name: carry_out(name, options.micro, Path(folder) / name, threads=options.threads)
            for name in options.recipes
        }
    json.dump(digests, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
