"""Whatever an address or a form holds: it is answered or refused in words, never by a failure, and tells no path."""

from __future__ import annotations

import io
import sys
import types

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import FileStorage

from registry.errors import InvalidInput
from registry.settings import Settings
from tests.web.conftest import BENCHMARK
from web import create_app, planner
from web import given as brought

PAGES = {
    "/": ("benchmark", "metric", "label"),
    "/anchors/landmarks": ("metric", "after"),
    "/changes": ("action", "subject", "who", "since", "until", "after"),
    "/compare": ("old", "new", "benchmark", "label", "metric", "sort", "items", "rate", "price", "per", "share"),
    "/compare/groups.csv": ("old", "new", "benchmark", "label", "sort"),
    "/compare/items.csv": ("old", "new", "benchmark", "label"),
    "/galleries": ("q", "benchmarks", "after"),
    "/galleries/catalog": ("label", "value", "after"),
    "/galleries/catalog/items/preview": ("id",),
    "/galleries/catalog/search": ("old", "new", "from", "id", "seed", "k", "text", "label"),
    f"/galleries/{BENCHMARK}": ("label", "value", "after"),
    f"/galleries/{BENCHMARK}/search": ("old", "new", "from", "id", "seed", "k", "text", "label"),
    "/login": ("next",),
    "/matrix": ("benchmark", "label", "metric", "show", "model", "versions"),
    "/matrix.csv": ("benchmark", "label", "metric", "show", "model", "versions"),
    "/models": ("q", "after"),
    "/models/products": ("after", "benchmark", "label", "metric"),
    "/runs": ("experiment", "status", "after"),
}

VALUES = [
    "", "\x00", "a\x00b", "x" * 3000, "'\"%_\\", "../..", "\r\nX: y", "é", "\u202e\U0010ffff", "<script>", "=1+1", "-1", "0", "1",
    "١٢", "9" * 9, "9223372036854775807", "9223372036854775808", "9" * 19, "9" * 40, "1e308", "5e-324", "nan", "-inf", "0.5",
    "products/1", "products/2", "products/0", "products/99999999999999999999", "products@champion", "products@none",
    "products/2[:16]", "products/2[:99999999999999999999]", "relative/landmarks", "relative/", "/", BENCHMARK, "catalog", "class",
    "W10", "WyJtb2RlbHMiLDFd", "[[[[", "{}", ",,,", "2026-01-31", "9999-12-31", "0001-01-01", "2026-02-30", "map", "-gain", "share",
    "RUNNING", "products/*", ",".join(f"products/{i}" for i in range(30)),
]  # fmt: skip


@st.composite
def addresses(draw):
    path = draw(st.sampled_from(sorted(PAGES)))
    names = draw(st.sets(st.sampled_from(PAGES[path]), min_size=1))
    return path, {name: draw(st.sampled_from(VALUES) | st.text(max_size=20)) for name in sorted(names)}


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(addresses())
@example(("/galleries/catalog", {"label": "class", "value": "\x00"}))
@example(("/galleries/catalog/items/preview", {"id": "9" * 19}))
def test_no_parameter_breaks_a_page(client, home, address):
    path, parameters = address
    answer = client.get(path, query_string=parameters)
    assert answer.status_code in (200, 302, 400, 403, 404, 409), answer.text
    assert str(home) not in answer.text
    assert "<script>" not in answer.text


@pytest.mark.parametrize("rate", ["5e-324", "1e-7", "-1", "nan", "inf", "1e308"])
def test_a_rate_that_would_take_for_ever_is_refused(client, rate):
    """It overflowed the time that a backfill takes."""
    with (
        client.application.test_request_context("/compare", query_string={"rate": rate}),
        pytest.raises(InvalidInput, match="rate must be"),
    ):
        planner.wish(10)


@pytest.mark.parametrize("items", ["1e15", "5e-324", "0"])
def test_the_largest_plan_can_be_written(client, items):
    with client.application.test_request_context(
        "/compare", query_string={"rate": "1e-6", "price": "1e15", "items": items}
    ):
        found = planner.plan(planner.wish(10))
        text = client.application.jinja_env.from_string(
            "{{ (3600 * p.hours) | duration }} {{ '%.2f' | format(p.cost) }}"
        )
        assert text.render(p=found)


HEADERS = [
    "(" * 2000, "-" * 3900 + "1", "{'descr': '<f4', 'fortran_order': False, 'shape': " + "-" * 3500 + "(1,)}", "'''", "{'descr': (",
    "\x00" * 99, "", "é" * 50, "{'descr': '|O', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -1), }",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,), }",
]  # fmt: skip


@pytest.mark.parametrize("number", [1, 2, 3, 9])
@pytest.mark.parametrize("header", HEADERS)
def test_a_header_of_numpy_is_read_and_never_believed(header, number):
    """Some of these end NumPy's own reader with errors that it does not promise."""
    length = len(header.encode()).to_bytes(2 if number == 1 else 4, "little")
    data = b"\x93NUMPY" + bytes([number, 0]) + length + header.encode() + np.ones(4, np.float32).tobytes()
    with pytest.raises(InvalidInput, match="is no NumPy file of one vector of numbers"):
        brought.vector(FileStorage(io.BytesIO(data), "x.npy"), "", version="products/1", dim=4)


def test_an_encoder_that_fails_is_told_and_where_it_is_is_not(registry, monkeypatch):
    module = types.ModuleType("hidden_encoders")
    module.broken = lambda texts: [][len(texts)]
    monkeypatch.setitem(sys.modules, "hidden_encoders", module)
    where = "products/1=hidden_encoders:broken,products/2=hidden_encoders:missing"
    client = create_app(registry, settings=Settings(encoders=where)).test_client()
    page = client.get(f"/galleries/{BENCHMARK}/search?old=products/1&new=products/2&text=red")
    assert page.status_code == 200
    assert "the encoder failed: look into this server&#39;s log" in page.text
    assert "The encoder of products/2 cannot be loaded" in page.text
    assert "hidden_encoders" not in page.text
