"""The one place that picks adapters and hands them to the services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from plait.errors import InvalidInput
from plait_registry.adapters.data_folder import AdminToken, DataFolder
from plait_registry.adapters.folder_objects import FolderObjects
from plait_registry.adapters.folder_transfers import FolderTransfers
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.adapters.system_clock import SystemClock
from plait_registry.adapters.url_signing import UrlSigner
from plait_registry.services.diff import DiffVersions
from plait_registry.services.files import ReadFiles
from plait_registry.services.history import ReadHistory
from plait_registry.services.notes import AddNote
from plait_registry.services.push import Push
from plait_registry.services.refs import CreateRef, DeleteRef, ListRefs, MoveRef
from plait_registry.services.repositories import (
    CreateRepository,
    GetRepository,
    ListRepositories,
)
from plait_registry.settings import Settings


@dataclass(frozen=True, slots=True)
class Registry:
    """The services of a registry, ready to be called."""

    create_repository: CreateRepository
    get_repository: GetRepository
    list_repositories: ListRepositories
    list_refs: ListRefs
    create_ref: CreateRef
    move_ref: MoveRef
    delete_ref: DeleteRef
    history: ReadHistory
    diff: DiffVersions
    files: ReadFiles
    add_note: AddNote
    push: Push
    objects: FolderTransfers
    """What the object gateway reads from and writes to."""
    is_admin_token: Callable[[str], bool]
    check: Callable[[], None]
    """Raises where the database or the object store does not answer."""
    close: Callable[[], None]


def open_data_folder(settings: Settings) -> DataFolder:
    """Return the data folder, made where it was missing."""
    folder = DataFolder(settings.data)
    folder.make()
    return folder


def open_database(settings: Settings, folder: DataFolder) -> SqlDatabase:
    """Return the database that the settings name."""
    url = settings.database_url
    if not url:
        return SqlDatabase.in_file(folder.database_path)
    if not url.startswith("sqlite"):
        raise InvalidInput(
            "usage", "PLAIT_DATABASE_URL: this version keeps its records in SQLite only."
        )
    return SqlDatabase(url)


def build_registry(settings: Settings, folder: DataFolder) -> Registry:
    """Return a registry over the folder, with an up-to-date database and its secrets in place."""
    database = open_database(settings, folder)
    database.migrate()
    folder.ensure_token()
    objects = FolderObjects(folder.root)
    objects.prepare()
    signer = UrlSigner(folder.signing_key(), lifetime=settings.signed_url_seconds)
    transfers = FolderTransfers(objects, signer)
    clock = SystemClock()

    def check() -> None:
        database.check()
        objects.check()

    return Registry(
        create_repository=CreateRepository(database, clock),
        get_repository=GetRepository(database),
        list_repositories=ListRepositories(database),
        list_refs=ListRefs(database),
        create_ref=CreateRef(database),
        move_ref=MoveRef(database),
        delete_ref=DeleteRef(database),
        history=ReadHistory(database),
        diff=DiffVersions(database, objects),
        files=ReadFiles(database, transfers),
        add_note=AddNote(database, clock),
        push=Push(database, objects, transfers, clock),
        objects=transfers,
        is_admin_token=AdminToken(folder.token_path).matches,
        check=check,
        close=database.close,
    )
