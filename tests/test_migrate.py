"""docs/migrate.md does what it says: its commands are run as they are written, on a table of pgvector."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "migrate.md").read_text(encoding="utf-8")
CLASSES, OLD, NEW = 8, 32, 48


@pytest.fixture
def embed():
    """Two models of the same items: `embed(labels, seed)` gives (n, 32) and (n, 48), the newer one less noisy."""
    made = np.random.default_rng(5)
    centres = made.standard_normal((CLASSES, OLD)) * 1.2
    turn = np.linalg.qr(made.standard_normal((NEW, NEW)))[0][:OLD]

    def run(labels, seed):
        noise = np.random.default_rng(seed)
        item = centres[labels] + 0.9 * noise.standard_normal((len(labels), OLD))
        return (item + 2.0 * noise.standard_normal(item.shape)).astype("f4"), (item @ turn).astype("f4")

    return run


@pytest.mark.postgres
def test_the_commands_step_by_step(tmp_path, monkeypatch, samespace, postgres_url, embed):
    where = postgres_url.replace("postgresql+psycopg://", "postgresql://")
    labels = np.arange(600) % CLASSES
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute(f"CREATE TABLE items (id text PRIMARY KEY, class text, embedding vector({OLD}))")
        rows = [(f"i{n}", f"c{labels[n]}", str(v.tolist())) for n, v in enumerate(embed(labels, 1)[0])]
        connection.cursor().executemany("INSERT INTO items VALUES (%s, %s, %s)", rows)
        connection.execute("CREATE INDEX ON items USING hnsw (embedding vector_cosine_ops)")
        before = connection.execute("SELECT md5(string_agg(items::text, '' ORDER BY id)) FROM items").fetchone()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAMESPACE_HOME", "./home")
    for name, ids, seed in (("sample", [f"s{n}" for n in range(500)], 2), ("later", [f"n{n}" for n in range(40)], 3)):
        of = np.arange(len(ids)) % CLASSES
        old, new = embed(of, seed)
        lists = {
            k: pa.FixedSizeListArray.from_arrays(pa.array(v.ravel()), v.shape[1])
            for k, v in (("old", old), ("new", new))
        }
        pq.write_table(pa.table({"id": ids, "class": [f"c{n}" for n in of], **lists}), f"{name}.parquet")
    asked = np.arange(64) % CLASSES
    for name, queries in zip(("old", "new"), embed(asked, 4), strict=True):
        np.save(f"{name}-queries.npy", queries)
    commands = [
        shlex.split(line) for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
    ]
    assert len(commands) == 17
    found = {}
    for number, command in enumerate(commands):
        asked_for = [where if part.startswith("postgresql://") else part for part in command[1:]]
        found[number] = samespace("--json", *asked_for).stdout
    answer = json.loads(next(out for n, out in found.items() if commands[n][1] == "compare"))
    assert answer["advice"] in ("upgrade without backfill", "bridge with a transform")
    hits = {n: json.loads(out)["hits"] for n, out in found.items() if commands[n][1:3] == ["gallery", "search"]}
    by_label = {f"i{n}": c for n, c in enumerate(labels)} | {f"n{n}": n % CLASSES for n in range(40)}
    right = [np.mean([by_label[h[0]["id"]] == c for h, c in zip(found, asked, strict=True)]) for found in hits.values()]
    assert right[1] > right[0] + 0.02, "new queries find more in the old table than old queries do"
    assert right[2] == right[1] <= right[3] + 0.05
    assert pq.read_metadata("all.parquet").num_rows == 640
    with psycopg.connect(where, autocommit=True) as connection:
        after = connection.execute("SELECT md5(string_agg(items::text, '' ORDER BY id)) FROM items").fetchone()
    assert after == before, "the table is as it was"
