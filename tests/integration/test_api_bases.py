"""`GET /api/v1/bases`: what a caller may read, page by page."""

from collections.abc import Iterator

import pytest

from reference.bases import make_base, make_card
from served.accounts import API, People, peopled, refusal_of, succeed
from served.pushing import push_version

CARDS = [make_card({str(number): ("U8", (1,), bytes([number]))}) for number in range(3)]
BASES = [make_base(f"base {number}", card=card) for number, card in enumerate(CARDS)]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    with peopled(tmp_path_factory.mktemp("data")) as made:
        for number, base in enumerate(BASES):
            wanted = {
                "namespace": "team",
                "name": f"base-{number}",
                "private": number == 1,
                "kind": "base",
            }
            assert succeed(made.admin.post(f"{API}/repositories", json=wanted))["kind"] == "base"
            push_version(made.admin, f"{API}/repositories/team/base-{number}", base)
        yield made


def test_private_bases_are_seen_by_members_alone(people: People) -> None:
    seen = {
        who: [item["repository"] for item in succeed(client.get(f"{API}/bases"))["bases"]]
        for who, client in (
            ("admin", people.admin),
            ("stranger", people.client(people.add("stranger"))),
        )
    }
    assert seen["admin"] == ["team/base-0", "team/base-1", "team/base-2"]
    assert seen["stranger"] == ["team/base-0", "team/base-2"]
    query = {"fingerprint": CARDS[1].fingerprint}
    assert (
        succeed(people.client(people.token("stranger")).get(f"{API}/bases", params=query))["bases"]
        == []
    )
    (found,) = succeed(people.admin.get(f"{API}/bases", params=query))["bases"]
    assert found == {
        "repository": "team/base-1",
        "commit": BASES[1].id,
        "name": "org/base",
        "revision": None,
        "fingerprint": CARDS[1].fingerprint,
        "time": "2026-11-24T06:07:00Z",
        "generation": 1,
    }


def test_pages_follow_each_other_by_their_cursors(people: People) -> None:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "2", "name": "org/base", **({"cursor": cursor} if cursor else {})}
        page = succeed(people.admin.get(f"{API}/bases", params=query))
        seen += [item["commit"] for item in page["bases"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [base.id for base in BASES]


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ({"fingerprint": "abc"}, "invalid-object-id"),
        ({"cursor": "team/base"}, "invalid-object-id"),
        ({"cursor": "team@0"}, "invalid-repository-name"),
        ({"limit": "0"}, "invalid-input"),
    ],
)
def test_query_that_means_nothing_is_refused(
    people: People, query: dict[str, str], kind: str
) -> None:
    assert refusal_of(people.admin.get(f"{API}/bases", params=query)) == (422, kind)


@pytest.mark.parametrize("kind", ["", "Base", "model"])
def test_unknown_kind_of_repository_is_refused(people: People, kind: str) -> None:
    wanted = {"namespace": "team", "name": "x", "kind": kind}
    answer = people.admin.post(f"{API}/repositories", json=wanted)
    assert refusal_of(answer) == (422, "invalid-input")
    assert "'adapter' or 'base'" in answer.json()["error"]["message"]
