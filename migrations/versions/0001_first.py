"""The first tables: models, versions, galleries, transforms, evidence, and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# What a row says is never changed afterwards, whoever asks: not by the program, not by hand.
FROZEN = {
    "models": ("UPDATE", "DELETE"),
    "versions": ("UPDATE", "DELETE"),
    "transforms": ("UPDATE", "DELETE"),
    "anchor_sets": ("UPDATE", "DELETE"),
    "changes": ("UPDATE", "DELETE"),
}


def freeze() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION samespace_frozen() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% rows are immutable', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
        for table in FROZEN:
            op.execute(
                f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} EXECUTE FUNCTION samespace_frozen()"
            )
    for table, verbs in FROZEN.items():
        for verb in verbs:
            name = f"{table}_no_{verb.lower()}"
            if op.get_bind().dialect.name == "postgresql":
                op.execute(
                    f"CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH ROW EXECUTE FUNCTION samespace_frozen()"
                )
            else:
                op.execute(
                    f"CREATE TRIGGER {name} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{table} rows are immutable'); END"
                )


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(length=50), nullable=False),
        sa.Column("subject", sa.String(length=300), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_changes_at", "changes", ["at"], unique=False)
    op.create_table(
        "galleries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("id_type", sa.String(length=10), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("items_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id_type IN ('string', 'int')", name="id_type_known"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "transforms",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("source", sa.String(length=220), nullable=False),
        sa.Column("target", sa.String(length=220), nullable=False),
        sa.Column("source_dim", sa.Integer(), nullable=False),
        sa.Column("target_dim", sa.Integer(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("run_id", sa.String(length=100), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("source <> target", name="two_spaces"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_index("transforms_ends", "transforms", ["source", "target"], unique=False)
    op.create_table(
        "anchor_sets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("gallery_id", sa.Integer(), nullable=False),
        sa.Column("similarity", sa.String(length=20), nullable=False),
        sa.Column("quantum", sa.Double(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.Column("members", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("quantum >= 0", name="quantum_positive"),
        sa.CheckConstraint("dim >= size", name="dim_of_all_anchors"),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_index("ix_anchor_sets_gallery_id", "anchor_sets", ["gallery_id"], unique=False)
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.Column("metric", sa.String(length=10), nullable=False),
        sa.Column("normalized", sa.Boolean(), nullable=False),
        sa.Column("dtype", sa.String(length=10), nullable=False),
        sa.Column("method", sa.String(length=100), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("source", sa.String(length=1000), nullable=True),
        sa.Column("run_id", sa.String(length=100), nullable=True),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("dtype IN ('float32', 'float16')", name="dtype_known"),
        sa.CheckConstraint("metric IN ('cosine', 'dot', 'l2')", name="metric_known"),
        sa.CheckConstraint("dim BETWEEN 1 AND 65536", name="dim_range"),
        sa.CheckConstraint("number > 0", name="number_positive"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"]),
        sa.ForeignKeyConstraint(["parent_id"], ["versions.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("model_id", "fingerprint"),
        sa.UniqueConstraint("model_id", "number"),
        sa.UniqueConstraint("model_id", "id"),
    )
    op.create_index("ix_versions_parent_id", "versions", ["parent_id"], unique=False)
    op.create_table(
        "aliases",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"]),
        sa.ForeignKeyConstraint(["model_id", "version_id"], ["versions.model_id", "versions.id"]),
        sa.PrimaryKeyConstraint("model_id", "name"),
    )
    op.create_index("ix_aliases_version_id", "aliases", ["version_id"], unique=False)
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("benchmark_id", sa.Integer(), nullable=False),
        sa.Column("query_id", sa.Integer(), nullable=False),
        sa.Column("gallery_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("metric", sa.String(length=20), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("query_path", sa.String(length=400), nullable=False),
        sa.Column("gallery_path", sa.String(length=400), nullable=False),
        sa.Column("kinds", sa.JSON(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("gain", sa.Double(), nullable=False),
        sa.Column("gain_low", sa.Double(), nullable=False),
        sa.Column("gain_high", sa.Double(), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=True),
        sa.Column("queries", sa.Integer(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("measurement", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("role IN ('self', 'naive', 'path')", name="role_known"),
        sa.CheckConstraint("low <= value AND value <= high", name="interval_holds_value"),
        sa.ForeignKeyConstraint(["benchmark_id"], ["galleries.id"]),
        sa.ForeignKeyConstraint(["gallery_id"], ["versions.id"]),
        sa.ForeignKeyConstraint(["query_id"], ["versions.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("evaluations_cell", "evaluations", ["query_id", "gallery_id", "benchmark_id"], unique=False)
    op.create_index("ix_evaluations_benchmark_id", "evaluations", ["benchmark_id"], unique=False)
    op.create_index("ix_evaluations_gallery_id", "evaluations", ["gallery_id"], unique=False)
    op.create_table(
        "segments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("gallery_id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("lance_version", sa.Integer(), nullable=False),
        sa.CheckConstraint("rows >= 0", name="rows_positive"),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"]),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("gallery_id", "version_id"),
    )
    op.create_index("ix_segments_version_id", "segments", ["version_id"], unique=False)
    op.create_table(
        "tags",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("value", sa.String(length=1000), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"]),
        sa.PrimaryKeyConstraint("version_id", "key"),
    )
    freeze()


def downgrade() -> None:
    op.drop_table("tags")
    op.drop_index("ix_segments_version_id", table_name="segments")
    op.drop_table("segments")
    op.drop_index("ix_evaluations_gallery_id", table_name="evaluations")
    op.drop_index("ix_evaluations_benchmark_id", table_name="evaluations")
    op.drop_index("evaluations_cell", table_name="evaluations")
    op.drop_table("evaluations")
    op.drop_index("ix_aliases_version_id", table_name="aliases")
    op.drop_table("aliases")
    op.drop_index("ix_versions_parent_id", table_name="versions")
    op.drop_table("versions")
    op.drop_index("ix_anchor_sets_gallery_id", table_name="anchor_sets")
    op.drop_table("anchor_sets")
    op.drop_index("transforms_ends", table_name="transforms")
    op.drop_table("transforms")
    op.drop_table("models")
    op.drop_table("galleries")
    op.drop_index("ix_changes_at", table_name="changes")
    op.drop_table("changes")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION samespace_frozen()")
