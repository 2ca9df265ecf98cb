import pytest

from plait.errors import InvalidInput
from plait.model.address import LONGEST_PART, Address, RepositoryName


@pytest.mark.parametrize(
    ("text", "namespace", "name"),
    [
        ("team/sql", "team", "sql"),
        ("Team_1/a.b-c", "Team_1", "a.b-c"),
        ("_/0", "_", "0"),
        ("a" * LONGEST_PART + "/b", "a" * LONGEST_PART, "b"),
        ("team/git", "team", "git"),
    ],
)
def test_repository_is_a_namespace_and_a_name(text: str, namespace: str, name: str) -> None:
    parsed = RepositoryName.parse(text)
    assert parsed == RepositoryName(namespace, name)
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "sql",
        "team/",
        "/sql",
        "a/b/c",
        "team/..",
        "../sql",
        "team/.hidden",
        "team/-x",
        "team/a--b",
        "team/a..b",
        "team/a.",
        "team/a-",
        "team/a.git",
        "team/a.lock",
        "team/a b",
        "team/a%20b",
        "team/a+b",
        "team/ä",
        "team/a\n",
        "team\\sql",
        "https://host/team/sql",
        "team/" + "a" * (LONGEST_PART + 1),
        "team/\ud800",
        "team/" + "a" * 1_000_000,
    ],
)
def test_anything_else_is_no_repository(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected NAMESPACE/NAME") as caught:
        RepositoryName.parse(text)
    assert caught.value.kind == "invalid-repository-name"
    assert len(caught.value.message) < 600
    caught.value.message.encode()


def test_names_that_differ_only_in_case_have_one_key() -> None:
    assert RepositoryName.parse("Team/SQL").key == RepositoryName.parse("team/sql").key


@pytest.mark.parametrize(
    "text", ["team/sql", "team/sql@main", "team/sql@feature/x~2", "team/sql@@"]
)
def test_address_reads_back_what_it_writes(text: str) -> None:
    assert str(Address.parse(text)) == text


def test_address_leaves_the_revision_to_who_resolves_it() -> None:
    assert Address.parse("team/sql") == Address(RepositoryName("team", "sql"), None)
    assert Address.parse("team/sql@a@b").revision == "a@b"


def test_address_with_an_empty_revision_is_refused() -> None:
    with pytest.raises(InvalidInput, match="names no revision after '@'") as caught:
        Address.parse("team/sql@")
    assert caught.value.kind == "invalid-revision"
