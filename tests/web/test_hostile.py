"""Hostile requests: each is refused with a 4xx, nothing is stored, memory stays, and the next request is answered."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.hostility import (
    ITEMS,
    JSON_BODIES,
    JSON_ROUTES,
    NAMES,
    ROUTES,
    cuts,
    evil_streams,
    fill,
    good,
    misnumbered,
    mutated,
    named,
    state_of,
    stream_of,
)
from bench.measuring import peak_bytes
from registry import connect
from registry.wire import ARROW
from web import create_app

MOST_GROWTH = 100 << 20

LISTS = (
    "models",
    "versions",
    "galleries",
    "transforms",
    "evaluations",
    "studies",
    "backfills",
    "anchor-sets",
    "changes",
    "encoder-checks",
)

PATHS = [
    "/models/{}/versions", "/versions/{}/1", "/galleries/{}", "/galleries/{}/scan?into=products/1", "/transforms/{}/file",
    "/version?ref={}", "/space?name={}", "/version/canaries?ref={}", "/matrix?benchmark={}",
    "/matrix?benchmark=numbers&label={}", "/matrix?benchmark=numbers&metric={}", "/compare?old={}&new=products/1",
    "/compare?old=products/1&new=products/2&benchmark={}", "/galleries/catalog/scan?into={}",
    "/studies/{}", "/studies/{}/items", "/studies?old={}", "/studies?new={}", "/studies?benchmark={}",
    "/backfills/{}", "/backfills?gallery={}", "/backfills?going={}", "/backfills?after={}",
    "/transforms?model={}", "/encoder-checks?ref={}", "/changes?action={}", "/changes?since={}", "/changes?until={}",
    "/galleries/catalog/item?id={}", "/galleries/numbers/item?id={}", "/galleries/catalog/items?after={}",
    "/galleries/catalog/scan?into=products/1&dtype={}", "/galleries/catalog/shared?versions={}",
]  # fmt: skip
"""Every place of an address where something is read by its name."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with connect(tmp_path_factory.mktemp("hostile") / "home") as found:
        fill(found)
        yield found


@pytest.fixture(scope="module")
def client(registry):
    return create_app(registry).test_client()


@pytest.fixture
def post(client):
    """`post(route, body)`: the answer of a route that takes an Arrow stream."""
    return lambda route, body, **headers: client.post(
        f"/api/v1{ROUTES[route]}", data=body, content_type=ARROW, headers=headers
    )


@pytest.fixture(autouse=True)
def unchanged(registry, client):
    """Whatever a test sends: the registry is as it was, and answers."""
    before = state_of(registry)
    yield
    assert state_of(registry) == before
    assert client.get("/api/v1/versions").status_code == 200
    assert sum(len(block) for block in registry.scan("catalog", into="products/1")) == ITEMS


def is_refusal(answer, what):
    assert 400 <= answer.status_code < 500, f"{what}: {answer.status_code} {answer.text:.200}"
    told = answer.json["error"]
    assert told["code"] and told["message"] and "\n" not in told["message"], what
    return True


@pytest.mark.parametrize("route", ROUTES)
def test_evil_streams(post, route):
    for what, body in evil_streams(route):
        answers = []
        grown = peak_bytes(lambda body=body, answers=answers: answers.append(post(route, body)))
        assert is_refusal(answers[0], what)
        assert grown < MOST_GROWTH, f"{what}: {len(body)} bytes took {grown >> 20} MB"


@pytest.mark.parametrize("route", ROUTES)
def test_a_stream_cut_anywhere(post, route):
    for body in list(cuts(stream_of(good(route))))[::7]:
        assert is_refusal(post(route, body), f"cut at {len(body)}")


@pytest.mark.parametrize("route", ["fetch", "search", "convert"])
def test_false_numbers_in_a_header(post, route):
    for what, body in list(misnumbered(stream_of(good(route))))[::3]:
        answer = post(route, body)
        assert answer.status_code == 200 or is_refusal(answer, what)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["fetch", "search", "convert"]), st.integers(0, 2**32))
def test_flipped_bytes(post, route, seed):
    answer = post(route, mutated(stream_of(good(route)), random.Random(seed)))  # noqa: S311 - repeatable, not secret
    assert answer.status_code == 200 or is_refusal(answer, seed)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(ROUTES)), st.binary(max_size=300))
def test_random_bytes(post, route, body):
    assert is_refusal(post(route, body), body)


def test_columns_that_nobody_asked_for_are_passed_over(post):
    batch = good("search")
    assert post("search", stream_of(batch.append_column("note", good("fetch").column(0)))).status_code == 200


def test_an_append_of_no_rows(post):
    assert is_refusal(post("append", stream_of(good("append").slice(0, 0))), "no rows")


