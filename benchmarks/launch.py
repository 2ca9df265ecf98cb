"""Runs one command and reports how it ended, as JSON on a descriptor: seconds, peak memory, status.

    python -I -S launch.py DESCRIPTOR COMMAND...

A process's peak memory counts from before its program is loaded, when it is a copy of its parent:
so the parent is this small one, and not the benchmark.
"""

import json
import os
import sys
import time


def main() -> None:
    """Run the command."""
    report = int(sys.argv[1])
    os.set_inheritable(report, 0)
    started = time.perf_counter()
    child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
    _, status, usage = os.wait4(child, 0)
    facts = {
        "seconds": time.perf_counter() - started,
        "peak_mb": usage.ru_maxrss / 1000,
        "status": os.waitstatus_to_exitcode(status),
    }
    os.write(report, json.dumps(facts).encode())


if __name__ == "__main__":
    main()
