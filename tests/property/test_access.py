"""Rights as a database filters by them, as services ask for them, and as scopes hold each other."""

from dataclasses import replace
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from plait.model.address import RepositoryName
from plait_registry.domain.access import (
    EVERYTHING,
    RIGHT_OF_ACCESS,
    Access,
    Caller,
    Readable,
    Right,
    Role,
    Scope,
)

NAMESPACES = ("team", "lab", "te")
NAMES = ("sql", "am", "te")
PLACES: list[tuple[str, str | None]] = [
    *product(NAMESPACES, NAMES),
    *((namespace, None) for namespace in NAMESPACES),
    # One that no scope names: what is true there is true in all the rest of the world.
    ("elsewhere", "thing"),
    ("elsewhere", None),
    *((namespace, "thing") for namespace in NAMESPACES),
]
TARGETS = [
    EVERYTHING,
    *NAMESPACES,
    *(f"{space}/{name}" for space, name in product(NAMESPACES, NAMES)),
]

scopes = st.builds(Scope, st.sampled_from(TARGETS), st.sampled_from(Access))
callers = st.builds(
    Caller,
    st.just("ada"),
    is_admin=st.booleans(),
    roles=st.dictionaries(st.sampled_from(NAMESPACES), st.sampled_from(Role)),
    scopes=st.none() | st.lists(scopes, max_size=4).map(tuple),
)
repositories = st.builds(
    RepositoryName,
    st.sampled_from([*NAMESPACES, "Team", "elsewhere"]),
    st.sampled_from([*NAMES, "SQL", "thing"]),
)


def let_through(scope: Scope, namespace: str, repository: str | None) -> Right:
    """Return what a scope lets through at a place, straight from its definition."""
    return RIGHT_OF_ACCESS[scope.access] if scope.reaches(namespace, repository) else Right.NONE


@given(callers, repositories)
def test_database_finds_exactly_what_services_let_read(
    caller: Caller, repository: RepositoryName
) -> None:
    for private in (True, False):
        may_read = caller.right_to(repository, private=private) >= Right.READ
        assert Readable.by(caller).includes(repository, private=private) is may_read


@given(scopes, scopes)
def test_scope_holds_another_exactly_where_it_lets_through_no_less_anywhere(
    wide: Scope, narrow: Scope
) -> None:
    is_no_less = all(let_through(wide, *place) >= let_through(narrow, *place) for place in PLACES)
    if narrow.access is Access.WORK:
        # It reaches no place, and takes jobs: who may hand that out is a question of its own.
        assert not wide.holds(narrow) or wide.access in {Access.ADMIN, Access.WORK}
    else:
        assert wide.holds(narrow) is is_no_less


@given(callers, st.lists(scopes, min_size=1, max_size=4))
def test_token_whose_scopes_are_held_may_do_nothing_more(
    caller: Caller, wanted: list[Scope]
) -> None:
    if caller.scopes is None:
        return
    held = [scope for scope in wanted if any(have.holds(scope) for have in caller.scopes)]
    child = Caller(caller.name, caller.is_admin, caller.roles, tuple(held))
    assert caller.administers or not child.administers
    for namespace, name in PLACES:
        assert child.right_in(namespace) <= caller.right_in(namespace)
        if name is not None:
            repository = RepositoryName(namespace, name)
            for private in (True, False):
                given_to_child = child.right_to(repository, private=private)
                assert given_to_child <= caller.right_to(repository, private=private)


@given(callers, repositories)
def test_right_in_a_private_repository_is_never_above_that_of_its_role(
    caller: Caller, repository: RepositoryName
) -> None:
    whole = Caller(caller.name, caller.is_admin, caller.roles)
    assert caller.right_to(repository, private=True) <= whole.right_in(repository.namespace)
    assert caller.right_in(repository.namespace) <= caller.right_to(repository, private=True)


@given(callers, st.lists(scopes, max_size=4), repositories, st.booleans())
def test_narrowed_caller_may_do_the_lesser_of_what_it_might_and_what_it_is_narrowed_to(
    caller: Caller,
    narrower: list[Scope],
    repository: RepositoryName,
    private: bool,  # noqa: FBT001 - given calls by position
) -> None:
    single = [scope for scope in narrower if "/" in scope.target]
    narrow = replace(caller, scopes=caller.narrowed(single))
    namespace, _, name = repository.key.partition("/")
    most = max((let_through(scope, namespace, name) for scope in single), default=Right.NONE)
    before = caller.right_to(repository, private=private)
    assert narrow.right_to(repository, private=private) == min(before, most)
    assert narrow.right_in(namespace) is Right.NONE
    assert not narrow.administers
