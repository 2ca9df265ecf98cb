"""`plait-registry` with processes of jobs that do what tests tell them to, and with short leases.

python -m served.job_programs serve|worker ...
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from functools import partial

from plait_registry import cli
from plait_registry.services import report_job, run_jobs
from plait_registry.worker import start_jobs
from plait_registry.worker.job_process import JobLauncher
from served.jobs import FAKE

LEASE = timedelta(seconds=8)


def main() -> int:
    vars(report_job)["LEASE"] = vars(run_jobs)["LEASE"] = LEASE
    vars(start_jobs)["JobLauncher"] = partial(JobLauncher, command=FAKE)
    return cli.run()


if __name__ == "__main__":
    # As the program itself, which ends by its exit status.
    os.umask(0o077)
    sys.exit(main())
