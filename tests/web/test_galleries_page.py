"""Galleries, one gallery and its items: what is shown, what reads what, labels, previews, scopes, and what a page costs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sqlalchemy import event

from registry import connect
from registry.transforms import Prefix
from tests.web.conftest import sign_in
from web import create_app

HOSTILE = "<script>alert(1)</script>\"'&"
ODD = ["a/b?c#d", HOSTILE, "=1+1", "ключ ☃"]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def text_of(page):
    """What a page says, without its marks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))


def cells_of(page, version):
    """What the row of a version says in the table of readers, column by column."""
    table = page.text[page.text.index('class="list readers"') :].partition("</table>")[0]
    (row,) = (
        r for r in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL) if f">{version}</a>" in r.partition("</th>")[0]
    )
    return [
        re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", c)).strip() for c in re.findall(r"<td>(.*?)</td>", row, re.DOTALL)
    ]


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A registry whose gallery has odd ids, pictures and labels, and one whose pictures are elsewhere; tests only read it."""
    with connect(tmp_path_factory.mktemp("odd") / "home") as registry:
        registry.register_version("shoes", dim=4)
        registry.create_gallery("odd", labels=["class"])
        rows = np.eye(4, dtype="float32")
        registry.append("odd", version="shoes/1", ids=ODD, vectors=rows, labels={"class": ["x", "y", HOSTILE, "x"]})
        registry.add_previews("odd", ODD, pictures=[PNG] * 4)
        registry.create_gallery("far", id_type="int")
        registry.append("far", version="shoes/1", ids=[1, 2, 3], vectors=rows[:3])
        registry.set_preview_url("far", "https://images.example:8443/{id}.jpg?x={id}")
        registry.create_gallery("said")
        registry.append("said", version="shoes/1", ids=["t"], vectors=rows[:1])
        registry.add_previews("said", ["t"], texts=[f"a text {HOSTILE}"])
        registry.create_gallery("bare")
        yield registry


@pytest.fixture
def open_odd(odd):
    """`open_odd(path, **query)`: an answer of the server of that registry."""
    client = create_app(odd).test_client()
    return lambda path, **query: client.get(path, query_string=query or None)


# The list


def test_galleries_are_listed_with_what_they_hold(client):
    page = client.get("/galleries")
    said = text_of(page)
    assert 'href="/galleries/digits-bench"' in page.text and 'href="/galleries/catalog"' in page.text
    assert said.count("products/1") == 2 and "products/4" in said
    row = page.text[page.text.index("/galleries/catalog") :].partition("</tr>")[0]
    assert ">50<" in row and 'width="100.0"' in row and "style=" not in page.text


def test_names_and_benchmarks_filter_the_list(client):
    assert "/galleries/catalog" not in client.get("/galleries?benchmarks=1").text
    found = client.get("/galleries", query_string={"q": "CATA"})
    assert "/galleries/catalog" in found.text and "digits-bench" not in found.text
    none = client.get("/galleries", query_string={"q": HOSTILE})
    assert none.status_code == 200 and "<script>alert" not in none.text and "No gallery has" in text_of(none)


def test_a_long_list_is_read_in_parts(tmp_path):
    with connect(tmp_path / "home") as registry:
        for n in range(60):
            registry.create_gallery(f"g{n:02}")
        client = create_app(registry).test_client()
        first = client.get("/galleries?q=g")
        following = re.search(r'href="([^"]+)" rel="next"', first.text)[1].replace("&amp;", "&")
        second = client.get(following)
    listed = [re.findall(r'href="/galleries/(g\d\d)"', page.text) for page in (first, second)]
    assert [len(x) for x in listed] == [50, 10]
    assert [*listed[0], *listed[1]] == [f"g{n:02}" for n in range(60)]


def test_without_galleries_the_list_names_the_command(empty):
    assert "samespace gallery create" in text_of(empty.get("/galleries"))


# Who reads it


def test_each_version_is_told_its_path_and_its_evidence(client, registry):
    page = client.get("/galleries/catalog")
    hits = registry.search("catalog", np.ones((1, 32), dtype="float32"), version="products/2")
    evidence = hits.path["products/1"].evidence
    (cell,) = cells_of(page, "products/2")
    assert evidence.verdict in cell and f"{100 * evidence.value:.1f}" in cell
    assert "prefix, on the query" in cell and hits.path["products/1"].query[0] in cell
    assert "own space" in cells_of(page, "products/1")[0]
    assert "@champion" in page.text


def test_what_nobody_measured_and_what_nothing_leads_to_name_their_commands(tmp_path):
    with connect(tmp_path / "home") as registry:
        for _ in range(3):
            registry.register_version("shoes", dim=4)
        registry.create_gallery("shop")
        registry.append("shop", version="shoes/1", ids=["a"], vectors=np.ones((1, 4)))
        registry.add_transform(Prefix(from_dim=4, to_dim=4), source="shoes/2", target="shoes/1")
        page = create_app(registry).test_client().get("/galleries/shop")
    (unmeasured,), (nothing,) = cells_of(page, "shoes/2"), cells_of(page, "shoes/3")
    assert (
        "not measured" in unmeasured
        and "samespace evaluate BENCHMARK --version shoes/2 --version shoes/1" in unmeasured
    )
    assert "no path" in nothing and "samespace fit orthogonal --source shoes/3 --target shoes/1" in nothing


# Items


def test_items_are_shown_escaped_and_lead_to_a_search(open_odd):
    page = open_odd("/galleries/odd")
    assert page.status_code == 200 and "<script>alert" not in page.text
    for link in ("id=a/b?c%23d", "id=%3D1%2B1"):
        assert link in page.text
    assert page.text.count('src="data:image/png;base64,') == 4


def test_a_label_value_chooses_items(open_odd):
    page = open_odd("/galleries/odd", value="x")
    assert "a/b?c#d" in page.text and "ключ" in page.text and "=1+1" not in page.text
    hostile = open_odd("/galleries/odd", label="class", value=HOSTILE)
    assert "=1+1" in hostile.text and "a/b?c#d" not in hostile.text and "<script>alert" not in hostile.text
    assert "was found" in text_of(open_odd("/galleries/odd", value="nothing"))


def test_pages_of_items_hold_each_item_once(client):
    seen, path = [], "/galleries/digits-bench"
    while path:
        page = client.get(path)
        shown = page.text[page.text.index('<ul class="items">') :]
        seen += re.findall(r'<span class="id">([^<]+)</span>', shown)
        following = re.search(r'href="([^"]+)" rel="next"', page.text)
        path = following and following[1].replace("&amp;", "&").partition("#")[0]
    assert seen == [f"item-{i}" for i in range(300)]


def test_a_filtered_list_goes_on_where_it_ended(client, registry):
    seen, path = [], "/galleries/digits-bench?label=class&value=3"
    while path:
        page = client.get(path)
        seen += re.findall(r'<span class="id">(item-\d+)</span>', page.text[page.text.index('<ul class="items">') :])
        following = re.search(r'href="([^"]+)" rel="next"', page.text)
        path = following and following[1].replace("&amp;", "&").partition("#")[0]
    everything = registry.items("digits-bench", limit=1000).items
    assert seen == [item.id for item in everything if item.labels["class"] == "3"]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/galleries?older=1", 400, "there is no query parameter"),
        ("/galleries?benchmarks=yes", 400, "benchmarks is 1"),
        ("/galleries/nothing", 404, "there is no gallery"),
        ("/galleries/odd?label=colour&value=x", 400, "has no label column"),
        ("/galleries/far?value=x", 400, "value needs a label column"),
        ("/galleries/odd?after=xyz", 400, "is no cursor"),
        ("/galleries/far/items/preview", 400, "a preview is of an item"),
        ("/galleries/far/items/preview?id=x", 400, "are whole numbers"),
        ("/galleries/far/items/preview?id=1", 404, "has no preview"),
    ],
)
def test_a_wrong_address_is_told(open_odd, path, status, says):
    answer = open_odd(path)
    assert answer.status_code == status and says in text_of(answer)


# Previews


def test_a_preview_is_sent_as_what_it_is_and_can_do_nothing(open_odd):
    picture = open_odd("/galleries/odd/items/preview", id=HOSTILE)
    assert picture.data == PNG and picture.mimetype == "image/png"
    assert picture.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    assert picture.headers["Content-Disposition"] == "inline" and picture.headers["Cache-Control"].startswith("private")
    text = open_odd("/galleries/said/items/preview", id="t")
    assert text.mimetype == "text/plain" and text.text == f"a text {HOSTILE}"
    assert "a text &lt;script&gt;" in open_odd("/galleries/said").text


def test_pictures_elsewhere_are_let_in_on_this_page_alone(open_odd):
    page = open_odd("/galleries/far")
    assert "img-src 'self' data: https://images.example:8443;" in page.headers["Content-Security-Policy"]
    assert 'src="https://images.example:8443/1.jpg?x=1"' in page.text and 'referrerpolicy="no-referrer"' in page.text
    assert "images.example" not in open_odd("/galleries/odd").headers["Content-Security-Policy"]


def test_a_gallery_of_nothing_names_the_commands(open_odd):
    assert "samespace gallery append bare" in text_of(open_odd("/galleries/bare"))


# Scopes, and what it costs


@pytest.fixture
def narrow(tmp_path):
    """A client whose token covers one of three models, and two of three galleries that all of them wrote into."""
    with connect(tmp_path / "home") as registry:
        for model in ("mine", "rivals", "lone"):
            registry.register_version(model, dim=4)
        registry.register_version("mine", dim=4)
        for name, other in (("shared", "rivals"), ("apart", "lone"), ("vault", "mine")):
            registry.create_gallery(name, labels=["class"])
            for n, ref in enumerate(dict.fromkeys(["mine/1", f"{other}/1"])):
                ids = [f"{name}-{i}" for i in range(n, n + 4)]
                registry.append(name, version=ref, ids=ids, vectors=np.eye(4), labels={"class": ["a"] * 4})
        registry.append("shared", version="mine/2", ids=["shared-1"], vectors=np.ones((1, 4)))
        registry.append("apart", version="mine/2", ids=["apart-1"], vectors=np.ones((1, 4)))
        for source, target in (("rivals/1", "mine/1"), ("rivals/1", "mine/2"), ("mine/2", "mine/1")):
            registry.add_transform(Prefix(from_dim=4, to_dim=4), source=source, target=target)
        registry.evaluate("shared", versions=["mine/1", "rivals/1"])
        _, text = registry.create_token("ci", role="reader", models=["mine"], galleries=["shared", "apart"])
        yield sign_in(create_app(registry).test_client(), text)


def test_a_narrow_token_sees_nothing_else(narrow):
    shown = ["", "/shared", "/apart", "/shared/search", "/apart/search", "/shared/search?old=mine/1&new=mine/2"]
    for path in shown:
        page = narrow.get(f"/galleries{path}")
        assert page.status_code == 200, path
        assert not any(word in page.text for word in ("rivals", "lone", "vault")), path
    assert "mine/1 cannot read, of versions that your token does not cover" in text_of(
        narrow.get("/galleries/apart/search")
    )
    refused = [
        "/vault",
        "/vault/items/preview?id=x",
        "/vault/search",
        "/shared/search?new=rivals/1",
        "/shared/search?from=vault",
    ]
    for path in refused:
        assert narrow.get(f"/galleries{path}").status_code == 403, path


@pytest.mark.parametrize("path", ["/galleries", "/galleries/shop", "/galleries/fixed/search?new=shoes/2"])
def test_statements_do_not_grow_with_what_is_stored(tmp_path, path):
    counts = []
    with connect(tmp_path / "home") as registry:
        client, statements = create_app(registry).test_client(), []
        event.listen(registry._home.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        registry.create_gallery("shop", labels=["class"])
        registry.register_version("shoes", dim=4)
        registry.register_version("shoes", dim=4)
        registry.create_gallery("fixed")
        three = np.eye(4)[:3]
        registry.append("fixed", version="shoes/1", ids=["x", "y", "z"], vectors=three)
        for v in ("shoes/1", "shoes/2"):
            registry.append("shop", version=v, ids=["x", "y", "z"], vectors=three, labels={"class": ["a", "a", "b"]})
        registry.add_transform(Prefix(from_dim=4, to_dim=4), source="shoes/2", target="shoes/1")
        for _ in range(2):
            for _ in range(3):
                v = registry.register_version("shoes", dim=4).ref
                registry.create_gallery(f"g{v[-1]}")
                for name, labels in (("shop", {"class": ["a", "a", "b"]}), (f"g{v[-1]}", None)):
                    registry.append(name, version=v, ids=["x", "y", "z"], vectors=three, labels=labels)
                registry.add_transform(Prefix(from_dim=4, to_dim=4), source=v, target="shoes/1")
            registry.evaluate("shop")
            client.get(path)  # what is kept from call to call
            statements.clear()
            assert client.get(path).status_code == 200
            counts.append(len(statements))
    assert counts[0] == counts[1], counts
