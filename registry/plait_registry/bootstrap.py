"""The one place that picks adapters and hands them to the services."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

from plait.errors import InvalidInput
from plait_registry.adapters.backup_folder import FolderBackup
from plait_registry.adapters.data_folder import AdminToken, DataFolder
from plait_registry.adapters.dsse_signatures import DsseSignatures
from plait_registry.adapters.folder_objects import FolderObjects
from plait_registry.adapters.folder_transfers import FolderTransfers
from plait_registry.adapters.no_gateway import NoGateway
from plait_registry.adapters.object_copies import FolderIntake
from plait_registry.adapters.postgres_copier import PostgresCopier
from plait_registry.adapters.prometheus_meter import PrometheusMeter
from plait_registry.adapters.s3_location import S3Location
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.adapters.sqlite_copier import SqliteCopier, find_file
from plait_registry.adapters.system_clock import SystemClock
from plait_registry.adapters.url_signing import UrlSigner
from plait_registry.adapters.webhook_sender import HttpWebhookSender
from plait_registry.domain.backup import BackupDescription, DatabaseCopier, ObjectIntake
from plait_registry.domain.meter import Meter
from plait_registry.domain.moments import shift
from plait_registry.domain.ports import Database, ObjectStore, Transfers
from plait_registry.domain.webhooks import Backoff
from plait_registry.services.account_services import (
    AccountServices,
    build_account_services,
)
from plait_registry.services.authenticate import Authenticate
from plait_registry.services.back_up import BackUp, Restore, RestoreReport
from plait_registry.services.check_store import CheckStore
from plait_registry.services.collect_garbage import CollectGarbage
from plait_registry.services.diff import DiffVersions
from plait_registry.services.event_services import (
    EventOptions,
    EventServices,
    build_event_services,
)
from plait_registry.services.files import ReadFiles
from plait_registry.services.history import ReadHistory
from plait_registry.services.job_services import JobServices, build_job_services
from plait_registry.services.journal_refs import JournalRefs
from plait_registry.services.list_bases import ListBases
from plait_registry.services.notes import AddNote
from plait_registry.services.push import Push
from plait_registry.services.quotas import ReadUsage
from plait_registry.services.rebuild import Rebuild
from plait_registry.services.refs import CreateRef, DeleteRef, ListRefs, MoveRef
from plait_registry.services.repair_store import RepairStore
from plait_registry.services.repositories import (
    CreateRepository,
    DeleteRepository,
    GetRepository,
    ListRepositories,
    UpdateRepository,
)
from plait_registry.services.stores import Stores
from plait_registry.services.validation_services import (
    ValidationServices,
    build_validation_services,
)
from plait_registry.settings import Settings, find_shared_metrics


@dataclass(frozen=True, slots=True)
class Registry:
    """The services of a registry, ready to be called."""

    create_repository: CreateRepository
    get_repository: GetRepository
    list_repositories: ListRepositories
    list_bases: ListBases
    update_repository: UpdateRepository
    delete_repository: DeleteRepository
    list_refs: ListRefs
    create_ref: CreateRef
    move_ref: MoveRef
    delete_ref: DeleteRef
    history: ReadHistory
    diff: DiffVersions
    files: ReadFiles
    add_note: AddNote
    push: Push
    usage: ReadUsage
    journal_refs: JournalRefs
    """Writes down what changed since, for a rebuild from the store alone."""
    objects: FolderTransfers | NoGateway
    """What the object gateway reads from and writes to."""
    authenticate: Authenticate
    meter: Meter
    accounts: AccountServices
    events: EventServices
    jobs: JobServices
    validations: ValidationServices
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
    if settings.database_url is None:
        return SqlDatabase.in_file(folder.database_path)
    try:
        return SqlDatabase(
            settings.database_url,
            pool=settings.database_pool,
            statement_s=settings.statement_timeout_seconds,
        )
    except InvalidInput as error:
        raise InvalidInput("usage", f"PLAIT_DATABASE_URL: {error.message}") from error


@contextmanager
def open_accounts(settings: Settings) -> Generator[AccountServices]:
    """Yield the services of accounts alone, also beside servers that work on the same database."""
    database = open_database(settings, open_data_folder(settings))
    try:
        database.migrate()
        yield build_account_services(database, SystemClock())
    finally:
        database.close()


@dataclass(frozen=True, slots=True)
class Care:
    """The services that care for the data."""

    collect_garbage: CollectGarbage
    check_store: CheckStore
    repair_store: RepairStore
    rebuild: Rebuild
    read_usage: ReadUsage
    journal_refs: JournalRefs
    prune_journal: Callable[[timedelta], int]
    """Removes what is older than that and was replaced."""
    back_up: Callable[..., BackupDescription]
    """Takes the path of a folder, and what `BackUp` takes."""
    restore: Callable[..., RestoreReport]
    """Takes the path of a folder, and what `Restore` takes."""


@contextmanager
def open_care(settings: Settings, *, alone: bool) -> Generator[Care]:
    """Yield them, beside servers that work on the same data, or `alone` on a data folder."""
    folder = open_data_folder(settings)
    with folder.lock() if alone else nullcontext():
        database = open_database(settings, folder)
        try:
            database.migrate()
            yield _build_care(settings, folder, database)
        finally:
            database.close()


def _open_copier(settings: Settings, folder: DataFolder, database: SqlDatabase) -> DatabaseCopier:
    """Return what copies the database as a whole."""
    if settings.database_url is None:
        return SqliteCopier(folder.database_path)
    path = find_file(settings.database_url)
    if path is not None:
        return SqliteCopier(path)
    return PostgresCopier(settings.database_url, database, settings.pg_bin)


def _build_care(settings: Settings, folder: DataFolder, database: SqlDatabase) -> Care:
    store = open_store(settings, folder, serves=False)
    stores, clock = store.kept, SystemClock()
    copier = _open_copier(settings, folder, database)
    journal = JournalRefs(database, store.journal, clock)
    back_up = BackUp(database, stores, clock, copier)
    restore = Restore(database, stores, copier, store.intake)
    return Care(
        collect_garbage=CollectGarbage(database, stores, store.transfers, clock),
        check_store=CheckStore(database, stores, clock),
        repair_store=RepairStore(database, stores, clock),
        rebuild=Rebuild(database, stores, store.transfers, store.journal, clock),
        read_usage=ReadUsage(database),
        journal_refs=journal,
        prune_journal=lambda grace: journal.prune(shift(clock.now(), -grace)),
        back_up=lambda path, **options: back_up(FolderBackup(path), **options),
        restore=lambda path, **options: restore(FolderBackup(path), **options),
    )


@dataclass(frozen=True, slots=True)
class Store:
    """All ports over one object store."""

    kept: Stores
    transfers: Transfers
    gateway: FolderTransfers | NoGateway
    """What answers signed requests to the registry itself."""
    journal: ObjectStore
    """The journal of refs, where no signed request reaches."""
    intake: ObjectIntake | None
    """What takes whole objects from a backup; None: whatever copies into buckets."""


def open_store(settings: Settings, folder: DataFolder, *, serves: bool = True) -> Store:
    """Return the object store that the settings name, found to be usable.

    A program that does not serve may work beside the one that does.

    Raises:
        Unavailable: it does not let the registry in, or boto3 is not installed.
    """
    if settings.object_store is not None:
        return _open_s3(settings.object_store, settings.signed_url_seconds)
    objects = FolderObjects(folder.root)
    documents = FolderObjects(folder.root / "documents")
    journal = FolderObjects(folder.root / "journal")
    journal.make()
    for store in (objects, documents):
        store.make()
        if serves:
            store.prepare()
    signer = UrlSigner(folder.signing_key(), lifetime=settings.signed_url_seconds)
    transfers = FolderTransfers(objects, signer)
    kept = Stores(objects, documents)
    return Store(kept, transfers, transfers, journal, FolderIntake(objects))


def _open_s3(location: S3Location, seconds: int) -> Store:
    # boto3 takes a third of a second and 30 MB: only where it is used.
    from plait_registry.adapters.s3_client import IMPATIENT, S3Bucket
    from plait_registry.adapters.s3_objects import S3Objects
    from plait_registry.adapters.s3_probe import probe_store, report
    from plait_registry.adapters.s3_transfers import S3Transfers

    bucket = S3Bucket(location)
    impatient = bucket.with_patience(IMPATIENT)
    features = probe_store(impatient)
    report(location, features)
    objects = S3Objects(bucket, features, impatient=impatient)
    transfers = S3Transfers(bucket, objects, features, seconds=seconds)
    documents, journal = (
        S3Objects(aside, features, impatient=aside.with_patience(IMPATIENT))
        for aside in map(bucket.beside, ("documents/", "journal/"))
    )
    kept = Stores(objects, documents)
    return Store(kept, transfers, NoGateway(), journal, intake=None)


def build_events(settings: Settings, database: Database) -> EventServices:
    """Return the services of events over a database."""
    chosen = settings.events
    options = EventOptions(
        allow_private=chosen.allow_private,
        backoff=Backoff(chosen.attempts),
        keep_days=chosen.keep_days,
        # All others would find no thread that answers them.
        most_waiting=max(1, settings.serving.threads // 5),
    )
    sender = HttpWebhookSender(allow_private=chosen.allow_private)
    return build_event_services(database, SystemClock(), sender, options)


def build_jobs(settings: Settings, database: Database) -> JobServices:
    """Return the services of jobs over a database."""
    return build_job_services(database, SystemClock(), keep_days=settings.events.keep_days)


def build_registry(settings: Settings, folder: DataFolder) -> Registry:
    """Return a registry over the folder, with an up-to-date database and its secrets in place."""
    database = open_database(settings, folder)
    database.migrate()
    folder.ensure_token()
    store = open_store(settings, folder)
    objects, transfers = store.kept.objects, store.transfers
    clock = SystemClock()
    meter = PrometheusMeter(find_shared_metrics())
    database.on_retry = meter.transaction_retried

    def check() -> None:
        database.check()
        objects.check()

    return Registry(
        create_repository=CreateRepository(database, clock),
        get_repository=GetRepository(database),
        list_repositories=ListRepositories(database),
        list_bases=ListBases(database),
        update_repository=UpdateRepository(database, clock),
        delete_repository=DeleteRepository(database, clock),
        list_refs=ListRefs(database),
        create_ref=CreateRef(database, clock),
        move_ref=MoveRef(database, clock),
        delete_ref=DeleteRef(database, clock),
        history=ReadHistory(database),
        diff=DiffVersions(database, objects),
        files=ReadFiles(database, transfers),
        add_note=AddNote(database, clock),
        push=Push(database, store.kept, transfers, clock),
        usage=ReadUsage(database),
        journal_refs=JournalRefs(database, store.journal, clock),
        objects=store.gateway,
        authenticate=Authenticate(database, clock, AdminToken(folder.token_path).matches),
        meter=meter,
        accounts=build_account_services(database, clock),
        events=build_events(settings, database),
        jobs=build_jobs(settings, database),
        validations=build_validation_services(database, clock, DsseSignatures()),
        check=check,
        close=database.close,
    )
