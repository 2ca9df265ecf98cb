"""What a registry of schema 0001 says to its database.

It is old code, which still runs while others of its kind are new and the schema is theirs.

The statements are those of its services, written out once and never changed.
"""

from sqlalchemy import Connection, text

A, B, C = ("a" * 64, "b" * 64, "c" * 64)

_WRITES = """
INSERT INTO repositories (key, namespace, name, description, search_text, default_branch,
    created_at) VALUES ('team/old', 'team', 'old', 'd', 'team/old', 'main', :now) ON CONFLICT DO
    NOTHING;
INSERT INTO manifests (id, body) VALUES (:a, :body) ON CONFLICT DO NOTHING;
INSERT INTO commits (id, generation, depth, first_parent, skip, time, manifest_id,
    adapter_type, base, size, body) VALUES (:a, 1, 0, NULL, NULL, :now, :a, 'LORA', 'org/model',
    7, :body), (:b, 2, 1, :a, :a, :now, :a, NULL, 'org/model', 7, :body) ON CONFLICT DO NOTHING;
INSERT INTO commit_parents (commit_id, position, parent) VALUES (:b, 0, :a) ON CONFLICT DO
    NOTHING;
INSERT INTO repository_commits (repository_id, commit_id) VALUES (:repository, :a),
    (:repository, :b) ON CONFLICT DO NOTHING;
INSERT INTO refs (repository_id, name, kind, target) VALUES (:repository, 'main', 'branch',
    :a), (:repository, 'v1', 'tag', :a) ON CONFLICT DO NOTHING;
UPDATE refs SET target = :b WHERE repository_id = :repository AND name = 'main' AND target =
    :a;
INSERT INTO retired_tags (repository_id, name) VALUES (:repository, 'v0') ON CONFLICT DO
    NOTHING;
INSERT INTO objects (sha256, size) VALUES (:a, 10) ON CONFLICT DO NOTHING;
INSERT INTO files (sha256, size, tensor_table) VALUES (:a, 10, NULL) ON CONFLICT DO NOTHING;
UPDATE files SET tensor_table = :c WHERE sha256 = :a AND tensor_table IS NULL;
INSERT INTO file_extents (file_sha256, position, object_sha256, "offset", size) VALUES (:a,
    0, :a, 0, 10) ON CONFLICT DO NOTHING;
INSERT INTO tensors (sha256, file_sha256, "offset", size) VALUES (:c, :a, 2, 8) ON CONFLICT
    DO NOTHING;
INSERT INTO repository_files (repository_id, file_sha256) VALUES (:repository, :a) ON
    CONFLICT DO NOTHING;
INSERT INTO notes (repository_id, commit_id, kind, body, created_at) VALUES (:repository,
    :a, 'metrics', '{"loss": 1}', :now);
INSERT INTO pushes (id, repository_id, ref_kind, ref_name, expected, new, force, notes,
    allow_non_finite, created_at, state, result) VALUES ('push', :repository, 'branch', 'main',
    :a, :b, false, '[]', false, :now, 'open', NULL);
INSERT INTO push_commits (push_id, commit_id, body) VALUES ('push', :b, :body) ON CONFLICT
    DO NOTHING;
INSERT INTO push_manifests (push_id, manifest_id, body) VALUES ('push', :a, :body) ON
    CONFLICT DO NOTHING;
INSERT INTO uploads (repository_id, file_sha256, object_sha256, size, ranges, handle) VALUES
    (:repository, :c, :c, 4, '[[0, 4]]', 'handle') ON CONFLICT DO NOTHING;
"""
_READS = """
SELECT key, namespace, name, description, search_text, default_branch, created_at FROM
    repositories;
SELECT id, body FROM manifests;
SELECT id, generation, depth, first_parent, skip, time, manifest_id, adapter_type, base,
    size, body FROM commits ORDER BY id;
SELECT commit_id, position, parent FROM commit_parents;
SELECT commit_id FROM repository_commits ORDER BY commit_id;
SELECT name, kind, target FROM refs ORDER BY name;
SELECT name FROM retired_tags;
SELECT sha256, size, encoding FROM objects;
SELECT sha256, size, tensor_table FROM files;
SELECT file_sha256, position, object_sha256, "offset", size FROM file_extents;
SELECT sha256, file_sha256, "offset", size FROM tensors;
SELECT file_sha256 FROM repository_files;
SELECT commit_id, kind, created_at FROM notes ORDER BY id;
SELECT id, ref_kind, ref_name, expected, new, force, allow_non_finite, created_at, state
    FROM pushes;
SELECT push_id, commit_id, body FROM push_commits;
SELECT push_id, manifest_id, body FROM push_manifests;
SELECT file_sha256, object_sha256, size, handle FROM uploads;
"""
_COMPLETE = """
UPDATE pushes SET state = 'completed', result = '{}' WHERE id = 'push' AND state = 'open';
DELETE FROM push_commits WHERE push_id = 'push';
DELETE FROM push_manifests WHERE push_id = 'push';
DELETE FROM uploads WHERE repository_id = :repository AND file_sha256 = :c;
DELETE FROM refs WHERE repository_id = :repository AND name = 'v1' AND target = :a;
"""


def write_first(connection: Connection) -> None:
    """Insert a row or two into every table, as the services of then did."""
    for statement in _split(_WRITES):
        assert _run(connection, statement) > 0


def complete_first(connection: Connection) -> None:
    """Complete the push, and delete a tag."""
    for statement in _split(_COMPLETE):
        assert _run(connection, statement) == 1


def read_first(connection: Connection) -> list[list[tuple[object, ...]]]:
    """Return all rows by the columns of then."""
    return [[tuple(row) for row in connection.execute(text(query))] for query in _split(_READS)]


def _split(script: str) -> list[str]:
    return [statement.strip() for statement in script.split(";") if statement.strip()]


def _run(connection: Connection, statement: str) -> int:
    given: dict[str, object] = {
        "a": A,
        "b": B,
        "c": C,
        "now": "2026-11-24T06:07:00Z",
        "body": b"{}",
    }
    if ":repository" in statement:
        found = connection.execute(text("SELECT id FROM repositories WHERE key = 'team/old'"))
        given["repository"] = found.scalar_one()
    query = text(statement)
    used = {name: value for name, value in given.items() if f":{name}" in statement}
    counting = {"preserve_rowcount": True}
    return connection.execute(query, used, execution_options=counting).rowcount
