"""Tests in this folder run on a CUDA device, and are skipped where there is none."""

import importlib.util

import pytest


@pytest.fixture(scope="session", autouse=True)
def cuda_device() -> None:
    """Skip unless torch finds a CUDA device."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("needs torch")
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
