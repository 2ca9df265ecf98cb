"""What a machine computes with: the device, its driver, and the versions of libraries.

A validation and its attestation carry these as strings by name, so that somebody who finds another
result can see what differs. Nothing here tells who or where the machine is: no host name, no user,
no path.
"""

from __future__ import annotations

import contextlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("plait", "numpy", "numba", "llvmlite", "torch", "triton", "transformers")
"""Whose code bits can depend on."""
CPU = "cpu"
_DRIVER = Path("/proc/driver/nvidia/version")
_PROCESSOR = Path("/proc/cpuinfo")
_LONGEST = 200


def describe_environment(device: str = CPU) -> dict[str, str]:
    """Return the facts of this machine; `device` is what was computed on, `cpu` or a GPU's name."""
    facts = {
        "device": device,
        "processor": _find_processor(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    if device != CPU:
        facts["driver"] = _find_driver()
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            facts[package] = version(package)
    return {name: text[:_LONGEST] for name, text in facts.items() if text}


def _find_processor() -> str:
    """Return the processor's model, or an empty text where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in _PROCESSOR.read_text("utf-8", "replace").splitlines():
            name, _, model = line.partition(":")
            if name.strip() in {"model name", "Model"}:
                return model.strip()
    return platform.processor()


def _find_driver() -> str:
    """Return the version of NVIDIA's driver, or an empty text where there is none."""
    with contextlib.suppress(OSError):
        # NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025
        for word in _DRIVER.read_text("utf-8", "replace").split():
            if word.replace(".", "").isdigit() and "." in word:
                return word
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],  # noqa: S607 - found as a person would
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        )
        return asked.stdout.partition("\n")[0].strip()
    return ""
