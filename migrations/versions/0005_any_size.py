"""Galleries of any size: search indexes, calibrations of scores, backfills, and segments in engines that held them before."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("segments", sa.Column("backend", sa.JSON(), nullable=True))
    op.add_column("galleries", sa.Column("elsewhere", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "indexes",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("segment_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("compression", sa.String(length=20), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("lance_version", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("recall", sa.Double(), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("queries", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("recall BETWEEN 0 AND 1", name="recall_is_share"),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("indexes_of", "indexes", ["segment_id", "created_at"], unique=False)
    op.create_table(
        "calibrations",
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("x", sa.JSON(), nullable=False),
        sa.Column("y", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("evaluation_id"),
    )
    op.create_table(
        "backfills",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("gallery_id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("written", sa.Integer(), nullable=False),
        sa.Column("written_version", sa.Integer(), nullable=False),
        sa.Column("pace", sa.Double(), nullable=True),
        sa.Column("predicted", sa.JSON(), nullable=False),
        sa.Column("measured", sa.JSON(), nullable=False),
        sa.Column("error", sa.String(length=1000), nullable=True),
        sa.Column("runner", sa.String(length=200), nullable=True),
        sa.Column("runs_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("done BETWEEN 0 AND total", name="done_of_total"),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"]),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("backfills_of", "backfills", ["gallery_id", "created_at"], unique=False)
    op.create_index("backfills_added", "backfills", ["created_at", "id"], unique=False)

    op.create_table(
        "store",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("address", sa.String(length=500), nullable=False),
        sa.Column("owner", sa.String(length=40), nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    elsewhere = op.get_bind().scalar(sa.text("SELECT address FROM store WHERE address <> ''"))
    if elsewhere:  # which no earlier release can read, and none would find again
        raise ValueError(f"the galleries are at {elsewhere}: restore a backup into a new home, and go back with that")
    lent = sa.text(
        "SELECT galleries.name FROM galleries JOIN segments ON segments.gallery_id = galleries.id "
        "WHERE segments.backend IS NOT NULL ORDER BY galleries.name"
    )
    gallery = op.get_bind().scalar(lent)
    if gallery:  # an earlier release would look for its vectors in the home
        raise ValueError(f"the gallery {gallery} has vectors in an attached store: detach them, then go back")
    op.drop_table("store")
    op.drop_table("backfills")
    op.drop_table("calibrations")
    op.drop_table("indexes")
    op.drop_column("galleries", "elsewhere")
    op.drop_column("segments", "backend")
