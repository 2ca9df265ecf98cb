"""Who may look after webhooks, and what is told of them."""

from collections.abc import Callable

import pytest

from plait.errors import InvalidInput, NotFound, PermissionDenied, PlaitError
from plait.model.address import RepositoryName
from plait_registry.adapters.memory.database import MemoryDatabase
from plait_registry.domain.access import SYSTEM, Access, Caller, Role, Scope
from plait_registry.domain.accounts import AuditQuery
from plait_registry.domain.events import Event, EventKind
from plait_registry.domain.webhooks import (
    Attempt,
    DeliveryState,
    WebhookId,
    WebhookRecord,
    WebhookSender,
)
from plait_registry.services.event_services import (
    EventOptions,
    EventServices,
    build_event_services,
)
from plait_registry.services.repositories import CreateRepository, DeleteRepository
from plait_registry.services.webhooks import MOST_WEBHOOKS, WebhookWish
from reference.registry_drivers import FixedClock

URL = "https://ci.example.org/hooks/s3cret-path"
SQL = RepositoryName("team", "sql")
EVE = Caller("eve")
WRITER = Caller("will", roles={"team": Role.WRITER})
MAINTAINER = Caller("mia", roles={"team": Role.MAINTAINER})


class NoSender(WebhookSender):
    """Sends nothing."""

    def send(self, url: str, headers: object, body: bytes) -> Attempt:
        return Attempt(None, "This test sends nothing.")


@pytest.fixture
def database() -> MemoryDatabase:
    database = MemoryDatabase()
    create = CreateRepository(database, FixedClock())
    create(SYSTEM, SQL, "", private=True)
    create(SYSTEM, RepositoryName("team", "open"), "", private=False)
    return database


@pytest.fixture
def services(database: MemoryDatabase) -> EventServices:
    return build_event_services(database, FixedClock(), NoSender(), EventOptions())


def create(services: EventServices, target: str = "team", *kinds: EventKind) -> WebhookRecord:
    return services.create_webhook(MAINTAINER, target, URL, frozenset(kinds))


def every_call(services: EventServices, webhook: WebhookRecord) -> list[Callable[[Caller], object]]:
    """Return every service that takes a webhook, as functions of who calls."""
    return [
        lambda caller: services.get_webhook(caller, webhook.id),
        lambda caller: services.update_webhook(caller, webhook.id, WebhookWish(active=True)),
        lambda caller: services.list_deliveries(
            caller, webhook.id, state=None, before=None, limit=9
        ),
        lambda caller: services.redeliver(caller, f"{webhook.id}-1"),
        lambda caller: services.delete_webhook(caller, webhook.id),
    ]


def refuse(call: Callable[[], object]) -> tuple[type[PlaitError], str]:
    with pytest.raises(PlaitError) as caught:
        call()
    return type(caught.value), caught.value.kind


def test_maintainer_makes_and_lists_webhooks(services: EventServices) -> None:
    whole, single = create(services), create(services, "TEAM/sql", EventKind.PUSH)
    assert services.list_webhooks(MAINTAINER, "Team") == [whole]
    assert services.list_webhooks(MAINTAINER, "team/SQL") == [single]
    assert (whole.target, single.target) == ("team", "team/sql")
    assert single.kinds == {EventKind.PUSH}
    assert services.get_webhook(MAINTAINER, single.id) == single


def test_every_webhook_has_a_secret_of_its_own(services: EventServices) -> None:
    first, second = create(services), create(services)
    assert first.secret != second.secret
    assert len(first.secret) >= 43
    assert first.secret not in repr(first)


@pytest.mark.parametrize("target", ["team", "team/sql"])
def test_writer_may_not_look_after_webhooks(services: EventServices, target: str) -> None:
    webhook = create(services, target)
    calls = [
        lambda caller: services.create_webhook(caller, target, URL, frozenset()),
        lambda caller: services.list_webhooks(caller, target),
        *every_call(services, webhook),
    ]
    for call in calls:
        assert refuse(lambda call=call: call(WRITER)) == (PermissionDenied, "permission-denied")  # type: ignore[misc]


def test_token_of_a_maintainer_needs_the_scope(services: EventServices) -> None:
    scoped = Caller("mia", roles={"team": Role.MAINTAINER}, scopes=(Scope("team", Access.WRITE),))
    for call in every_call(services, create(services)):
        assert refuse(lambda call=call: call(scoped))[0] is PermissionDenied  # type: ignore[misc]


