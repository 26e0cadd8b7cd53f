"""Canaries: inputs whose vectors a version's encoder must go on giving."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

VERBS = ("UPDATE", "DELETE")


def upgrade() -> None:
    op.create_table(
        "canaries",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("count > 0", name="count_positive"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"]),
        sa.PrimaryKeyConstraint("version_id"),
    )
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        op.execute(
            "CREATE TRIGGER canaries_no_truncate BEFORE TRUNCATE ON canaries EXECUTE FUNCTION samespace_frozen()"
        )
    for verb in VERBS:
        then = (
            "FOR EACH ROW EXECUTE FUNCTION samespace_frozen()"
            if postgresql
            else "BEGIN SELECT RAISE(ABORT, 'canaries rows are immutable'); END"
        )
        op.execute(f"CREATE TRIGGER canaries_no_{verb.lower()} BEFORE {verb} ON canaries {then}")


def downgrade() -> None:
    op.drop_table("canaries")
