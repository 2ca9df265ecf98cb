"""Where the parts of a working copy's state lie, and what its config file says.

.plait/config.json    format, and the remote repository where there is one
.plait/HEAD           `ref: BRANCH`, or a commit id where HEAD is detached
.plait/refs.json      local branches and tags, and what the remote had when last asked
.plait/objects/       commits, manifests and the contents of files, by their sha256
.plait/graph          parents, generation and time of every commit, a line each
.plait/index.json     what the files were when they were last read
.plait/journal.json   a change of the folder that is under way
.plait/incoming/      files on their way in
.plait/lock           held by the command that writes
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from plait.errors import InvalidInput, NotFound
from plait.model.address import RepositoryName
from plait.model.paths import STATE_FOLDER
from plait.working_copy.state_files import damaged, read_json, write_json

FORMAT = "plait.working-copy/1"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one working copy."""

    root: Path
    """The folder whose files are versioned."""

    @property
    def state(self) -> Path:
        """The folder of everything below."""
        return self.root / STATE_FOLDER

    @property
    def config(self) -> Path:
        """Format and remote."""
        return self.state / "config.json"

    @property
    def head(self) -> Path:
        """What is checked out."""
        return self.state / "HEAD"

    @property
    def refs(self) -> Path:
        """Branches and tags."""
        return self.state / "refs.json"

    @property
    def objects(self) -> Path:
        """Immutable bytes."""
        return self.state / "objects"

    @property
    def graph(self) -> Path:
        """The commit graph."""
        return self.state / "graph"

    @property
    def notes(self) -> Path:
        """Notes of commits."""
        return self.state / "notes.json"

    @property
    def index(self) -> Path:
        """The stat cache."""
        return self.state / "index.json"

    @property
    def journal(self) -> Path:
        """The change that is under way."""
        return self.state / "journal.json"

    @property
    def incoming(self) -> Path:
        """Files on their way in."""
        return self.state / "incoming"

    @property
    def lock(self) -> Path:
        """The lock of who writes."""
        return self.state / "lock"


@dataclass(frozen=True, slots=True)
class Remote:
    """The repository that the transfer verbs speak to; its refs are seen as `origin/...`."""

    url: str
    repository: RepositoryName


def find_layout(folder: Path) -> Layout | None:
    """Return the working copy that `folder` lies in, or None."""
    start = folder.absolute()
    for candidate in (start, *start.parents):
        layout = Layout(candidate)
        if layout.config.is_file():
            return layout
    return None


def get_layout(folder: Path) -> Layout:
    """Return the working copy that `folder` lies in.

    Raises:
        NotFound: `working-copy-not-found`.
    """
    layout = find_layout(folder)
    if layout is None:
        raise NotFound(
            "working-copy-not-found",
            f"{folder} is in no working copy: run `plait init` or `plait clone NS/NAME`, or name "
            "a repository as NS/NAME.",
        )
    return layout


def write_config(layout: Layout, remote: Remote | None) -> None:
    """Write the config file, which makes the folder a working copy."""
    known = None if remote is None else {"url": remote.url, "repository": str(remote.repository)}
    write_json(layout.config, {"format": FORMAT, "remote": known})


def read_remote(layout: Layout) -> Remote | None:
    """Return the remote that the config file names.

    Raises:
        InvalidInput: a newer version of plait made the working copy.
        Integrity: the file is damaged.
    """
    document = read_json(layout.config)
    if not isinstance(document, dict):
        raise damaged(layout.config, "is not a JSON object")
    if document.get("format") != FORMAT:
        raise InvalidInput(
            "invalid-input",
            f"{layout.root} has the format {document.get('format')!r:.60}, which this version of "
            "plait does not know: use a newer one.",
        )
    remote = document.get("remote")
    if remote is None:
        return None
    if not isinstance(remote, dict) or not isinstance(remote.get("url"), str):
        raise damaged(layout.config, "names no address of its remote")
    return Remote(remote["url"], RepositoryName.parse(str(remote.get("repository"))))
