"""What jobs are about and which base they need, and when repositories ask for validations.

Revision: 0008
Follows: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    # With a default: programs of the schema before go on to insert repositories.
    op.add_column(
        "repositories", sa.Column("validate_on", TEXT, server_default="none", nullable=False)
    )
    op.add_column("jobs", sa.Column("subject", TEXT, nullable=True))
    op.add_column("jobs", sa.Column("base", TEXT, nullable=True))
    op.create_index(
        op.f("ix_jobs_repository_id_subject"), "jobs", ["repository_id", "subject"], unique=False
    )


def downgrade() -> None:
    # Programs of the schema before know no such jobs, and would fail on them.
    op.execute("DELETE FROM jobs WHERE kind = 'validation'")
    op.drop_index(op.f("ix_jobs_repository_id_subject"), table_name="jobs")
    op.drop_column("jobs", "base")
    op.drop_column("jobs", "subject")
    with op.batch_alter_table("repositories") as batch:
        batch.drop_column("validate_on")
