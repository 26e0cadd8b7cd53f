"""What all pages keep to: headers, hosts, failures in the form that the caller reads, and how numbers are written."""

from __future__ import annotations

import pytest

from registry import errors
from web import assets, create_app
from web.errors import STATUS, status_of
from web.formats import points


def test_what_was_asked_for_is_escaped(client):
    refused = client.get("/changes", query_string={"action": "<script>alert(1)</script>"})
    assert refused.status_code == 400
    assert "&lt;script&gt;" in refused.text and "<script>" not in refused.text
    assert "style=" not in refused.text


@pytest.mark.parametrize(
    "path", ["/", "/changes", "/nothing", "/api/v1/models", "/api/v1/nothing", f"{assets.prefix()}/css/base.css"]
)
def test_every_answer_is_hardened(client, path):
    headers = client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_a_missing_page_is_a_page(client):
    page = client.get("/nothing")
    assert page.status_code == 404
    assert page.mimetype == "text/html"
    assert "Not Found" in page.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8321", "a b"])
def test_other_hosts_are_refused(client, host):
    assert client.get("/api/v1/models", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:8321", "127.0.0.1", "[::1]:8321"])
def test_this_machine_is_served(client, host):
    assert client.get("/api/v1/models", headers={"Host": host}).status_code == 200


def every_error():
    found = [errors.SamespaceError]
    for cls in found:
        found += cls.__subclasses__()
    return [cls for cls in found if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", every_error())
def test_every_error_has_a_status(cls):
    assert cls in STATUS
    assert status_of(cls("x")) == STATUS[cls]


def test_a_newer_error_takes_the_status_above_it():
    class Newer(errors.NotFound):
        pass

    assert status_of(Newer("x")) == 404


@pytest.mark.parametrize("path", ["/", "/api/v1/models", "/readyz"])
def test_an_unexpected_failure_tells_no_details(path):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("secret")

    answer = create_app(Broken()).test_client().get(path)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Content-Security-Policy" in answer.headers


def test_an_unreachable_store_asks_to_come_back():
    class Down:
        def __getattr__(self, name):
            raise errors.Unavailable("the database did not answer")

    answer = create_app(Down()).test_client().get("/api/v1/models")
    assert answer.status_code == 503
    error = answer.json["error"]
    assert (error["code"], error["message"]) == ("unavailable", "the database did not answer")
    assert error["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["Retry-After"]


def test_written_numbers():
    assert [points(x) for x in (0.0213, -0.0213, 0.0001, -0.0001)] == ["+2.1", "−2.1", "0.0", "0.0"]
