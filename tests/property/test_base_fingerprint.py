"""A fingerprint says which tensors a base has, whatever files they lie in."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from plait.fingerprint import fingerprint_base
from reference.bases import fingerprint_by_hand
from reference.safetensors_writer import Content, write

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
TENSORS = st.dictionaries(
    NAMES.filter(lambda name: name != "__metadata__"),
    st.binary(max_size=24).map(lambda data: ("U8", (len(data),), data)),
    min_size=1,
    max_size=8,
)


def fingerprint_of(shards: list[dict[str, Content]]) -> str:
    with TemporaryDirectory() as name:
        for number, shard in enumerate(shards):
            (Path(name) / f"model-{number}.safetensors").write_bytes(write(shard))
        return fingerprint_base(Path(name))


@given(TENSORS, st.randoms(use_true_random=False), st.integers(1, 4))
def test_fingerprint_survives_any_resharding(
    tensors: dict[str, Content], random: object, count: int
) -> None:
    names = list(tensors)
    random.shuffle(names)  # type: ignore[attr-defined]
    shards: list[dict[str, Content]] = [{} for _ in range(count)]
    for number, name in enumerate(names):
        shards[number % count][name] = tensors[name]
    assert fingerprint_of(shards) == fingerprint_by_hand(tensors)


@given(TENSORS, st.data())
def test_other_tensors_have_another_fingerprint(
    tensors: dict[str, Content], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(tensors)))
    dtype, shape, content = tensors[name]
    others: list[Content] = [("I8", shape, content), (dtype, (1, *shape), content)]
    if content:
        at = data.draw(st.integers(0, 8 * len(content) - 1))
        flipped = bytearray(content)
        flipped[at // 8] ^= 1 << at % 8
        others.append((dtype, shape, bytes(flipped)))
    changed = [{**tensors, name: other} for other in others]
    changed.append({**tensors, f"{name}+": tensors[name]})
    fingerprints = {fingerprint_by_hand(tensors), *map(fingerprint_of, ([it] for it in changed))}
    assert len(fingerprints) == len(changed) + 1