@pytest.mark.parametrize("target", ["team", "team/sql"])
def test_webhook_is_missing_for_strangers(services: EventServices, target: str) -> None:
    for call in every_call(services, create(services, target)):
        assert refuse(lambda call=call: call(EVE)) == (NotFound, "webhook-not-found")  # type: ignore[misc]


def test_strangers_cannot_make_or_list_webhooks(services: EventServices) -> None:
    for target, kind in (("team", "namespace-not-found"), ("team/sql", "repository-not-found")):
        for call in (
            lambda target=target: services.list_webhooks(EVE, target),
            lambda target=target: services.create_webhook(EVE, target, URL, frozenset()),
        ):
            assert refuse(call) == (NotFound, kind)


def test_missing_targets_are_not_found(services: EventServices) -> None:
    assert refuse(lambda: services.list_webhooks(SYSTEM, "lab"))[1] == "namespace-not-found"
    assert refuse(lambda: services.list_webhooks(SYSTEM, "team/x"))[1] == "repository-not-found"
    assert refuse(lambda: services.get_webhook(SYSTEM, WebhookId("x")))[1] == "webhook-not-found"


@pytest.mark.parametrize("url", ["http://ci.example.org/", "https://127.0.0.1/", "nonsense"])
def test_url_that_leads_astray_is_refused(services: EventServices, url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        services.create_webhook(MAINTAINER, "team", url, frozenset())
    assert caught.value.kind == "invalid-webhook-url"
    webhook = create(services)
    with pytest.raises(InvalidInput):
        services.update_webhook(MAINTAINER, webhook.id, WebhookWish(url=url))
    assert services.get_webhook(MAINTAINER, webhook.id).url == URL


def test_there_may_not_be_too_many_webhooks(services: EventServices) -> None:
    for _ in range(MOST_WEBHOOKS):
        create(services)
    with pytest.raises(InvalidInput, match="delete one"):
        create(services)
    create(services, "team/sql")


def test_change_leaves_what_it_does_not_name(services: EventServices) -> None:
    webhook = create(services, "team", EventKind.PUSH)
    off = services.update_webhook(MAINTAINER, webhook.id, WebhookWish(active=False))
    assert (off.url, off.kinds, off.active) == (URL, frozenset({EventKind.PUSH}), False)
    changed = services.update_webhook(MAINTAINER, webhook.id, WebhookWish(kinds=frozenset()))
    assert (changed.kinds, changed.active) == (frozenset(), False)


def test_deleted_webhook_is_gone(services: EventServices) -> None:
    webhook = create(services)
    services.delete_webhook(MAINTAINER, webhook.id)
    assert services.list_webhooks(MAINTAINER, "team") == []


def test_audit_log_names_the_host_and_neither_path_nor_secret(
    services: EventServices, database: MemoryDatabase
) -> None:
    webhook = create(services)
    services.update_webhook(MAINTAINER, webhook.id, WebhookWish(active=False))
    services.delete_webhook(MAINTAINER, webhook.id)
    with database.read() as records:
        rows = records.audit.search(AuditQuery(actor="mia"))
    actions = [row.action for row in rows]
    assert actions == ["webhook.delete", "webhook.update", "webhook.create"]
    for row in rows:
        assert row.details["host"] == "ci.example.org"
        assert "s3cret-path" not in str(row)
        assert webhook.secret not in str(row)


def test_dead_delivery_is_seen_and_sent_anew(
    services: EventServices, database: MemoryDatabase
) -> None:
    webhook = create(services)
    with database.write() as records:
        records.events.append(Event(EventKind.PUSH, SQL, "ada", FixedClock().now(), {}))
    services.deliver()
    [row] = services.list_deliveries(MAINTAINER, webhook.id, state=None, before=None, limit=9)
    assert (row.state, row.attempts) == (DeliveryState.PENDING, 1)
    assert row.last == Attempt(None, "This test sends nothing.")
    revived = services.redeliver(MAINTAINER, row.id)
    assert (revived.state, revived.attempts, revived.due_at) == (
        DeliveryState.PENDING,
        0,
        FixedClock().now(),
    )


def test_webhook_of_the_namespace_hears_of_a_deleted_repository(
    services: EventServices, database: MemoryDatabase
) -> None:
    whole, single = create(services), create(services, "team/sql")
    DeleteRepository(database, FixedClock())(SYSTEM, SQL)
    with database.read() as records:
        [row] = records.deliveries.search(whole.id)
        assert row.event.kind is EventKind.REPOSITORY_DELETED
    assert refuse(lambda: services.get_webhook(SYSTEM, single.id))[1] == "webhook-not-found"
