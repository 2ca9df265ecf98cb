"""Hypothesis strategies for plait's own formats."""

from typing import Any

from hypothesis import strategies as st

from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.digesting import digest_file
from plait.model.ids import CommitId, ManifestId, ObjectId, hash_bytes
from plait.model.manifest import File
from plait.model.paths import FilePath
from reference.safetensors_writer import Content

ELEMENT_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I8": 1, "U8": 1, "BOOL": 1}

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
digests = st.binary(max_size=4).map(hash_bytes)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def contents(draw: st.DrawFn) -> Content:
    """One tensor; often an empty one, and often one of few different byte patterns."""
    dtype = draw(st.sampled_from(sorted(ELEMENT_SIZES)))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    count = ELEMENT_SIZES[dtype]
    for length in shape:
        count *= length
    return dtype, shape, bytes([draw(st.integers(0, 1))]) * count


tensor_names = text.filter(lambda name: name != "__metadata__")
tensor_maps = st.dictionaries(tensor_names, contents(), max_size=6)


@st.composite
def plain_files(draw: st.DrawFn, paths: st.SearchStrategy[str]) -> File:
    """A file that is not safetensors."""
    data = draw(st.binary(max_size=8))
    return digest_file(FilePath(draw(paths)), len(data), [data])


commits = st.builds(
    Commit,
    manifest=digests.map(ManifestId),
    parents=st.lists(digests.map(CommitId), max_size=3, unique=True).map(tuple),
    author=st.builds(Person, st.sampled_from(["Ada", "Žofie Å"]), st.sampled_from(["", "a@b.c"])),
    time=st.datetimes().map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%SZ}".zfill(20)),
    message=text,
    base=st.builds(
        Base,
        st.sampled_from(["org/base", "模型"]),
        st.none() | text,
        st.none() | digests.map(ObjectId),
    ),
    origin=st.builds(
        Origin,
        st.sampled_from(OriginKind),
        st.dictionaries(text.filter(lambda key: key != "kind"), json_values, max_size=3),
    ),
)
