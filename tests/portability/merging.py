"""Carries golden merges out in a process of its own, and prints their roots.

Run as `python -m portability.merging MERGE... [--emulate TARGET] [--threads N]`, with `tests` on
the path. How numba compiles is told by its variables in the environment.
"""

from __future__ import annotations

import argparse
import json
import sys


def main(arguments: list[str]) -> None:
    """Print a JSON object: the root of each merge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("merges", nargs="+")
    parser.add_argument("--emulate", choices=("arm64", "riscv64"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.emulate is not None:
        # Before anything else of the algebra is imported.
        from portability.emulation import EMULATED, emulate_kernels

        emulate_kernels(EMULATED[options.emulate])
    from golden.test_golden_merges import carry_out
    from reference.golden_merges import open_golden

    roots = {}
    for name in options.merges:
        with open_golden(name) as golden:
            roots[name] = carry_out(golden, threads=options.threads).root
    json.dump(roots, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