@pytest.mark.parametrize(("method", "address"), JSON_ROUTES)
def test_bodies_that_are_no_json(client, method, address):
    for what, body, kind in JSON_BODIES:
        answer = client.open(f"/api/v1{address}", method=method, data=body, content_type=kind or None)
        assert is_refusal(answer, what)


@pytest.mark.parametrize("depth", [33, 300, 600, 950])
def test_a_fingerprint_that_could_not_be_listed_again(client, depth):
    body = '{"dim": 8, "fingerprint": {"x": ' + "[" * depth + "]" * depth + "}}"
    answer = client.post("/api/v1/models/deep/versions", data=body, content_type="application/json")
    assert is_refusal(answer, depth)


@pytest.mark.parametrize("name", ["/galleries", "/models/products/versions", "/version/tags?ref=products/1", "/tokens"])
def test_names_in_bodies(client, name):
    ((method, address),) = [route for route in JSON_ROUTES if route[1] == name]
    for odd in NAMES:
        body = json.dumps(named(JSON_ROUTES[method, address], odd))
        answer = client.open(f"/api/v1{address}", method=method, data=body, content_type="application/json")
        assert is_refusal(answer, odd)


@pytest.mark.parametrize("path", PATHS)
def test_names_in_addresses(client, path):
    for odd in NAMES:
        if odd in ("relative/landmarks", "") or odd.startswith("products/1[:"):
            continue
        text = quote(odd.encode("utf-8", "surrogatepass"), safe="")
        answer = client.get("/api/v1" + path.format(text), follow_redirects=True)
        assert is_refusal(answer, odd)


@pytest.mark.parametrize("cursor", ["x", "\0", "e30", "W10", "9" * 1999, "=====", "é", "../..", "' OR 1=1 --"])
def test_cursors_that_we_did_not_make(client, cursor):
    for kind in LISTS:
        answer = client.get(f"/api/v1/{kind}", query_string={"after": cursor})
        assert answer.status_code == 200 or is_refusal(answer, kind)


@pytest.mark.parametrize("key", ["", "x" * 101, "x" * 60_000, "\t", "a\tb", "\x80", "\xff\xfe\x00"[:2] + "\xad"])
def test_idempotency_keys_that_are_none(post, key):
    stream = stream_of(good("append"))
    assert is_refusal(post("append", stream, **{"Idempotency-Key": key}), key)


def test_headers_that_mean_nothing_here(client):
    plain = client.get("/api/v1/versions")
    for headers in (
        {"X-HTTP-Method-Override": "DELETE"}, {"X-Method-Override": "PUT"}, {"Range": "bytes=0-0"}, {"Range": "bytes=9-1,-"},
        {"If-None-Match": "*"}, {"Accept": "text/x-nothing"}, {"X-Original-URL": "/api/v1/tokens"}, {"Cookie": "session=" + "x" * 5000},
    ):  # fmt: skip
        answer = client.get("/api/v1/versions", headers=headers)
        assert (answer.status_code, answer.data) == (200, plain.data), headers
    for method in ("TRACE", "CONNECT", "PROPFIND", "X" * 100):
        assert 400 <= client.open("/api/v1/versions", method=method).status_code < 500


# Through a socket, as no client would send it


def told(port, request, *, wait=10):
    """What the server answers to these bytes until it closes or is silent; the first line."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        connection.sendall(request)
        with contextlib.suppress(OSError):  # the server may have closed already, having read enough
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
            if b"\r\n\r\n" in answer:
                break
    return answer.split(b"\r\n")[0]


HEAD = b"POST /api/v1/galleries/catalog/append?version=products/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n"


def test_bodies_that_break_off_or_lie(serving, registry):
    stream = stream_of(good("append"))
    server = serving(registry.home)
    requests = [
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: abc\r\n\r\n",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n" + stream,
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        HEAD + b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: %d\r\n\r\n" % (len(stream) + 100) + stream[:-9],
        HEAD + b"Content-Length: %d\r\n\r\n" % len(stream[:-20]) + stream[:-20],
        HEAD + b"\r\n",
        CHUNKED + b"\r\n" + b"%x\r\n" % len(stream) + stream[: len(stream) // 2],
        CHUNKED + b"\r\n" + b"%x\r\n" % 100 + stream[:100] + b"\r\n",
        CHUNKED + b"\r\nzz\r\n" + stream + b"\r\n0\r\n\r\n",
        CHUNKED + b"\r\n-5\r\n" + stream,
        CHUNKED + b"\r\nffffffffffffffff\r\n" + stream,
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n" + stream,
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        HEAD + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST /api/v1/%00%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01" * 50,
        b"GET /api/v1/versions HTTP/1.1\r\nHost: a b\x00c\r\n\r\n",
    ]
    for request in requests:
        line = told(server.port, request)
        assert not line or line.split()[1].startswith(b"4") or line.split()[1] == b"501", (line, request[:200])
        assert server.get("/api/v1/versions")[0] == 200, request[:200]
