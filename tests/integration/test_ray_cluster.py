"""Merges on a Ray cluster of two nodes: the same digests as in one process, also where one dies."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from plait.errors import InvalidInput, Unavailable
from plait.merge import Merged, MergeOptions, MergeSource, merge
from plait.model.ids import ObjectId
from plait.progress import NO_PROGRESS

ray = pytest.importorskip("ray", reason="make setup-dev installs ray")

from ray.cluster_utils import Cluster  # noqa: E402 - only where it is installed

from plait_registry.worker import ray_engine  # noqa: E402
from plait_registry.worker.ray_engine import RayEngine, count_parts, deal_out  # noqa: E402
from plait_registry.worker.ray_task import (  # noqa: E402
    MergeTask,
    PackedSource,
    PartFailure,
    merge_part,
)
from served.jobs import wait_for_end  # noqa: E402
from served.validating import placed, read_golden_merges  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # Ray leaves sockets to the interpreter's end, and starts with a warning of its own.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]

LIMIT = 60.0
STORE = 80_000_000
"""Bytes of shared memory for each node: the least that Ray takes."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
        # A node that dies is noticed in a few seconds.
        patch.setenv("RAY_health_check_initial_delay_ms", "1000")
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_health_check_failure_threshold", "4")
        made = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 1,
                "object_store_memory": STORE,
                "include_dashboard": False,
            },
        )
        made.add_node(num_cpus=1, object_store_memory=STORE)
        made.wait_for_nodes()
        with ray_engine.connect(made.address):
            yield made
        made.shutdown()


@pytest.fixture
def source(micro_data: Path) -> MergeSource:
    return MergeSource("team/cpp", micro_data / "adapters" / "cpp" / "v3")


@pytest.fixture
def options(micro_data: Path) -> MergeOptions:
    return MergeOptions(micro_data / "base", device="cpu")


@pytest.fixture
def engine(micro_data: Path) -> RayEngine:
    return RayEngine([micro_data])


def merge_by(engine: RayEngine, source: MergeSource, options: MergeOptions) -> Merged:
    return engine([source], options, NO_PROGRESS)


def test_cluster_gives_the_digests_of_one_process(
    cluster: Cluster, engine: RayEngine, source: MergeSource, options: MergeOptions
) -> None:
    assert cluster.address
    there, here = merge_by(engine, source, options), merge([source], options)
    assert there.digests == here.digests
    assert (there.base, there.base_weights) == (here.base, here.base_weights)


def test_task_asks_for_no_more_threads_than_a_node_has(
    cluster: Cluster, engine: RayEngine, source: MergeSource, options: MergeOptions
) -> None:
    assert cluster.address
    found = merge_by(engine, source, replace(options, threads=64))
    assert found.digests == merge([source], options).digests


def test_what_cannot_be_merged_is_said_as_in_one_process(
    cluster: Cluster, engine: RayEngine, source: MergeSource, options: MergeOptions
) -> None:
    assert cluster.address
    other = replace(source, base=ObjectId("e" * 64))
    with pytest.raises(InvalidInput, match="trained on the base") as caught:
        merge_by(engine, other, options)
    assert caught.value.kind == "base-mismatch"


def test_node_without_the_base_says_so(
    cluster: Cluster, source: MergeSource, options: MergeOptions, tmp_path: Path
) -> None:
    assert cluster.address
    with pytest.raises(Unavailable, match="holds the base"):
        merge_by(RayEngine([tmp_path]), source, options)


def test_node_that_is_lost_in_the_middle_costs_a_retry_and_no_digest(
    cluster: Cluster,
    source: MergeSource,
    options: MergeOptions,
    micro_data: Path,
    tmp_path: Path,
) -> None:
    victim = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    cluster.wait_for_nodes()
    doomed, begun = victim.node_id, tmp_path / "begun"

    # Inside of the test, so that it travels as code: the nodes know nothing of tests.
    def hang_there(
        task: MergeTask, packed: list[PackedSource], names: frozenset[str]
    ) -> Merged | PartFailure:
        if ray.get_runtime_context().get_node_id() == doomed:
            begun.touch()
            time.sleep(600)
        return merge_part(task, packed, names)

    def pull_the_plug() -> None:
        while not begun.exists():
            time.sleep(0.05)
        cluster.remove_node(victim, allow_graceful=False)

    killer = threading.Thread(target=pull_the_plug, daemon=True)
    killer.start()
    engine = RayEngine([micro_data], part_size=100_000, do=hang_there)
    found = merge_by(engine, source, options)
    killer.join(LIMIT)
    assert begun.exists()
    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    assert found.digests == merge([source], options).digests


@pytest.mark.parametrize("is_there", [True, False], ids=["there", "for the job alone"])
def test_worker_validates_on_a_cluster(
    cluster: Cluster, micro_data: Path, tmp_path: Path, *, is_there: bool
) -> None:
    golden = read_golden_merges()["micro/adapters/tests"]
    with placed(tmp_path / "data", micro_data) as place:
        commit = place.push("team/tests", "tests")
        address = ("--address", cluster.address) if is_there else ()
        with place.worker(tmp_path / "worker", "--engine", "ray", *address):
            found = wait_for_end(place.client, place.ask("team/tests"))
        assert found["job"]["state"] == "done", found
        (validation,) = place.validations("team/tests", commit)
    assert (validation["verdict"], validation["root"]) == ("verified", golden["root"])
    assert validation["tensors"] == golden["tensors"]
    assert len(validation["health"]["tensors"]) == validation["health"]["changed"] > 0


def test_cluster_that_is_not_there_is_said(cluster: Cluster) -> None:
    assert ray.is_initialized()
    assert cluster.address
    with (
        pytest.raises(Unavailable, match="cannot be joined"),
        ray_engine.connect("127.0.0.1:1"),
    ):
        raise AssertionError


# --- what needs no cluster ---


def test_parts_are_about_as_large_and_hold_each_tensor_once() -> None:
    sizes = {f"tensor {number}": 10 + number % 7 for number in range(100)}
    parts = deal_out(sizes, 8)
    assert len(parts) == 8
    assert sorted(name for part in parts for name in part) == sorted(sizes)
    totals = [sum(sizes[name] for name in part) for part in parts]
    assert max(totals) - min(totals) <= max(sizes.values())


@pytest.mark.parametrize(
    ("sizes", "part_size", "nodes", "count"),
    [
        ({"a": 100}, 10, 4, 1),
        ({"a": 5, "b": 5, "c": 5}, 100, 1, 2),
        ({str(number): 10 for number in range(100)}, 50, 2, 20),
        ({str(number): 10 for number in range(100)}, 5_000, 8, 16),
    ],
)
def test_parts_are_as_many_as_nodes_can_take_and_as_their_size_allows(
    sizes: dict[str, int], part_size: int, nodes: int, count: int
) -> None:
    assert count_parts(sizes, part_size, nodes) == count
