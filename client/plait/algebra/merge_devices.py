"""What merges on this machine: the processor, or a GPU where there is one."""

from __future__ import annotations

from plait.algebra.exact_merge import MergeDevice
from plait.algebra.merge_on_cpu import CpuMerge
from plait.algebra.merge_self_test import GOLDEN, digest_cases
from plait.errors import InvalidInput, Unavailable

DEVICES = ("auto", "cpu", "cuda")


def open_device(name: str) -> MergeDevice:
    """Return the device that a user names; `auto`: a GPU where torch sees one, else the processor.

    Raises:
        InvalidInput: `usage`, it is none of `DEVICES`.
        Unavailable: `extra-missing`, or `unavailable`, there is no GPU.
    """
    if name not in DEVICES:
        raise InvalidInput(
            "usage", f"{name!r:.40} is no device to merge on: name one of {', '.join(DEVICES)}."
        )
    if name == "cpu":
        return CpuMerge()
    try:
        return _open_gpu()
    except (ImportError, Unavailable) as error:
        if name == "auto":
            return CpuMerge()
        if isinstance(error, Unavailable):
            raise
        raise Unavailable(
            "extra-missing",
            f"Merging on a GPU needs {error.name}, which is not installed: run "
            "`pip install 'plait[gpu]'`, or merge on the processor (--device cpu).",
        ) from error


def _open_gpu() -> MergeDevice:
    """Return the GPU, without its tensor cores where those add up in another order."""
    from plait.algebra.merge_on_cuda import CudaMerge

    gpu = CudaMerge.find()
    if gpu.uses_tensor_cores and digest_cases(gpu) != GOLDEN:
        return CudaMerge.find(tensor_cores=False)
    return gpu
