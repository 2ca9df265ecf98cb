"""The schema, as `migrations/` makes it (a test compares the two).

- Ids are 64 hexadecimal characters, readable in any SQL shell. Text is compared by its bytes on
  every database: the collation "C" on PostgreSQL, so that `ORDER BY` means what Python's sort does.
- A commit, its manifest and its files are stored once, whoever holds them; `repository_commits`
  and `repository_files` say which repositories do.
- Link tables have no rowid on SQLite: their key is all that they are, and would be stored twice.
- A ref points at a commit of its own repository, by a foreign key.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement

# SQLite makes a column the row's own number only if its type is spelled INTEGER.
SERIAL = BigInteger().with_variant(Integer(), "sqlite")
ID = String(64).with_variant(String(64, collation="C"), "postgresql")
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
JSON_VALUE = JSON(none_as_null=True)


class RandomBytes(ColumnElement[bytes]):
    """16 random bytes, as a default that the database itself computes."""

    inherit_cache = True


@compiles(RandomBytes, "sqlite")
def _write_for_sqlite(_element: RandomBytes, _compiler: SQLCompiler, **_: object) -> str:
    return "(randomblob(16))"


@compiles(RandomBytes, "postgresql")
def _write_for_postgresql(_element: RandomBytes, _compiler: SQLCompiler, **_: object) -> str:
    return "uuid_send(gen_random_uuid())"


METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

repositories = Table(
    "repositories",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    # `namespace/name` in lower case: no two repositories differ only in case.
    Column("key", TEXT, nullable=False, unique=True),
    Column("namespace", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    # Name and description folded as Python folds them; SQL's lower() depends on the database.
    Column("search_text", TEXT, nullable=False),
    Column("default_branch", TEXT, nullable=False),
    Column("created_at", TEXT, nullable=False),
    # Defaults, so that a program of the schema before can insert while others are upgraded.
    Column("private", Boolean, nullable=False, server_default=false()),
    # Ends every object that is uploaded to the repository: see docs/decisions/0047.
    Column("salt", LargeBinary, nullable=False, server_default=RandomBytes()),
    # What its versions are: adapters or bases.
    Column("kind", TEXT, nullable=False, server_default="adapter"),
    # When validations are asked for without anybody asking.
    Column("validate_on", TEXT, nullable=False, server_default="none"),
)

refs = Table(
    "refs",
    METADATA,
    Column("repository_id", SERIAL, primary_key=True, autoincrement=False),
    Column("name", TEXT, primary_key=True),
    Column("kind", TEXT, nullable=False),
    Column("target", ID, nullable=False),
    ForeignKeyConstraint(
        ["repository_id", "target"],
        ["repository_commits.repository_id", "repository_commits.commit_id"],
    ),
    CheckConstraint("kind IN ('branch', 'tag')", name="kind"),
)

retired_tags = Table(
    "retired_tags",
    METADATA,
    Column("repository_id", SERIAL, ForeignKey("repositories.id"), primary_key=True),
    Column("name", TEXT, primary_key=True),
)

objects = Table(
    "objects",
    METADATA,
    Column("sha256", ID, primary_key=True),
    Column("size", BigInteger, nullable=False),
    # How the store holds the bytes; their sha256 is that of the raw ones.
    Column("encoding", TEXT, nullable=False, server_default="raw"),
    # The repository that it was uploaded to, whose readers may read all of it. Null where that is
    # unknown or gone. No foreign key, so that a program of the schema before can delete one.
    Column("home_id", BigInteger, index=True),
)

files = Table(
    "files",
    METADATA,
    Column("sha256", ID, primary_key=True),
    Column("size", BigInteger, nullable=False),
    # sha256 of the tensor table's canonical JSON; null for what is not safetensors.
    Column("tensor_table", ID),
    # The object from which the extents can be rebuilt; null until garbage collection looks, for
    # rows of a program of the schema before.
    Column("document", ID, index=True),
)

file_extents = Table(
    "file_extents",
    METADATA,
    Column("file_sha256", ID, ForeignKey("files.sha256"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("object_sha256", ID, ForeignKey("objects.sha256"), nullable=False, index=True),
    Column("offset", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The key begins with the tensor, since every question asks where a tensor is.
tensors = Table(
    "tensors",
    METADATA,
    Column("sha256", ID, primary_key=True),
    Column("file_sha256", ID, ForeignKey("files.sha256"), primary_key=True, index=True),
    Column("offset", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

manifests = Table(
    "manifests",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

commits = Table(
    "commits",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("depth", Integer, nullable=False),
    Column("first_parent", ID, ForeignKey("commits.id"), index=True),
    Column("skip", ID, ForeignKey("commits.id"), index=True),
    Column("time", TEXT, nullable=False),
    Column("manifest_id", ID, ForeignKey("manifests.id"), nullable=False, index=True),
    Column("adapter_type", TEXT),
    Column("base", TEXT, nullable=False),
    Column("size", BigInteger, nullable=False),
    # Last, so that a walk over the columns above never reads a body's overflow pages.
    Column("body", LargeBinary, nullable=False),
)

commit_parents = Table(
    "commit_parents",
    METADATA,
    Column("commit_id", ID, ForeignKey("commits.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("parent", ID, ForeignKey("commits.id"), nullable=False, index=True),
    sqlite_with_rowid=False,
)

repository_commits = Table(
    "repository_commits",
    METADATA,
    Column("repository_id", SERIAL, ForeignKey("repositories.id"), primary_key=True),
    Column("commit_id", ID, ForeignKey("commits.id"), primary_key=True, index=True),
    # When garbage collection saw it first, from which its age counts; null until then.
    Column("added_at", TEXT),
    sqlite_with_rowid=False,
)

repository_files = Table(
    "repository_files",
    METADATA,
    Column("repository_id", SERIAL, ForeignKey("repositories.id"), primary_key=True),
    # Indexed the other way round as well: who holds a file decides whether a caller may use it.
    Column("file_sha256", ID, ForeignKey("files.sha256"), primary_key=True, index=True),
    sqlite_with_rowid=False,
)

notes = Table(
    "notes",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    Column("repository_id", SERIAL, nullable=False),
    Column("commit_id", ID, nullable=False),
    Column("kind", TEXT, nullable=False),
    Column("body", JSON_VALUE, nullable=False),
    Column("created_at", TEXT, nullable=False),
    ForeignKeyConstraint(
        ["repository_id", "commit_id"],
        ["repository_commits.repository_id", "repository_commits.commit_id"],
    ),
    Index(None, "repository_id", "commit_id"),
)

pushes = Table(
    "pushes",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("repository_id", SERIAL, ForeignKey("repositories.id"), nullable=False),
    Column("ref_kind", TEXT, nullable=False),
    Column("ref_name", TEXT, nullable=False),
    Column("expected", ID),
    Column("new", ID, nullable=False),
    Column("force", Boolean, nullable=False),
    Column("notes", JSON_VALUE, nullable=False),
    Column("allow_non_finite", Boolean, nullable=False),
    Column("created_at", TEXT, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("result", JSON_VALUE),
    # The open ones of a repository are counted before another one begins.
    Index(None, "repository_id", "state"),
)

push_commits = Table(
    "push_commits",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    Column("push_id", TEXT, ForeignKey("pushes.id"), nullable=False),
    Column("commit_id", ID, nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("push_id", "commit_id"),
)

push_manifests = Table(
    "push_manifests",
    METADATA,
    Column("push_id", TEXT, ForeignKey("pushes.id"), primary_key=True),
    Column("manifest_id", ID, primary_key=True, index=True),
    Column("body", LargeBinary, nullable=False),
)

uploads = Table(
    "uploads",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    Column("repository_id", SERIAL, ForeignKey("repositories.id"), nullable=False),
    Column("file_sha256", ID, nullable=False),
    Column("object_sha256", ID, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("ranges", JSON_VALUE, nullable=False),
    Column("handle", TEXT, nullable=False),
    UniqueConstraint("repository_id", "file_sha256", "object_sha256"),
)
