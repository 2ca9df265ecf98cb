"""How PostgreSQL answers: by indexes, which is also what keeps writes out of each other's way."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from database_suite.databases import open_postgresql
from database_suite.hot_queries import HOT, TENSORS, fill, recorded
from database_suite.rows import ALL
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.adapters.sql.dialect import begin


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlDatabase]:
    folder = tmp_path_factory.getbasetemp()
    with open_postgresql(folder, folder) as database:
        fill(database)
        yield database


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes_of(part)


def explain(database: SqlDatabase, query: str, parameters: Any) -> Iterator[dict[str, Any]]:
    with database._engine.connect() as connection, begin(connection):
        plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}", parameters)
        found = plan.scalar_one()
    (root,) = json.loads(found) if isinstance(found, str) else found
    yield from nodes_of(root["Plan"])


@pytest.mark.parametrize("name", HOT)
def test_hot_query_reads_no_table_as_a_whole(filled: SqlDatabase, name: str) -> None:
    with recorded(filled) as queries, filled.read() as records:
        assert HOT[name](records) is not None
    assert queries
    nodes = [node for query in queries for node in explain(filled, *query)]
    assert [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"] == []
    assert any("Index Name" in node for node in nodes)


def test_all_tensors_of_a_file_are_located_in_two_queries(filled: SqlDatabase) -> None:
    with recorded(filled) as queries, filled.read() as records:
        assert len(records.files.locate_tensors(ALL, TENSORS)) == len(TENSORS)
    assert len(queries) == 2
