"""Merging on a Ray cluster: each node merges a part of the base's tensors.

- The tensors are dealt out so that all parts are about as large. A part is a task, which asks for a
  GPU where the cluster has some.
- A node that is lost in the middle costs its parts a retry on another node, by Ray itself. What is
  lost too often ends this attempt at the job, which is tried again as any other.
- The root is computed here, from the digests of all tensors: it does not depend on who merged what.
"""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

import plait
from plait.errors import Unavailable
from plait.known_bases import base_digests
from plait.merge import Merged, MergeOptions, MergeSource
from plait.model.merge_digests import MergeDigests
from plait.progress import Progress
from plait.quantised_base import open_weights
from plait_registry.worker.ray_task import (
    MergeTask,
    PackedSource,
    PartFailure,
    merge_part,
    pack,
)

if TYPE_CHECKING:
    from types import ModuleType

MergePart: TypeAlias = Callable[
    [MergeTask, list[PackedSource], frozenset[str]], Merged | PartFailure
]

PART_SIZE = 1 << 30
"""Bytes of the base that one task merges, at most: what a lost node costs."""
SHORT = "/tmp"  # noqa: S108 - a folder of a random name is made in it
"""Where the files of a cluster of the job's own are."""
MOST_RETRIES = 3
"""Of one part, whose node died."""


@contextmanager
def connect(address: str | None) -> Generator[None]:
    """Be connected to a cluster during a block; None starts one for that long, on this machine.

    Raises:
        Unavailable: `extra-missing`; or the cluster cannot be reached.
    """
    ray = _import_ray()
    with ExitStack() as stack:
        # What a cluster that is there shows, and where its files are, its operator chose.
        own: dict[str, Any] = {}
        if address is None:
            # Not in the job's folder: names of sockets have 107 bytes at most.
            folder = stack.enter_context(TemporaryDirectory(prefix="plait-ray-", dir=SHORT))
            own = {"include_dashboard": False, "_temp_dir": folder}
        _join(ray, address or "local", own)
        stack.callback(ray.shutdown)
        yield


def _join(ray: ModuleType, address: str, own: Mapping[str, Any]) -> None:
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        raise Unavailable(
            "unavailable", f"The Ray cluster at {address} cannot be joined: {error}"
        ) from error


class RayEngine:
    """A `plait_registry.worker.engines.MergeEngine` over the cluster that is connected."""

    def __init__(
        self, roots: Sequence[Path], *, part_size: int = PART_SIZE, do: MergePart = merge_part
    ) -> None:
        """Take the folders below which every node has the base, and what merges a part there."""
        self._roots = tuple(str(root) for root in roots)
        self._part_size = part_size
        self._do = do

    def __call__(
        self, sources: Sequence[MergeSource], options: MergeOptions, progress: Progress
    ) -> Merged:
        """Return what a merge came out as.

        Raises:
            PlaitError: as `plait.merge.merge`, from whichever node; Unavailable where nodes died
                more often than they are asked again.
        """
        ray = _import_ray()
        sizes = _measure(options)
        parts = deal_out(sizes, count_parts(sizes, self._part_size, _count_nodes(ray)))
        threads = min(options.threads, _count_cpus(ray))
        task = MergeTask(
            version=plait.__version__,
            roots=self._roots,
            base=base_digests(options.base, options.cache_dir, progress)[0],
            remembered=None if options.cache_dir is None else os.fspath(options.cache_dir),
            device=options.device,
            threads=threads,
            dequantise=options.dequantise,
            measure=options.measure,
        )
        remote = ray.remote(self._do).options(**_needs_of(ray, options, threads))
        packed = ray.put([pack(source) for source in sources])
        waiting = {remote.remote(task, packed, part): part for part in parts}
        progress.total(sum(sizes.values()), what="Merging")
        try:
            merged = _gather(ray, waiting, sizes, progress)
        finally:
            progress.finish()
        return join(merged)


def count_parts(sizes: Mapping[str, int], part_size: int, nodes: int) -> int:
    """Return into how many parts to divide: two for each node at least, where there is enough."""
    total = sum(sizes.values())
    return max(1, min(len(sizes), max(2 * nodes, -(-total // part_size))))


def deal_out(sizes: Mapping[str, int], count: int) -> list[frozenset[str]]:
    """Divide tensors into so many parts of about the same size: each to the smallest one yet."""
    heap: list[tuple[int, int, list[str]]] = [(0, number, []) for number in range(count)]
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        size, number, names = heap[0]
        names.append(name)
        heapq.heapreplace(heap, (size + sizes[name], number, names))
    return [frozenset(names) for _, _, names in sorted(heap) if names]


def join(parts: Sequence[Merged]) -> Merged:
    """Return the merge that the parts are of."""
    first = parts[0]
    tensors = {name: digest for part in parts for name, digest in part.digests.tensors.items()}
    return replace(
        first,
        digests=MergeDigests.of(tensors, definition=first.digests.definition),
        device=", ".join(sorted({part.device for part in parts})),
        health={name: item for part in parts for name, item in part.health.items()},
        probes={name: item for part in parts for name, item in part.probes.items()},
    )


def _gather(
    ray: ModuleType,
    waiting: dict[Any, frozenset[str]],
    sizes: Mapping[str, int],
    progress: Progress,
) -> list[Merged]:
    found = []
    while waiting:
        (ready, *_), _ = ray.wait(list(waiting), num_returns=1)
        part = waiting.pop(ready)
        try:
            outcome: Merged | PartFailure = ray.get(ready)
        except ray.exceptions.RayError as error:
            for other in waiting:
                ray.cancel(other, force=True)
            raise Unavailable(
                "unavailable",
                f"A part of the merge was lost {MOST_RETRIES + 1} times with the node that did it, "
                f"or the cluster is gone ({type(error).__name__}): look after the cluster.",
            ) from error
        if isinstance(outcome, PartFailure):
            for other in waiting:
                ray.cancel(other, force=True)
            outcome.raise_again()
        else:
            found.append(outcome)
            progress.advance(sum(sizes[name] for name in part))
    return found


def _measure(options: MergeOptions) -> dict[str, int]:
    """Return the bytes of each of the base's tensors, as a merge sees them."""
    files = open_weights(options.base, dequantise=options.dequantise)
    return {name: tensor.size for name, (_, tensor) in files.places.items()}


def _needs_of(ray: ModuleType, options: MergeOptions, threads: int) -> dict[str, Any]:
    has_gpus = ray.cluster_resources().get("GPU", 0) > 0
    return {
        "num_cpus": threads,
        "num_gpus": 1 if has_gpus and options.device != "cpu" else 0,
        "max_retries": MOST_RETRIES,
        "scheduling_strategy": "SPREAD",
    }


def _count_cpus(ray: ModuleType) -> int:
    """Return how many CPUs the largest node has: a task that asks for more would wait for ever.

    Raises:
        Unavailable: none has any.
    """
    resources = (node["Resources"] for node in ray.nodes() if node["Alive"])
    most = int(max((held.get("CPU", 0) for held in resources), default=0))
    if most < 1:
        raise Unavailable("unavailable", "No node of the Ray cluster has a CPU to offer.")
    return most


def _count_nodes(ray: ModuleType) -> int:
    return sum(node["Alive"] for node in ray.nodes())


def _import_ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise Unavailable(
            "extra-missing", "Ray is not installed: run `pip install 'plait[server,ray]'`."
        ) from error
    module: ModuleType = ray
    return module
