"""Webhooks against a real HTTP server on loopback: signed, retried, never lost, never sent for what did not happen."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import socket
import ssl
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sqlalchemy import event as sql_event

from registry import addresses, delivering
from registry.delivering import MOST_ATTEMPTS, Sender, Sent
from registry.errors import AlreadyExists, BadName, InvalidInput, NotFound, Unavailable
from registry.services import deliveries, models
from registry.settings import Settings
from registry.tables import WebhookRow
from registry.transforms import Affine
from registry.types import EVENTS

pytestmark = pytest.mark.embedded  # the sender works on the database

SECRET = "correct horse battery staple"  # noqa: S105 - of these tests alone
LOCAL = ["127.0.0.1"]


class Server(ThreadingHTTPServer):
    request_queue_size = 100  # the five of the base class turn connections away that come at once


class Receiver:
    """A server that keeps what it was sent, and answers as `answer(handler)` does."""

    def __init__(self):
        self.requests = []
        self.answer = lambda handler: reply(handler, 200)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(SimpleNamespace(path=self.path, headers=self.headers, body=body))
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def told(self):
        return [json.loads(request.body) for request in self.requests]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def reply(handler, status, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


class Clock:
    """Moves only when told to. It is ahead, so that what a test did is due."""

    def __init__(self):
        self.at = datetime.now(UTC) + timedelta(hours=1)

    def __call__(self):
        return self.at

    def move(self, **by):
        self.at += timedelta(**by)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sender(reg, clock):
    return Sender(reg._home.database, LOCAL, clock=clock)


@pytest.fixture
def hooked(reg, receiver, monkeypatch):
    """A registry with one webhook for everything."""
    monkeypatch.setenv("SAMESPACE_WEBHOOK_ALLOW", "127.0.0.1")
    reg.add_webhook("ci", receiver.url, secret=SECRET, allowed=LOCAL)
    return reg


# What is told


def test_a_change_is_told_once_and_the_signature_verifies(hooked, receiver, sender):
    made = hooked.register_version("m", dim=4)
    assert receiver.requests == []
    assert sender.send_due() == Sent(delivered=1)
    assert sender.send_due() == Sent()
    (request,) = receiver.requests
    (delivery,) = hooked.deliveries()
    told = json.loads(request.body)
    assert told == {
        "id": delivery.id,
        "event": "version.registered",
        "subject": "m/1",
        "details": {"fingerprint": made.fingerprint, "parent": None, "method": "independent"},
        "at": delivery.created_at.isoformat(),
    }
    assert (request.headers["X-Samespace-Event"], request.headers["X-Samespace-Delivery"]) == (
        told["event"],
        told["id"],
    )
    assert (request.headers["Content-Type"], request.headers["Host"]) == (
        "application/json",
        receiver.url.split("/")[2],
    )
    signed = request.headers["X-Samespace-Timestamp"].encode() + b"." + request.body
    expected = "sha256=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(expected, request.headers["X-Samespace-Signature"])
    assert (delivery.attempts, delivery.due_at, delivery.error) == (1, None, None)
    assert delivery.delivered_at == sender.clock()


def test_the_recipe_of_the_documentation_verifies_it(hooked, receiver):
    hooked.register_version("m", dim=4)
    hooked.send_deliveries()
    (request,) = receiver.requests
    text = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
    found = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], found)  # noqa: S102
    assert found["is_genuine"](SECRET, request.headers, request.body)
    assert not found["is_genuine"](SECRET, request.headers, request.body + b" ")
    assert not found["is_genuine"]("another secret", request.headers, request.body)


def test_a_change_that_is_rolled_back_is_not_told(hooked, receiver, sender):
    given = dict.fromkeys(("source", "parent", "run_id", "fingerprint", "tags"))

    def register_and_fail():
        with hooked._home.database.writing() as session:
            models.register(
                session, "m", dim=4, metric="dot", normalized=False, dtype="float32", method="independent", **given
            )
            assert len(deliveries.deliveries(session)) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        register_and_fail()
    with pytest.raises(NotFound):
        hooked.set_alias("m", "live", 1)
    assert hooked.deliveries() == []
    assert sender.send_due() == Sent()


def test_each_webhook_is_told_of_its_events_only(hooked, receiver, sender):
    hooked.add_webhook("aliases", receiver.url + "/aliases", events=["alias.moved"], allowed=LOCAL)
    hooked.register_version("m", dim=4)
    hooked.register_version("m", dim=4)
    hooked.set_alias("m", "live", 1)
    hooked.set_alias("m", "live", 1)  # moves nothing
    hooked.set_alias("m", "live", 2)
    assert sender.send_due() == Sent(delivered=6)
    moved = [json.loads(r.body) for r in receiver.requests if r.path == "/hook/aliases"]
    assert sorted((m["subject"], m["details"]["from"] or 0, m["details"]["to"]) for m in moved) == [
        ("m@live", 0, 1),
        ("m@live", 1, 2),
    ]
    assert len({told["id"] for told in receiver.told}) == 6


def test_a_changed_verdict_is_told_with_what_it_was(hooked, receiver, sender):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 6
    x = (rng.standard_normal((6, 8))[labels] + 0.5 * rng.standard_normal((60, 8))).astype(np.float32)
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0].astype(np.float32)
    hooked.create_gallery("b", id_type="int", labels=["class"])
    for vectors in (x, x @ turn):
        ref = hooked.register_version("m", dim=8).ref
        hooked.append("b", version=ref, ids=np.arange(60), vectors=vectors, labels={"class": labels})
    sender.send_due()
    receiver.requests.clear()

    hooked.evaluate("b")
    sender.send_due()
    (told,) = receiver.told
    assert (told["event"], told["subject"], told["details"]["label"]) == ("verdict.changed", "b", "class")
    first = {(c["query"], c["gallery"], c["metric"]): (c["from"], c["to"]) for c in told["details"]["changes"]}
    assert set(first) == {(q, g, m) for q, g in (("m/1", "m/2"), ("m/2", "m/1")) for m in ("cmc@1", "map")}
    assert {old for old, _ in first.values()} == {None}
    assert first["m/2", "m/1", "map"][1] == "incompatible"

    hooked.evaluate("b")
    assert sender.send_due() == Sent()  # nothing changed

    hooked.add_transform(Affine(weight=turn.T, bias=np.zeros(8)), source="m/2", target="m/1")
    hooked.evaluate("b")
    sender.send_due()
    changes = receiver.told[-1]["details"]["changes"]
    cell = hooked.matrix("b", metric="map").cell("m/2", "m/1")
    assert (cell.role, cell.verdict) == ("path", "inconclusive")  # the map is exact: as good as m/1, and not better
    change = {"query": "m/2", "gallery": "m/1", "metric": "map", "from": "incompatible", "to": "inconclusive"}
    assert change in changes


def test_the_number_of_statements_does_not_grow_with_webhooks(reg, receiver):
    def statements():
        seen = []

        def note(_connection, _cursor, statement, *_):
            seen.append(statement)

        engine = reg._home.database.engine
        sql_event.listen(engine, "before_cursor_execute", note)
        reg.register_version("m", dim=4)
        sql_event.remove(engine, "before_cursor_execute", note)
        return len(seen)

    reg.register_version("m", dim=4)
    without = statements()
    for i in range(5):
        reg.add_webhook(f"w{i}", receiver.url, allowed=LOCAL)
    assert statements() == without + 1  # all deliveries in one INSERT


# Failures


def test_after_a_failure_it_is_sent_again_later_and_later_and_then_given_up(hooked, receiver, sender, clock, caplog):
    receiver.answer = lambda handler: reply(handler, 500)
    hooked.register_version("m", dim=4)
    for attempt in range(MOST_ATTEMPTS):
        assert sender.send_due() == Sent(failed=1)
        (delivery,) = hooked.deliveries()
        assert (delivery.attempts, delivery.error) == (attempt + 1, "the answer was HTTP 500")
        if attempt + 1 < MOST_ATTEMPTS:
            pause = (delivery.due_at - clock()).total_seconds()
            assert 0.8 <= pause / (10 * 4**attempt) <= 1.2
            clock.move(seconds=pause - 0.001)
            assert sender.send_due() == Sent()
            clock.move(seconds=0.001)
    assert delivery.due_at is None and delivery.delivered_at is None
    assert "webhook ci is not told of version.registered" in caplog.text
    clock.move(days=30)
    assert sender.send_due() == Sent()
    assert len({request.body for request in receiver.requests}) == 1  # the very same each time
    stamps = [request.headers["X-Samespace-Timestamp"] for request in receiver.requests]
    assert len(set(stamps)) == MOST_ATTEMPTS  # each attempt is signed anew


def test_a_receiver_that_recovers_is_told(hooked, receiver, sender, clock):
    receiver.answer = lambda handler: reply(handler, 503)
    hooked.register_version("m", dim=4)
    sender.send_due()
    receiver.answer = lambda handler: reply(handler, 204)
    clock.move(seconds=12)
    assert sender.send_due() == Sent(delivered=1)
    (delivery,) = hooked.deliveries()
    assert (delivery.attempts, delivery.error, delivery.delivered_at) == (2, None, clock())


def drip(handler):
    """One header after the other without an end: no single read is slow."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(200):
            handler.wfile.write(b"X-More: 1\r\n")
            time.sleep(0.02)
    except OSError:
        pass


