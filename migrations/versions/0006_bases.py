"""What repositories are for; the bases that there are, by their fingerprints.

Revision: 0006
Follows: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    # With a default: what programs of the schema before insert are repositories of adapters.
    op.add_column("repositories", sa.Column("kind", TEXT, server_default="adapter", nullable=False))
    op.create_table(
        "bases",
        sa.Column("commit_id", ID, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("revision", TEXT, nullable=True),
        sa.Column("fingerprint", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["commit_id"], ["commits.id"], name=op.f("fk_bases_commit_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("commit_id", name=op.f("pk_bases")),
    )
    for column in ("fingerprint", "name"):
        op.create_index(op.f(f"ix_bases_{column}"), "bases", [column], unique=False)


def downgrade() -> None:
    op.drop_table("bases")
    with op.batch_alter_table("repositories") as batch:
        batch.drop_column("kind")
