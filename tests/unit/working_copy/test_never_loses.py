"""Whatever is done by hand in the folder: a switch keeps it, or refuses and touches nothing."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from copies.workshop import CONFIG, WEIGHTS, Workshop
from plait.errors import Conflict
from plait.working_copy.status import read_status
from plait.working_copy.switch import create_and_switch, switch

PATHS = ("a", "a/b", "a/c", "d", "e/f")
Files = dict[str, bytes]


def fits(paths: set[str]) -> bool:
    """Tell whether no path is also a folder of another."""
    return not any(other.startswith(f"{path}/") for path in paths for other in paths)


files = st.dictionaries(
    st.sampled_from(PATHS), st.sampled_from([b"1", b"2", b"3"]), max_size=4
).filter(lambda tree: fits(set(tree)))


def lay_out(folder: Path, tree: Files) -> None:
    """Make the folder hold the adapter and exactly `tree` besides."""
    for path in folder.iterdir():
        if path.name not in {CONFIG, WEIGHTS, ".plait"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, data in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def without_adapter(workshop: Workshop) -> Files:
    return {path: data for path, data in workshop.files().items() if path not in {CONFIG, WEIGHTS}}


def may_switch(workshop: Workshop) -> bool:
    """Switch to `new`; tell whether that was not refused."""
    try:
        switch(workshop.copy, "new")
    except Conflict:
        return False
    return True


@settings(deadline=None, max_examples=60)
@given(old=files, new=files, edited=files)
def test_switch_keeps_every_change_or_refuses(old: Files, new: Files, edited: Files) -> None:
    with tempfile.TemporaryDirectory() as name:
        workshop = Workshop(Path(name))
        workshop.train(1)
        lay_out(workshop.folder, old)
        workshop.commit()
        create_and_switch(workshop.copy, "new")
        workshop.train(2)
        lay_out(workshop.folder, new)
        workshop.commit()
        switch(workshop.copy, "main")
        assert without_adapter(workshop) == old

        lay_out(workshop.folder, edited)
        if not may_switch(workshop):
            assert without_adapter(workshop) == edited
            assert workshop.copy.read_head().branch == "main"
            return
        after = without_adapter(workshop)
        for path in {*old, *new, *edited}:
            is_changed = edited.get(path) != old.get(path)
            if is_changed and path in edited:
                assert after[path] == edited[path]  # never overwritten, never removed
            elif old.get(path) == new.get(path):
                assert after.get(path) == edited.get(path)  # not touched
            else:
                assert after.get(path) == new.get(path)
        status = read_status(workshop.copy)
        assert status.interrupted is None
        lay_out(workshop.folder, {})
        switch(workshop.copy, "new", discard_changes=True)
        assert without_adapter(workshop) == new
