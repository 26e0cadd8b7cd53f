"""What the pages look closer at: studies of upgrades, checks of encoders, previews of items, filters of the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# The audit log is read by action, subject or who.
ADDED = {
    "changes_of_action": ("changes", ["action", "id"]),
    "changes_of_subject": ("changes", ["subject", "id"]),
    "changes_of_who": ("changes", ["who", "id"]),
    "transforms_into": ("transforms", ["target", "source"]),
    # Runs lead to what they made.
    "transforms_of_run": ("transforms", ["run_id"]),
    "versions_of_run": ("versions", ["run_id"]),
}


def upgrade() -> None:
    op.add_column("galleries", sa.Column("preview", sa.String(length=10), nullable=True))
    op.add_column("galleries", sa.Column("previews_version", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("galleries", sa.Column("previews", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("galleries", sa.Column("preview_url", sa.String(length=1000), nullable=True))
    op.create_table(
        "encoder_checks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deviation", sa.Double(), nullable=False),
        sa.Column("tolerance", sa.Double(), nullable=False),
        sa.Column("worst", sa.String(length=300), nullable=False),
        sa.Column("who", sa.String(length=120), nullable=True),
        sa.CheckConstraint("deviation >= 0", name="deviation_positive"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("encoder_checks_newest", "encoder_checks", ["version_id", "id"], unique=False)
    op.create_table(
        "studies",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("benchmark_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("old_id", sa.Integer(), nullable=False),
        sa.Column("new_id", sa.Integer(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["benchmark_id"], ["galleries.id"]),
        sa.ForeignKeyConstraint(["old_id"], ["versions.id"]),
        sa.ForeignKeyConstraint(["new_id"], ["versions.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("studies_of", "studies", ["old_id", "new_id", "benchmark_id", "label", "created_at"], unique=False)
    op.create_index("studies_added", "studies", ["created_at", "id"], unique=False)
    for name, (table, columns) in ADDED.items():
        op.create_index(name, table, columns, unique=False)


def downgrade() -> None:
    for name, (table, _) in ADDED.items():
        op.drop_index(name, table_name=table)
    op.drop_table("studies")
    op.drop_table("encoder_checks")
    for column in ("preview_url", "previews", "previews_version", "preview"):
        op.drop_column("galleries", column)
