"""The two questions about history that SQL answers by recursion, each in one query.

Both follow indexes that are written once with a commit and never change, so that neither costs
more as history grows (docs/decisions/0011). Statements are built once, here as in the other
modules, with names for what they are given: building one takes longer than running it.
"""

from __future__ import annotations

from sqlalchemy import Select, bindparam, case, func, select

from plait.model.ids import CommitId
from plait_registry.adapters.sql.tables import commit_parents, commits, repository_commits


def _select_ancestor() -> Select[CommitId]:
    """Select the `generations`-th first parent of `commit`; no row where there is none.

    Each step jumps where the jump does not go too far, else it goes to the first parent.
    """
    walk = (
        select(
            commits.c.id,
            commits.c.depth,
            commits.c.first_parent,
            commits.c.skip,
            (commits.c.depth - bindparam("generations")).label("target"),
        )
        .where(commits.c.id == bindparam("commit"), commits.c.depth >= bindparam("generations"))
        .cte("walk", recursive=True)
    )
    jump, after = commits.alias("jump"), commits.alias("after")
    step = case((jump.c.depth >= walk.c.target, walk.c.skip), else_=walk.c.first_parent)
    walk = walk.union_all(
        select(after.c.id, after.c.depth, after.c.first_parent, after.c.skip, walk.c.target)
        .select_from(walk.join(jump, jump.c.id == walk.c.skip).join(after, after.c.id == step))
        .where(walk.c.depth > walk.c.target)
    )
    return select(walk.c.id).where(walk.c.depth == walk.c.target)


def _select_ancestry() -> Select[CommitId, int, str, CommitId | None]:
    """Select `commits` of `repository` and the ancestry of `depth` generations, a row a parent.

    The walk goes on from a commit whose generation is less than `depth` below the highest one of
    `commits`. Counting steps instead would visit a commit once for each length of the ways to it;
    a bound on generations is a property of the commit alone, so UNION visits it once. A history
    lies in the repository as a whole, so only the starts are looked for there.
    """
    start = (
        select(commits.c.id, commits.c.generation, commits.c.time)
        .select_from(
            repository_commits.join(commits, commits.c.id == repository_commits.c.commit_id)
        )
        .where(
            repository_commits.c.repository_id == bindparam("repository"),
            repository_commits.c.commit_id.in_(bindparam("commits", expanding=True)),
        )
        .cte("start")
    )
    top = select(func.max(start.c.generation)).scalar_subquery()
    walk = select(start.c.id, start.c.generation, start.c.time).cte("walk", recursive=True)
    edge, parent = commit_parents.alias("edge"), commits.alias("parent")
    walk = walk.union(
        select(parent.c.id, parent.c.generation, parent.c.time)
        .select_from(
            walk.join(edge, edge.c.commit_id == walk.c.id).join(
                parent, parent.c.id == edge.c.parent
            )
        )
        .where(walk.c.generation > top - bindparam("depth"))
    )
    return (
        select(walk.c.id, walk.c.generation, walk.c.time, commit_parents.c.parent)
        .select_from(walk.outerjoin(commit_parents, commit_parents.c.commit_id == walk.c.id))
        .order_by(walk.c.id, commit_parents.c.position)
    )


ANCESTOR = _select_ancestor()
ANCESTRY = _select_ancestry()
