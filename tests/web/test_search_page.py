"""One query in two versions over a gallery: the lists and their movements, queries of all kinds, refusals, and encoders."""

from __future__ import annotations

import base64
import http.server
import io
import json
import re
import threading

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from registry import connect
from registry.encoding import encoded, encoders
from registry.errors import DimensionMismatch, InvalidInput, Unavailable
from registry.settings import Settings
from registry.transforms import Prefix
from tests.web.conftest import csrf_of
from web import create_app, given
from web.ranked import Found, ranked, summary, tracks

HOSTILE = "<script>alert(1)</script>\"'&"
PAIR = {"old": "products/1", "new": "products/2"}
BENCH = "/galleries/digits-bench/search"


def text_of(page):
    """What a page says, without its marks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))


def lists(page):
    """The ids of both lists in order, and what each item says."""
    found = []
    for which in ("old", "new"):
        body = page.text[page.text.index(f'class="list-of {which}') :].partition("</ol>")[0]
        rows = re.findall(r'<li class="hit[^"]*">(.*?)</li>', body, re.DOTALL)
        found.append(
            [(re.search(r'class="id"[^>]*>([^<]*)<', row)[1], re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row))) for row in rows]
        )  # fmt: skip
    return found


def own(registry, ref, id):
    return registry.own_vectors("digits-bench", id, versions=[ref])[ref][None]


# Both lists


def test_both_lists_are_those_of_a_search_without_the_query_itself(client, registry):
    page = client.get(BENCH, query_string={**PAIR, "id": "item-7", "k": 8})
    for ref, found in zip(PAIR.values(), lists(page), strict=True):
        hits = registry.search("digits-bench", own(registry, ref, "item-7"), version=ref, k=9)
        assert [id for id, _ in found] == [id for id in hits.ids[0] if id != "item-7"][:8]


def test_right_and_wrong_and_movements_agree_with_the_labels_and_ranks(client, registry):
    old, new = lists(client.get(BENCH, query_string={**PAIR, "id": "item-7", "k": 20}))
    label = registry.item("digits-bench", "item-7").labels["class"]
    before = {id: rank for rank, (id, _) in enumerate(old)}
    assert {id for id, _ in old} & {id for id, _ in new} and {id for id, _ in old} ^ {id for id, _ in new}
    for rank, (id, says) in enumerate(new):
        right = registry.item("digits-bench", id).labels["class"] == label
        assert ("right" in says) == right and ("wrong" in says) != right
        moved = None if id not in before else before[id] - rank
        word = (
            "new" if moved is None else "same rank" if not moved else f"{'up' if moved > 0 else 'down'} by {abs(moved)}"
        )
        assert word in says
    gone = [says for id, says in old if id not in {id for id, _ in new}]
    assert gone and all("gone" in says for says in gone)


def test_the_sentence_counts_what_stays_and_how_many_are_right(client):
    page = client.get(BENCH, query_string={**PAIR, "id": "item-7"})
    old, new = lists(page)
    stay = len({id for id, _ in old} & {id for id, _ in new})
    shares = [sum("right" in says for _, says in found) / 10 for found in (old, new)]
    assert f"{stay} of 10 results stay; precision at 10 goes from {shares[0]:.2f} to {shares[1]:.2f}." in text_of(page)
    assert "within one list only" in text_of(page)


def test_another_gallery_is_searched_with_items_of_a_benchmark(client, registry):
    page = client.get("/galleries/catalog/search", query_string={**PAIR, "id": "item-7"})
    assert "of digits-bench" in text_of(page)
    hits = registry.search("catalog", own(registry, "products/2", "item-7"), version="products/2", k=10)
    assert [int(id) for id, _ in lists(page)[1]] == hits.ids[0].tolist()


def test_without_any_parameter_it_shows_the_version_in_use_against_what_is_stored(client):
    page = client.get("/galleries/catalog/search")
    assert 'name="old" list="versions" value="products/1"' in page.text
    assert 'name="new" list="versions" value="products/2"' in page.text
    assert len(lists(page)[0]) == 10


def test_a_seed_is_an_address(client):
    pages = [client.get(BENCH, query_string={**PAIR, "seed": seed}).text for seed in (5, 5, 6)]
    chosen = [re.search(r'<p class="id">([^<]+)<', page)[1] for page in pages]
    assert chosen[0] == chosen[1] != chosen[2]
    assert "seed=6" in pages[0]


# Refusals


def test_what_nothing_leads_to_is_told_and_the_other_side_answers(client):
    page = client.get("/galleries/catalog/search", query_string={"old": "products/1", "new": "products/4"})
    assert page.status_code == 200
    said = text_of(page)
    assert (
        "products/4 and products/1 cannot be compared" in said
        and "samespace fit orthogonal --source products/4" in said
    )
    assert len(re.findall(r'<li class="hit', page.text)) == 10 and "results stay" not in said


def test_what_nobody_measured_is_never_searched(tmp_path):
    with connect(tmp_path / "home") as registry:
        for _ in range(2):
            registry.register_version("shoes", dim=4)
        registry.create_gallery("shop")
        registry.create_gallery("both")
        for name, version in (("shop", 1), ("both", 1), ("both", 2)):
            registry.append(name, version=f"shoes/{version}", ids=[*"abcd"], vectors=np.eye(4))
        registry.add_transform(Prefix(from_dim=4, to_dim=4), source="shoes/2", target="shoes/1")
        page = create_app(registry).test_client().get("/galleries/shop/search?old=shoes/1&new=shoes/2")
    assert page.status_code == 200 and "nobody measured how well" in text_of(page) and "not measured" in text_of(page)
    assert len(re.findall(r'<li class="hit', page.text)) == 4


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ({"older": "1"}, 400, "there is no query parameter"),
        ({"k": "51"}, 400, "from 1 to 50"),
        ({"k": "0"}, 400, "whole number from 1"),
        ({"new": "products/1"}, 400, "needs two versions"),
        ({"new": "products/9"}, 404, "there is no version products/9"),
        ({"id": HOSTILE}, 404, "&lt;script&gt;"),
        ({"from": "catalog"}, 400, "did not both embed"),
        ({"from": HOSTILE}, 400, "did not both embed"),
        ({"label": "colour"}, 400, "has no label column"),
    ],
)
def test_a_wrong_address_is_told(client, query, status, says):
    page = client.get(BENCH, query_string={**PAIR, "id": "item-7", **query})
    assert page.status_code == status and says in page.text and "<script>alert" not in page.text


def test_ids_of_any_characters_are_searched_with(tmp_path):
    ids = ["a/b?c#d", HOSTILE, "=1+1", "ключ ☃", "x&y=z"]
    with connect(tmp_path / "home") as registry:
        for _ in range(2):
            registry.register_version("shoes", dim=5)
        registry.create_gallery("odd", labels=["class"])
        for version in (1, 2):
            registry.append(
                "odd", version=f"shoes/{version}", ids=ids, vectors=np.eye(5) + 0.1, labels={"class": [*"aabbb"]}
            )
        client = create_app(registry).test_client()
        registry.add_transform(Prefix(from_dim=5, to_dim=5), source="shoes/2", target="shoes/1")
        registry.evaluate("odd", versions=["shoes/1", "shoes/2"])
        for id in ids:
            page = client.get("/galleries/odd/search", query_string={"old": "shoes/1", "new": "shoes/2", "id": id})
            assert page.status_code == 200 and "<script>alert" not in page.text
            assert len(lists(page)[0]) == 4


# Vectors that a form brings


def send(client, path=BENCH, **form):
    token = csrf_of(client.get(BENCH, query_string=PAIR))
    return client.post(path, query_string=PAIR, data={"csrf_token": token, **form})


def saved(array):
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()


def test_vectors_are_searched_with_and_a_missing_side_is_told(client, registry):
    vector = own(registry, "products/2", "item-7")[0]
    for form in (
        {"new_numbers": ", ".join(map(str, vector))},
        {"new_numbers": json.dumps([vector.tolist()])},
        {"new_file": (io.BytesIO(saved(vector)), "query.npy")},
        {"new_file": (io.BytesIO(saved(vector[None].astype("float64"))), "query.npy")},
        {"new_file": (io.BytesIO("\n".join(map(str, vector)).encode()), "query.csv")},
    ):
        page = send(client, **form)
        assert page.status_code == 200, text_of(page)
        found = re.findall(r'<li class="hit[^"]*">.*?class="id"[^>]*>([^<]*)<', page.text, re.DOTALL)
        hits = registry.search("digits-bench", vector[None], version="products/2", k=10)
        assert found == list(hits.ids[0])
        assert "There is no query as products/1 embeds it" in text_of(page)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({}, "brings no query"),
        ({"old_numbers": "1, 2, 3"}, "has 3 dimensions, products/1 has 16"),
        ({"old_numbers": "one, two"}, "is no list of numbers"),
        ({"old_numbers": "[" * 5000}, "is no list of numbers"),
        ({"old_numbers": json.dumps([[1.0] * 16] * 2)}, "give one vector, not several"),
        ({"old_numbers": ",".join(["0"] * 16)}, "holds only zeros"),
        ({"old_numbers": ",".join(["nan"] * 16)}, "holds NaN or infinity"),
        ({"old_file": b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 60}, "is no NumPy file"),
        ({"old_file": saved(np.array([{}], dtype=object))}, "is no NumPy file"),
        ({"old_file": saved(np.ones(16)).replace(b"(16,)", b"(10**9,)")}, "is no NumPy file"),
        ({"picture": b"<svg/>"}, "is no PNG, JPEG, WebP or GIF file"),
    ],
)
def test_what_is_no_vector_is_refused_on_the_page(client, form, says):
    sent = {name: (io.BytesIO(value), "q") if isinstance(value, bytes) else value for name, value in form.items()}
    page = send(client, **sent)
    assert page.status_code == 400 and says in text_of(page)


def test_a_form_of_another_site_is_refused(client):
    assert client.post(BENCH, query_string=PAIR, data={"old_numbers": "1"}).status_code == 403


@for_all(st.binary(max_size=300))
def test_any_bytes_are_a_vector_or_refused(data):
    class File:
        def read(self):
            return data

    try:
        found = given.vector(File(), "", version="m/1", dim=2)
    except InvalidInput:
        return
    assert found is None or (found.shape == (2,) and np.isfinite(found).all())


# Movements


@for_all(st.permutations(range(8)), st.permutations(range(8)), st.integers(1, 8))
def test_movements_add_up(left, right, k):
    old, new = (Found(v, ids[:k], [1.0] * k) for v, ids in (("m/1", left), ("m/2", right)))
    before, after = ranked(old, new, {}, None)
    for hit in after.hits:
        if hit.other is None:
            assert hit.move == "new"
        else:
            assert hit.other - hit.rank == (hit.by if hit.move == "up" else -hit.by)
    stay = sum(hit.other is not None for hit in before.hits)
    assert summary(before, after) == f"{stay} of {k} results stay."
    assert len(tracks(before, after)) == 2 * k - stay


# Encoders


def embed(inputs):
    """An encoder of texts and pictures, as a function."""
    rows = [float(len(x)) if isinstance(x, str) else float(np.asarray(x).size) for x in inputs]
    return np.outer(rows, np.ones(16)) + np.arange(16)


class Encoding(http.server.BaseHTTPRequestHandler):
    """An encoder at an address: its vectors, or what a test wants it to answer."""

    answer: tuple[int, bytes] | None = None
    asked: dict = {}  # noqa: RUF012 - of one test

    def do_POST(self):
        type(self).asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        n = len(next(iter(self.asked.values())))
        status, body = self.answer or (200, json.dumps({"vectors": [[1.0] * 32] * n}).encode())
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def remote():
    """The address of an encoder, and its handler."""

    class Own(Encoding):
        pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Own)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/encode", Own
    server.shutdown()
    server.server_close()


def test_a_text_is_searched_for_where_encoders_are_configured(registry, remote):
    where, handler = remote
    settings = Settings(encoders=f"products/1=tests.web.test_search_page:embed,products/2={where}")
    client = create_app(registry, settings=settings).test_client()
    page = client.get(BENCH, query_string={**PAIR, "text": f"red {HOSTILE}"})
    assert page.status_code == 200 and "<script>alert" not in page.text
    assert handler.asked == {"texts": [f"red {HOSTILE}"]}
    hits = registry.search("digits-bench", embed([f"red {HOSTILE}"]), version="products/1", k=10)
    assert [id for id, _ in lists(page)[0]] == list(hits.ids[0])
    assert len(lists(page)[1]) == 10


def test_a_picture_is_searched_for(registry, remote):
    from PIL import Image

    held = io.BytesIO()
    Image.new("L", (3, 2), 7).save(held, "PNG")
    where, handler = remote
    settings = Settings(encoders=f"products/1=tests.web.test_search_page:embed,products/2={where}")
    client = create_app(registry, settings=settings).test_client()
    page = send(client, picture=(io.BytesIO(held.getvalue()), "seven.png"))
    assert page.status_code == 200 and len(lists(page)[0]) == len(lists(page)[1]) == 10
    assert base64.b64decode(handler.asked["pictures"][0]) == held.getvalue()


def test_without_encoders_no_text_is_offered(client):
    assert 'name="text"' not in client.get(BENCH, query_string=PAIR).text
    assert "No encoder of products/1 is configured" in text_of(client.get(BENCH, query_string={**PAIR, "text": "red"}))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((500, b""), Unavailable),
        ((302, b""), Unavailable),
        ((200, b"nothing"), Unavailable),
        ((200, b'{"vectors": [[1, 2]]}'), DimensionMismatch),
        ((200, b'{"vectors": "all"}'), InvalidInput),
        ((200, json.dumps({"vectors": [[1.0] * 32] * 2}).encode()), InvalidInput),
    ],
)
def test_an_answer_that_is_no_vector_is_refused(remote, answer, error):
    where, handler = remote
    handler.answer = answer
    with pytest.raises(error):
        encoded(where, {"texts": ["red"]}, version="products/2", dim=32)


@pytest.mark.parametrize(
    "text",
    [
        "products/1",
        "products/1=ftp://x/y",
        "products/1=os",
        "products@live=a:b",
        "a/1=a:b,a/1=c:d",
        "p/1=http://u:p@h/",
    ],
)
def test_encoders_that_are_none_are_refused(text):
    with pytest.raises(InvalidInput):
        encoders(text)


def test_encoders_are_listed_by_version():
    found = encoders(" products/1=a.b:c, m/2=https://h/e ,")
    assert found == {"products/1": "a.b:c", "m/2": "https://h/e"}
