"""Local tags: names that never move. The remote learns of them by `push`."""

from __future__ import annotations

from plait.errors import NotFound
from plait.model.ids import CommitId
from plait.model.refs import parse_ref_name
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.refs import parse_new_name, write_refs


def create_tag(copy: WorkingCopy, name: str, *, revision: str | None = None) -> CommitId:
    """Make a tag at `revision`, or at what is checked out, and return its commit.

    Raises:
        AlreadyExists: `ref-exists`: a tag does not move.
        NotFound: `revision` names nothing.
    """
    with copy.changing():
        refs = copy.read_refs()
        tag = parse_new_name(name, refs)
        target = copy.get_head_commit() if revision is None else copy.resolve(revision)
        write_refs(copy.layout, refs.with_tag(tag, target))
    return target


def delete_tag(copy: WorkingCopy, name: str) -> CommitId:
    """Delete a local tag and return where it was; the remote's, if it has it, stays.

    Raises:
        NotFound: `ref-not-found`.
    """
    with copy.changing():
        refs = copy.read_refs()
        tag = parse_ref_name(name)
        if tag not in refs.tags:
            raise NotFound(
                "ref-not-found", f"There is no tag {name!r} here: `plait tag` lists them.", ref=name
            )
        write_refs(copy.layout, refs.without_tag(tag))
    return refs.tags[tag]