@pytest.mark.parametrize("kind", ["silent", "dripping"])
def test_the_time_out_is_for_the_whole_answer(hooked, receiver, clock, kind):
    gate = threading.Event()
    receiver.answer = drip if kind == "dripping" else lambda _: gate.wait(10)
    hooked.register_version("m", dim=4)
    started = time.monotonic()
    assert Sender(hooked._home.database, LOCAL, timeout_s=0.2, clock=clock).send_due() == Sent(failed=1)
    assert time.monotonic() - started < 2
    gate.set()
    assert hooked.deliveries()[0].error == "no answer within 0.2 s"


def test_the_body_of_an_answer_is_not_read(hooked, receiver, sender):
    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    receiver.answer = endless
    hooked.register_version("m", dim=4)
    assert sender.send_due() == Sent(delivered=1)


def test_a_redirect_is_not_followed(hooked, receiver, sender):
    receiver.answer = lambda handler: reply(handler, 307, Location=receiver.url + "/elsewhere")
    hooked.register_version("m", dim=4)
    assert sender.send_due() == Sent(failed=1)
    assert [request.path for request in receiver.requests] == ["/hook"]
    assert hooked.deliveries()[0].error == "the answer was HTTP 307, and redirects are not followed"


def test_proxies_of_the_environment_are_not_asked(hooked, receiver, sender, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    hooked.register_version("m", dim=4)
    assert sender.send_due() == Sent(delivered=1)


def test_one_webhook_that_is_down_does_not_hold_up_another(hooked, receiver, sender):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    hooked.add_webhook("down", f"http://127.0.0.1:{closed}/", allowed=LOCAL)
    hooked.register_version("m", dim=4)
    assert sender.send_due() == Sent(delivered=1, failed=1)
    assert {d.webhook: d.error is None for d in hooked.deliveries()} == {"ci": True, "down": False}


# Several senders, and senders that die


def test_what_a_killed_sender_had_taken_is_sent_again(hooked, receiver, sender, clock):
    hooked.register_version("m", dim=4)
    (taken,) = sender._claim()  # and here it is killed
    assert sender.send_due() == Sent()
    clock.move(seconds=121)
    assert sender.send_due() == Sent(delivered=1)
    assert hooked.deliveries()[0].attempts == 2
    with hooked._home.database.writing() as session:  # or it only slept: its failure comes too late to count
        deliveries.settle(session, taken, clock(), error="late", again=clock())
    assert hooked.deliveries()[0].error is None
    assert sender.send_due() == Sent()


def test_a_late_failure_does_not_disturb_the_sender_that_took_over(hooked, sender, clock):
    hooked.register_version("m", dim=4)
    (first,) = sender._claim()
    clock.move(seconds=121)
    (second,) = sender._claim()
    with hooked._home.database.writing() as session:
        deliveries.settle(session, first, clock(), error="late", again=clock())
    assert sender._claim() == []
    assert (first.id, first.attempt, second.attempt) == (second.id, 1, 2)


def test_several_senders_at_once_send_each_delivery_once(hooked, receiver, clock):
    for _ in range(30):
        hooked.register_version("m", dim=4)
    senders = [
        threading.Thread(target=Sender(hooked._home.database, LOCAL, clock=clock).send_due, daemon=True)
        for _ in range(3)
    ]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join()
    assert {d.error for d in hooked.deliveries()} == {None}
    assert sorted(told["subject"] for told in receiver.told) == sorted(f"m/{n}" for n in range(1, 31))


def test_no_transaction_is_open_while_a_receiver_answers(hooked, receiver, sender):
    busy = []

    def answer(handler):
        busy.append(hooked._home.database.engine.pool.checkedout())
        hooked.set_tag("m/1", "told", "yes")  # would wait for the sender, and the sender for it
        reply(handler, 200)

    receiver.answer = answer
    hooked.register_version("m", dim=4)
    assert sender.send_due() == Sent(delivered=1)
    assert busy == [0]


def test_a_webhook_removed_while_it_is_told_is_gone_with_its_deliveries(hooked, receiver, sender):
    def answer(handler):
        hooked.remove_webhook("ci")
        reply(handler, 500)

    receiver.answer = answer
    hooked.register_version("m", dim=4)
    sender.send_due()
    assert (hooked.deliveries(), hooked.webhooks()) == ([], [])


def test_the_thread_in_a_server_sends_and_stops(hooked, receiver, monkeypatch):
    arrived = threading.Event()

    def answer(handler):
        reply(handler, 200)
        arrived.set()

    receiver.answer = answer
    hooked.register_version("m", dim=4)
    real, calls = Sender.send_some, []

    def flaky(self):
        calls.append(1)
        if len(calls) == 1:
            raise Unavailable("the database is away")
        return real(self)

    monkeypatch.setattr(Sender, "send_some", flaky)
    monkeypatch.setattr(delivering, "_POLL_S", 0.001)
    stop = hooked.send_in_background(Settings(webhook_allow="127.0.0.1"))
    assert arrived.wait(10)
    stop()
    assert not [t for t in threading.enumerate() if t.name == "samespace-webhooks"]


# Where it may go


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",  # noqa: S104
        "240.0.0.1", "255.255.255.255", "2130706433", "0x7f.1", "localhost", "LOCALHOST.", "[::1]", "[::]", "[fe80::1]",
        "[fc00::1]", "[ff02::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(lite, host):
    with pytest.raises(InvalidInput, match="not public"):
        lite.add_webhook("w", f"http://{host}/", allowed=())
    assert lite.webhooks() == []


@pytest.mark.parametrize("host", ["93.184.216.34", "[2606:4700::1111]", "[::ffff:93.184.216.34]"])
def test_a_public_address_is_accepted(lite, host):
    assert lite.add_webhook("w", f"https://{host}/x", allowed=())[0].name == "w"


def test_an_allow_list_is_the_only_way(lite, monkeypatch):
    monkeypatch.setenv("SAMESPACE_WEBHOOK_ALLOW", " LocalHost, 127.0.0.1")
    for name, url in (("a", "http://LOCALHOST:8/"), ("b", "http://127.0.0.1/")):
        lite.add_webhook(name, url)
    with pytest.raises(InvalidInput, match=r"host 93\.184\.216\.34 is not on the list"):
        lite.add_webhook("c", "http://93.184.216.34/")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "file:///etc/passwd", "example.com", "", "http://", "https:///x", "http://example.com:0/",
        "http://example.com:70000/", "http://a\n.example/", "http://[::1", "http://example.com/" + "x" * 1000, None, 7,
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused(lite, url):
    with pytest.raises(InvalidInput):
        lite.add_webhook("w", url, allowed=())


def test_credentials_in_a_url_are_refused_and_not_repeated(lite):
    with pytest.raises(InvalidInput, match="user or a password") as refused:
        lite.add_webhook("w", "https://ann:hunter2@example.com/", allowed=())
    assert "hunter2" not in str(refused.value)


@pytest.fixture
def names(monkeypatch):
    """Name -> addresses, as a name server would answer; `asked` keeps what was looked up."""
    known = SimpleNamespace(answers={}, asked=[])
    real = socket.getaddrinfo

    def look_up(host, port, *rest, **more):
        known.asked.append(host)
        if host not in known.answers:
            return real(host, port, *rest, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in known.answers[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def test_a_name_that_turns_private_after_it_was_added_is_not_called(reg, receiver, names, clock):
    names.answers["hook.example"] = ["93.184.216.34"]
    reg.add_webhook("w", f"http://hook.example:{receiver.port}/", allowed=())
    reg.register_version("m", dim=4)
    names.answers["hook.example"] = ["127.0.0.1"]
    assert Sender(reg._home.database, clock=clock).send_due() == Sent(failed=1)
    assert receiver.requests == []
    assert "not public" in reg.deliveries()[0].error


def test_one_private_address_among_public_ones_is_enough_to_refuse(lite, names):
    names.answers["hook.example"] = ["93.184.216.34", "10.0.0.1"]
    with pytest.raises(InvalidInput, match="not public"):
        lite.add_webhook("w", "http://hook.example/", allowed=())


def test_the_address_that_was_checked_is_the_one_called(reg, receiver, names, clock):
    names.answers["hook.example"] = ["127.0.0.2", "127.0.0.1"]  # nobody listens on the first
    reg.add_webhook("w", f"http://Hook.example:{receiver.port}/x?y=1", allowed=["hook.example"])
    reg.register_version("m", dim=4)
    names.asked.clear()
    assert Sender(reg._home.database, ["hook.example"], clock=clock).send_due() == Sent(delivered=1)
    assert names.asked == ["hook.example"]
    (request,) = receiver.requests
    assert (request.path, request.headers["Host"]) == ("/x?y=1", f"hook.example:{receiver.port}")


def test_a_name_nobody_knows_is_named(lite, monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(Unavailable, match=r"host nowhere\.example cannot be looked up"):
        lite.add_webhook("w", "https://nowhere.example/", allowed=())


@pytest.mark.parametrize(("certified", "sent"), [("hook.example", Sent(1, 0)), ("other.example", Sent(0, 1))])
def test_a_certificate_is_checked_for_the_name_and_not_the_address(
    lite, receiver, names, clock, tmp_path, monkeypatch, certified, sent
):
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate(certified))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    asked = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    receiver.server.handle_error = lambda *_: None
    names.answers["hook.example"] = ["127.0.0.1"]
    lite.add_webhook("w", f"https://hook.example:{receiver.port}/", allowed=["hook.example"])
    lite.register_version("m", dim=4)
    assert Sender(lite._home.database, ["hook.example"], clock=clock).send_due() == sent
    assert asked == ["hook.example"]
    assert ("certificate" in (lite.deliveries()[0].error or "")) is (sent.failed == 1)


def certificate(name):
    """A key and a certificate for `name` that it signs itself, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=1))  # fmt: skip
    signed = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False).sign(
        key, hashes.SHA256()
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + signed.public_bytes(pem)


# Secrets, names, and the command line


def test_the_secret_is_given_once_and_is_nowhere_else(reg, receiver, sender, caplog):
    caplog.set_level(logging.DEBUG)
    webhook, secret = reg.add_webhook("w", receiver.url + "/path-token", allowed=LOCAL)
    receiver.answer = lambda handler: reply(handler, 500)
    reg.register_version("m", dim=4)
    (parcel,) = sender._claim()
    sender.clock.move(seconds=121)
    sender.send_due()
    reg.remove_webhook("w")
    assert len(secret) >= 32
    noted = repr((webhook, reg.webhooks(), parcel, reg.deliveries(), reg.changes())) + caplog.text
    assert secret not in noted
    assert "path-token" not in repr((parcel, reg.deliveries(), reg.changes())) + caplog.text
    assert [c.action for c in reg.changes()] == ["webhook.removed", "version.registered", "webhook.added"]
    assert reg.changes()[-1].details == {"host": "127.0.0.1", "events": list(EVENTS)}


def test_two_webhooks_have_two_secrets_and_a_name_is_taken_once(hooked, receiver):
    first = hooked.add_webhook("a", receiver.url, allowed=LOCAL)[1]
    second = hooked.add_webhook("b", receiver.url, allowed=LOCAL)[1]
    assert first != second
    assert [w.name for w in hooked.webhooks()] == ["a", "b", "ci"]
    with pytest.raises(AlreadyExists, match="webhook ci"):
        hooked.add_webhook("ci", receiver.url, allowed=LOCAL)
    with pytest.raises(AlreadyExists) as raised, hooked._home.database.writing() as session:  # somebody was faster
        session.add(WebhookRow(name="ci", url=receiver.url, secret="s3cr3t-of-mine", events=[]))  # noqa: S106
    assert "s3cr3t-of-mine" not in "".join(traceback.format_exception(raised.value))


def test_wrong_events_secrets_and_names_are_refused(lite, receiver):
    for events in ([], "version.registered", ["version.registered", "nonsense"]):
        with pytest.raises(InvalidInput, match="events must be a list of some of"):
            lite.add_webhook("w", receiver.url, events=events, allowed=LOCAL)
    for secret in ("short", "x" * 101, "ü" * 20, "a\nb" * 10):
        with pytest.raises(InvalidInput, match="a secret is 16 to 100") as refused:
            lite.add_webhook("w", receiver.url, secret=secret, allowed=LOCAL)
        assert secret not in str(refused.value)
    with pytest.raises(BadName):
        lite.add_webhook("No Name", receiver.url, allowed=LOCAL)
    with pytest.raises(NotFound, match="there is no webhook 'w'"):
        lite.remove_webhook("w")
    with pytest.raises(InvalidInput, match="limit"):
        lite.deliveries(limit=0)


def test_hosts_are_compared_as_name_servers_do():
    assert addresses.host_of(addresses.parse("https://BÜCHER.example./x")) == "xn--bcher-kva.example"


def test_the_command_line(lite, receiver, samespace, monkeypatch):
    monkeypatch.setenv("SAMESPACE_WEBHOOK_ALLOW", "127.0.0.1")
    home = ("--home", lite.home)
    assert "no webhooks yet" in samespace(*home, "webhook", "list").output
    added = json.loads(samespace(*home, "--json", "webhook", "add", "ci", receiver.url, "-e", "alias.moved").output)
    assert (added["webhook"]["events"], len(added["secret"])) == (["alias.moved"], 43)
    shown = samespace(*home, "webhook", "add", "all", receiver.url).output.splitlines()
    assert len(shown[-1]) == 43
    listed = samespace(*home, "--json", "webhook", "list").output
    assert [w["name"] for w in json.loads(listed)] == ["all", "ci"] and added["secret"] not in listed
    lite.register_version("m", dim=4)
    assert "due" in samespace(*home, "webhook", "deliveries").output
    receiver.answer = lambda handler: reply(handler, 410)
    assert "delivered 0, failed 1" in samespace(*home, "webhook", "send", code=1).output
    assert "HTTP 410" in samespace(*home, "webhook", "deliveries").output
    lite.set_alias("m", "live", 1)
    receiver.answer = lambda handler: reply(handler, 200)
    assert json.loads(samespace(*home, "--json", "webhook", "send").output) == {"delivered": 2, "failed": 0}
    samespace(*home, "webhook", "remove", "ci", code=1)  # nobody says yes
    assert "removed webhook ci" in samespace(*home, "webhook", "remove", "ci", "--yes").output
    assert [w.name for w in lite.webhooks()] == ["all"]
