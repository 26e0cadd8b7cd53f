"""Items over HTTP: previews in base64, ids of any kind as a parameter, and only the versions that a token covers."""

from __future__ import annotations

from base64 import b64encode

import numpy as np
import pyarrow as pa
import pytest

from registry import connect, wire
from web import create_app

PICTURE = b"GIF89a\x00\xff picture"


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """`ask(path, **more)`: the answer to somebody who may use everything; `who=` names another token."""
    with connect(tmp_path_factory.mktemp("items") / "home") as reg:
        for model in ("shoes", "hats"):
            reg.register_version(model, dim=2)
        reg.create_gallery("g", labels=["class"])
        ids, x = ["a/b", "c?d=1&e", "ü"], np.ones((3, 2))
        for model in ("shoes", "hats"):
            reg.append("g", version=f"{model}/1", ids=ids, vectors=x, labels={"class": [1, 2, 3]})
        reg.add_previews("g", ids[:1], pictures=[PICTURE])
        reg.create_gallery("numbers", id_type="int")
        reg.append("numbers", version="hats/1", ids=[7], vectors=x[:1])
        reg.add_previews("numbers", [7], texts=["<b>seven</b>"])
        tokens = {
            "all": reg.create_token("all", role="writer")[1],
            "shoes": reg.create_token("shoes", models=["shoes"], galleries=["g"])[1],
        }
        client = create_app(reg).test_client()

        def send(path, method="GET", who="all", **more):
            headers = {"Authorization": f"Bearer {tokens[who]}"}
            return client.open(f"/api/v1{path}", method=method, headers=headers, **more)

        yield send


def test_pages_of_items_with_previews_in_base64(ask):
    page = ask("/galleries/g/items?limit=2&previews=true").json
    first = {"id": "a/b", "labels": {"class": 1}, "versions": ["shoes/1", "hats/1"], "text": None}
    assert page["items"][0] == {**first, "picture": b64encode(PICTURE).decode()}
    assert page["items"][1] == {**first, "id": "c?d=1&e", "labels": {"class": 2}, "picture": None}
    rest = ask("/galleries/g/items", query_string={"after": page["next"]}).json
    assert ([i["id"] for i in rest["items"]], rest["next"]) == (["ü"], None)
    plain = ask("/galleries/g/items").json["items"]
    assert [i["picture"] for i in plain] == [None] * 3


def test_one_item_by_any_id(ask):
    for id in ("a/b", "c?d=1&e", "ü"):
        assert ask("/galleries/g/item", query_string={"id": id}).json["id"] == id
    assert ask("/galleries/numbers/item?id=7").json == {
        "id": 7, "labels": {}, "versions": ["hats/1"], "picture": None, "text": "<b>seven</b>",
    }  # fmt: skip
    assert ask("/galleries/g/item?id=a").status_code == 404
    for wrong in ("seven", "-7", "7.0", "٧", "9" * 19, "9" * 5000, ""):
        answer = ask("/galleries/numbers/item", query_string={"id": wrong})
        assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_input"), wrong


def test_a_limited_token_sees_the_versions_that_it_covers(ask):
    assert {tuple(i["versions"]) for i in ask("/galleries/g/items", who="shoes").json["items"]} == {("shoes/1",)}
    assert ask("/galleries/g/item?id=a/b", who="shoes").json["versions"] == ["shoes/1"]
    assert ask("/galleries/numbers/item?id=7", who="shoes").status_code == 403


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": pa.array(["ü"])}, "lacks the column 'preview'"),
        ({"id": pa.array(["ü"]), "preview": pa.array([5])}, "must be binary, of pictures, or string, of texts, got int64"),
        ({"id": pa.array([b"c"]), "preview": pa.array([PICTURE])}, "ids of this gallery are of type string"),
        ({"id": pa.array(["ü", None]), "preview": pa.array([PICTURE] * 2)}, "the column 'id' has empty values"),
        ({"id": pa.array(["ü"]), "preview": pa.array([None], pa.binary())}, "the column 'preview' has empty values"),
        ({"id": pa.array(["ü"]), "preview": pa.array([PICTURE], pa.large_binary())}, "string or int64 or binary"),
        ({"id": pa.array(["ü"]), "preview": pa.array(["a text"])}, "the previews of g are pictures, got texts"),
        ({"id": pa.array([], pa.string()), "preview": pa.array([], pa.binary())}, "the batch is empty"),
    ],
)  # fmt: skip
def test_streams_that_are_no_previews(ask, columns, said):
    batch = pa.record_batch(columns)
    body = {"data": b"".join(wire.write(batch.schema, [(batch, {})])), "content_type": wire.ARROW}
    answer = ask("/galleries/g/previews", "POST", **body)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_input")
    assert said in answer.json["error"]["message"]


def test_columns_that_nobody_asked_for_are_passed_over(ask):
    batch = pa.record_batch({"note": pa.array(["x"]), "preview": pa.array([PICTURE]), "id": pa.array(["c?d=1&e"])})
    body = {"data": b"".join(wire.write(batch.schema, [(batch, {})])), "content_type": wire.ARROW}
    assert ask("/galleries/g/previews", "POST", **body).json == {"previews": 1}
    assert ask("/galleries/g/item", query_string={"id": "c?d=1&e"}).json["picture"] == b64encode(PICTURE).decode()
