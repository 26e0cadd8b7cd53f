"""What a service needs: who did it, tokens, answers to repeated requests, webhooks and their deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# Lists are read page by page, paths and matrices among many measurements.
ADDED = {
    "transforms_added": ("transforms", ["created_at", "id"]),
    "evaluations_pair": ("evaluations", ["query_id", "metric", "gallery_id", "id"]),
    "evaluations_stored": ("evaluations", ["gallery_id", "metric", "id"]),
    "evaluations_newest": ("evaluations", ["benchmark_id", "label", "query_id", "gallery_id", "id", "measurement"]),
    "ix_evaluations_measurement": ("evaluations", ["measurement"]),
}
# What they begin with is what these were for.
DROPPED = {
    "evaluations_cell": ("evaluations", ["query_id", "gallery_id", "benchmark_id"]),
    "ix_evaluations_benchmark_id": ("evaluations", ["benchmark_id"]),
    "ix_evaluations_gallery_id": ("evaluations", ["gallery_id"]),
}


def upgrade() -> None:
    op.add_column("changes", sa.Column("who", sa.String(length=120), nullable=True))
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("models", sa.JSON(), nullable=True),
        sa.Column("galleries", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('reader', 'writer', 'admin')", name="role_of_token_known"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "operations",
        sa.Column("who", sa.String(length=120), nullable=False),
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("who", "key"),
    )
    op.create_index("ix_operations_at", "operations", ["at"], unique=False)
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("url", sa.String(length=1000), nullable=False),
        sa.Column("secret", sa.String(length=100), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("webhook_id", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(length=50), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(length=300), nullable=True),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_deliveries_due_at", "deliveries", ["due_at"], unique=False)
    op.create_index("ix_deliveries_webhook_id", "deliveries", ["webhook_id"], unique=False)
    change_indexes(ADDED, DROPPED)


def change_indexes(add: dict[str, tuple[str, list[str]]], drop: dict[str, tuple[str, list[str]]]) -> None:
    for name, (table, columns) in add.items():
        op.create_index(name, table, columns, unique=False)
    for name, (table, _) in drop.items():
        op.drop_index(name, table_name=table)


def downgrade() -> None:
    change_indexes(DROPPED, ADDED)
    for table in ("deliveries", "webhooks", "operations", "tokens"):
        op.drop_table(table)
    op.drop_column("changes", "who")
