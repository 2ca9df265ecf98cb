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
)

# SQLite makes a column the row's own number only if its type is spelled INTEGER.
_Serial = BigInteger().with_variant(Integer(), "sqlite")
_Id = String(64).with_variant(String(64, collation="C"), "postgresql")
_Text = Text().with_variant(Text(collation="C"), "postgresql")
_Json = JSON(none_as_null=True)

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
    Column("id", _Serial, primary_key=True),
    # `namespace/name` in lower case: no two repositories differ only in case.
    Column("key", _Text, nullable=False, unique=True),
    Column("namespace", _Text, nullable=False),
    Column("name", _Text, nullable=False),
    Column("description", _Text, nullable=False),
    # Name and description folded as Python folds them; SQL's lower() depends on the database.
    Column("search_text", _Text, nullable=False),
    Column("default_branch", _Text, nullable=False),
    Column("created_at", _Text, nullable=False),
)

refs = Table(
    "refs",
    METADATA,
    Column("repository_id", _Serial, primary_key=True, autoincrement=False),
    Column("name", _Text, primary_key=True),
    Column("kind", _Text, nullable=False),
    Column("target", _Id, nullable=False),
    ForeignKeyConstraint(
        ["repository_id", "target"],
        ["repository_commits.repository_id", "repository_commits.commit_id"],
    ),
    CheckConstraint("kind IN ('branch', 'tag')", name="kind"),
)

retired_tags = Table(
    "retired_tags",
    METADATA,
    Column("repository_id", _Serial, ForeignKey("repositories.id"), primary_key=True),
    Column("name", _Text, primary_key=True),
)

objects = Table(
    "objects",
    METADATA,
    Column("sha256", _Id, primary_key=True),
    Column("size", BigInteger, nullable=False),
    # How the store holds the bytes; their sha256 is that of the raw ones.
    Column("encoding", _Text, nullable=False, server_default="raw"),
)

files = Table(
    "files",
    METADATA,
    Column("sha256", _Id, primary_key=True),
    Column("size", BigInteger, nullable=False),
    # sha256 of the tensor table's canonical JSON; null for what is not safetensors.
    Column("tensor_table", _Id),
)

file_extents = Table(
    "file_extents",
    METADATA,
    Column("file_sha256", _Id, ForeignKey("files.sha256"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("object_sha256", _Id, ForeignKey("objects.sha256"), nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The key begins with the tensor, since every question asks where a tensor is.
tensors = Table(
    "tensors",
    METADATA,
    Column("sha256", _Id, primary_key=True),
    Column("file_sha256", _Id, ForeignKey("files.sha256"), primary_key=True),
    Column("offset", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

manifests = Table(
    "manifests",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

commits = Table(
    "commits",
    METADATA,
    Column("id", _Id, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("depth", Integer, nullable=False),
    Column("first_parent", _Id, ForeignKey("commits.id")),
    Column("skip", _Id, ForeignKey("commits.id")),
    Column("time", _Text, nullable=False),
    Column("manifest_id", _Id, ForeignKey("manifests.id"), nullable=False, index=True),
    Column("adapter_type", _Text),
    Column("base", _Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    # Last, so that a walk over the columns above never reads a body's overflow pages.
    Column("body", LargeBinary, nullable=False),
)

commit_parents = Table(
    "commit_parents",
    METADATA,
    Column("commit_id", _Id, ForeignKey("commits.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("parent", _Id, ForeignKey("commits.id"), nullable=False),
    sqlite_with_rowid=False,
)

repository_commits = Table(
    "repository_commits",
    METADATA,
    Column("repository_id", _Serial, ForeignKey("repositories.id"), primary_key=True),
    Column("commit_id", _Id, ForeignKey("commits.id"), primary_key=True),
    sqlite_with_rowid=False,
)

repository_files = Table(
    "repository_files",
    METADATA,
    Column("repository_id", _Serial, ForeignKey("repositories.id"), primary_key=True),
    Column("file_sha256", _Id, ForeignKey("files.sha256"), primary_key=True),
    sqlite_with_rowid=False,
)

notes = Table(
    "notes",
    METADATA,
    Column("id", _Serial, primary_key=True),
    Column("repository_id", _Serial, nullable=False),
    Column("commit_id", _Id, nullable=False),
    Column("kind", _Text, nullable=False),
    Column("body", _Json, nullable=False),
    Column("created_at", _Text, nullable=False),
    ForeignKeyConstraint(
        ["repository_id", "commit_id"],
        ["repository_commits.repository_id", "repository_commits.commit_id"],
    ),
    Index(None, "repository_id", "commit_id"),
)

pushes = Table(
    "pushes",
    METADATA,
    Column("id", _Text, primary_key=True),
    Column("repository_id", _Serial, ForeignKey("repositories.id"), nullable=False),
    Column("ref_kind", _Text, nullable=False),
    Column("ref_name", _Text, nullable=False),
    Column("expected", _Id),
    Column("new", _Id, nullable=False),
    Column("force", Boolean, nullable=False),
    Column("notes", _Json, nullable=False),
    Column("allow_non_finite", Boolean, nullable=False),
    Column("created_at", _Text, nullable=False),
    Column("state", _Text, nullable=False),
    Column("result", _Json),
)

push_commits = Table(
    "push_commits",
    METADATA,
    Column("id", _Serial, primary_key=True),
    Column("push_id", _Text, ForeignKey("pushes.id"), nullable=False),
    Column("commit_id", _Id, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("push_id", "commit_id"),
)

push_manifests = Table(
    "push_manifests",
    METADATA,
    Column("push_id", _Text, ForeignKey("pushes.id"), primary_key=True),
    Column("manifest_id", _Id, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

uploads = Table(
    "uploads",
    METADATA,
    Column("id", _Serial, primary_key=True),
    Column("repository_id", _Serial, ForeignKey("repositories.id"), nullable=False),
    Column("file_sha256", _Id, nullable=False),
    Column("object_sha256", _Id, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("ranges", _Json, nullable=False),
    Column("handle", _Text, nullable=False),
    UniqueConstraint("repository_id", "file_sha256", "object_sha256"),
)
