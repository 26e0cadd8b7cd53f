"""Home: what needs a decision, what may replace what, who sees it, and what it costs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sqlalchemy import event

from registry import connect
from registry.transforms import Prefix
from tests.web.conftest import HOSTILE
from web import create_app

BENCHMARK = "digits-bench"


@pytest.fixture
def urgent(tmp_path):
    """A client of a registry in which one gallery cannot be read, one upgrade fails, one encoder drifts."""
    rng = np.random.default_rng(3)
    labels = np.arange(60) % 3
    old = np.eye(8)[labels] + 0.3 * rng.standard_normal((60, 8))
    with connect(tmp_path / "home") as registry:
        for model in ("hats", "shoes"):
            registry.register_version(model, dim=8)
            registry.register_version(model, dim=16, parent=f"{model}/1")
            registry.create_gallery(f"{model}-bench", id_type="int", labels=["class"])
            for number, x in ((1, old), (2, rng.standard_normal((60, 16)))):
                version = f"{model}/{number}"
                registry.append(
                    f"{model}-bench", version=version, ids=np.arange(60), vectors=x, labels={"class": labels}
                )
            registry.create_gallery(model, id_type="int")
            registry.append(model, version=f"{model}/1", ids=np.arange(60), vectors=old)
        registry.add_transform(Prefix(from_dim=16, to_dim=8), source="shoes/2", target="shoes/1")
        registry.evaluate("shoes-bench")
        registry.add_canaries("hats/2", [HOSTILE, "blue"], np.eye(2, 16, dtype="f4"))
        registry.record_check("hats/2", 0.3, tolerance=0.01, worst=HOSTILE)
        yield create_app(registry).test_client()


def decisions(page):
    """Of each decision on the page its kind."""
    return re.findall(r'class="decision">\s*<span class="verdict (\w+)"', page)


def test_what_needs_a_decision_is_told_with_links_and_a_command(urgent):
    page = urgent.get("/").text
    assert decisions(page) == ["unreadable", "failing", "drifting"]
    for said in ("cannot be read", "loses quality", "encoder drifts", "hats/2 cannot read the 60 vectors"):
        assert said in page
    assert 'href="/compare?old=hats/1&amp;new=hats/2"' in page
    assert 'href="/galleries/shoes"' in page and 'href="/models/hats#hats/2"' in page
    words = re.sub(r"<[^>]+>", "", page)
    assert "samespace compare shoes/1 shoes/2 --benchmark shoes-bench" in words
    assert "nothing" not in words


def test_user_text_is_escaped(urgent, client):
    for page in (urgent.get("/").text, client.get("/").text):
        assert "<script>" not in page
        assert "style=" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in urgent.get("/").text


def test_many_decisions_are_cut_and_the_rest_can_be_opened(tmp_path):
    with connect(tmp_path / "home") as registry:
        for i in range(9):
            registry.register_version(f"m{i}", dim=4)
        page = create_app(registry).test_client().get("/").text
    assert len(decisions(page)) == 9
    assert "<summary>3 more</summary>" in page


def test_nothing_to_decide_is_said(tmp_path):
    x = np.random.default_rng(0).standard_normal((8, 4))
    with connect(tmp_path / "home") as registry:
        registry.register_version("m", dim=4)
        registry.create_gallery("bench", labels=["class"])
        registry.append("bench", version="m/1", ids=list("abcdefgh"), vectors=x, labels={"class": list("aabbccdd")})
        registry.evaluate("bench")
        page = create_app(registry).test_client().get("/").text
    assert "nothing</span> Every model’s current version reads what is stored" in page
    assert "No two versions were measured" in page


def test_advice_is_that_of_compare_and_leads_to_the_closer_look(client, registry):
    page = client.get("/").text
    cards = re.findall(r'<li class="card">.*?</li>\s*(?=<li class="card">|</ul>\s*</section>)', page, re.DOTALL)
    assert len(cards) == 6
    for old, new in (("products/1", "products/2"), ("products/1", "products/3"), ("products/2", "products/4")):
        found = registry.compare(old, new, benchmark=BENCHMARK)
        (card,) = (c for c in cards if f"old={old}&amp;new={new}&amp;benchmark={BENCHMARK}&amp;label=class" in c)
        assert found.advice in card
        assert found.reason.replace("'", "&#39;") in card
        best = max(
            (e for e in found.evaluations if (e.query, e.gallery, e.metric, e.role) == (new, old, "map", "path")),
            key=lambda e: e.value, default=None,
        )  # fmt: skip
        assert (f"{100 * best.value:.1f}" if best else "no path") in card


def test_counts_and_newest_changes(client, registry):
    page = client.get("/").text
    counted = dict(re.findall(r"<dt>([^<]+)</dt><dd>(?:<a[^>]*>)?([^<]+)", page))
    assert (counted["Model"], counted["Versions"], counted["Galleries"], counted["Transforms"]) == ("1", "4", "2", "2")
    assert counted["Stored vectors"] == "1\N{NARROW NO-BREAK SPACE}250"
    assert page.count("<tr>\n        <td") == 8
    assert 'href="/changes"' in page and "benchmark.evaluated" in page


def test_an_empty_registry_shows_the_way_in(empty):
    page = empty.get("/").text
    for said in ("Nothing is registered yet", "reg.register_version", "reg.append", "samespace fit orthogonal"):
        assert said in page
    assert "samespace demo" in re.sub(r"<[^>]+>", "", page)
    assert "What needs a decision" not in page


def test_addresses_of_the_page_before_lead_to_the_matrix(client):
    answer = client.get("/?benchmark=digits-bench&metric=cmc@1")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/matrix?benchmark=digits-bench&metric=cmc@1")
    told = client.get("/?bench=digits-bench")
    assert told.status_code == 400
    assert "no query parameter" in told.text


def test_a_limited_caller_sees_what_is_covered_alone(as_token):
    page = as_token(models=["products"], galleries=[BENCHMARK]).get("/").text
    assert "products/1" in page and BENCHMARK in page and 'class="card"' in page
    assert "catalog" not in page
    assert "Stored vectors" not in page and "What changed last" not in page
    for scope in ({"models": ["faces"]}, {"galleries": ["catalog"]}):
        page = as_token(**scope).get("/").text
        assert BENCHMARK not in page
        assert 'class="card"' not in page
    assert "products/" not in as_token(models=["faces"]).get("/").text


def test_statements_do_not_grow_with_rows(tmp_path):
    x = np.random.default_rng(1).standard_normal((8, 8))
    with connect(tmp_path / "home") as registry:
        client, statements = create_app(registry).test_client(), []
        event.listen(registry._home.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

        def add(model):
            registry.create_gallery(model, labels=["class"])
            for number, dim in ((1, 4), (2, 8)):
                registry.register_version(model, dim=dim)
                registry.append(
                    model, version=f"{model}/{number}", ids=list("abcdefgh"), vectors=x[:, :dim],
                    labels={"class": list("aabbccdd")},
                )  # fmt: skip
            registry.add_transform(Prefix(from_dim=8, to_dim=4), source=f"{model}/2", target=f"{model}/1")
            registry.evaluate(model)

        counts = []
        for block in (range(2), range(2, 8)):
            for i in block:
                add(f"model-{i}")
            client.get("/")  # which reads the graph of transforms once
            statements.clear()
            assert client.get("/").status_code == 200
            counts.append(len(statements))
        assert counts[0] == counts[1] <= 20
