"""When a job's memory is limited: a CUDA context needs more addresses than any limit leaves."""

from pathlib import Path

import pytest

from plait_registry.worker import run_job


@pytest.mark.parametrize(
    ("device", "has_driver", "expected"),
    [("auto", True, True), ("cuda", True, True), ("cpu", True, False), ("auto", False, False)],
)
def test_only_a_job_that_may_use_a_gpu_has_no_limit(
    device: str,
    has_driver: bool,  # noqa: FBT001 - a parameter of the test
    expected: bool,  # noqa: FBT001 - the same
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = tmp_path / "nvidiactl"
    if has_driver:
        driver.touch()
    monkeypatch.setattr(run_job, "NVIDIA_DRIVER", driver)
    assert run_job._may_use_gpu(device) is expected
