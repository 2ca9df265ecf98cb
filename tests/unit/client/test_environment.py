import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from plait import environment
from plait.environment import describe_environment

DRIVER = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build
GCC version:  gcc version 12.2.0
"""


def test_facts_are_texts_with_the_versions_of_what_is_installed() -> None:
    facts = describe_environment()
    assert facts["device"] == "cpu"
    assert facts["numpy"] == version("numpy")
    assert facts["plait"] == version("plait")
    assert all(facts.values())
    assert "driver" not in facts


def test_nothing_tells_who_or_where_the_machine_is() -> None:
    texts = " ".join(describe_environment("NVIDIA H100 80GB HBM3").values())
    assert platform.node() not in texts.split()
    assert str(Path.home()) not in texts


def test_packages_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    assert "no-such-package" not in describe_environment()


def test_the_driver_is_read_where_the_kernel_tells_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "version").write_text(DRIVER, "utf-8")
    monkeypatch.setattr(environment, "_DRIVER", tmp_path / "version")
    assert describe_environment("NVIDIA H100 80GB HBM3")["driver"] == "580.95.05"


def test_the_driver_is_asked_for_where_the_kernel_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 570.86.15\necho 570.86.15\n", "utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(environment, "_DRIVER", tmp_path / "absent")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_environment("A GPU")["driver"] == "570.86.15"


def test_a_gpu_without_a_driver_that_can_be_asked_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, "_DRIVER", tmp_path / "absent")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "driver" not in describe_environment("A GPU")


def test_a_system_that_does_not_tell_its_processor_is_described_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, "_PROCESSOR", tmp_path / "absent")
    assert describe_environment()["machine"] == platform.machine()


def test_describing_loads_no_library_that_computes() -> None:
    code = (
        "import sys; from plait.environment import describe_environment; describe_environment();"
        "print({'torch', 'numpy', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "set()"
