"""`samespace doctor`: it finds each fault that is planted, and removes only what nobody needs."""

from __future__ import annotations

import os
import time
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from registry import doctor, gallery, installed
from registry.database import Database, address_in
from registry.doctor import examine, examine_variables, settings_now
from registry.findings import has_problem
from registry.installed import examine_installed
from registry.inventory import inventory
from registry.layout import Layout
from registry.orphans import orphans, remove_orphans
from registry.settings import Settings, variable
from registry.tables import ChangeRow, WebhookRow, now

OLD = time.time() - 2 * 86400


pytestmark = pytest.mark.embedded  # it looks into the home


@pytest.fixture
def held(reg, home, database_url, rows):
    """A registry with a gallery, its layout, and its database."""
    reg.register_version("m", dim=4)
    reg.create_gallery("g")
    reg.append("g", version="m/1", ids=["a", "b"], vectors=rows(2, 4))
    reg.append("g", version="m/1", ids=["c"], vectors=rows(1, 4, 1))
    home.chmod(0o700)
    database = Database(database_url or address_in(home / "registry.db"))
    yield Layout(home), database
    database.close()


def of(findings, what):
    return next(f for f in findings if f.what == what)


def age(path: Path):
    """Let a file, or a folder with all that is in it, be two days old."""
    for file in (path, *path.rglob("*")):
        os.utime(file, (OLD, OLD))


def test_what_is_in_order(held):
    findings, left = examine(*held)
    assert {f.level for f in findings} == {"ok"}
    assert left == []


def test_orphans_are_found_and_removed_once_they_are_old(held, reg, rows, database_url):
    layout, database = held
    segment = Path(layout.segment_of("g", "m/1"))
    staged = segment / "data" / "staged.lance"
    planted = {
        "folder of no gallery": layout.root / "galleries" / "gone" / "m-1.lance" / "data" / "x.lance",
        "dataset of no segment": layout.root / "galleries" / "g" / "m-2.lance" / "data" / "x.lance",
        "file of no transform": layout.transforms / "prefix-0.safetensors.1.part",
        "file of no canaries": layout.canaries / "m-9.safetensors",
        "file of no study": layout.studies / "study-0.arrow",
        "staged data of a killed append": staged,
    }
    for file in planted.values():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12345")
    assert examine(*held)[1] == []  # a write may be under way
    for folder in (layout.root / "galleries" / "gone", layout.root / "galleries" / "g" / "m-2.lance"):
        age(folder)
    for file in planted.values():
        age(file)
    young = segment / "data" / "young.lance"
    young.write_bytes(b"1")  # of a long append, whose first files are old: all of them stay
    findings, left = examine(*held)
    assert {orphan.what for orphan in left} == planted.keys() - {"staged data of a killed append"}
    young.unlink()
    findings, left = examine(*held)
    assert {orphan.what for orphan in left} == planted.keys()
    assert all(orphan.bytes >= 5 for orphan in left)
    warned = [f for f in findings if f.what == "left behind"]
    assert {f.level for f in warned} == {"warning"} and all("doctor --fix" in f.mend for f in warned)
    assert not has_problem(findings)
    assert {orphan.path for orphan in remove_orphans(database, layout)} == {orphan.path for orphan in left}
    assert not any(file.exists() for file in planted.values())
    assert examine(*held)[1] == []
    assert sorted(reg.fetch("g", ids=["a", "b", "c"], into="m/1").ids) == ["a", "b", "c"]
    reg.append("g", version="m/1", ids=["d"], vectors=rows(1, 4, 2))


def test_old_states_go_and_the_acknowledged_one_stays(held, reg, rows, monkeypatch):
    layout, database = held
    monkeypatch.setattr(gallery, "KEPT_FOR", timedelta(0))
    findings, left = examine(layout, database)
    assert [(o.what, o.path.name) for o in left] == [
        ("old Lance versions", "items.lance"),
        ("old Lance versions", "m-1.lance"),
    ]
    assert of(findings, "left behind").level == "ok"
    assert sum(o.bytes for o in remove_orphans(database, layout)) == sum(o.bytes for o in left) > 0
    assert examine(layout, database)[1] == []
    assert reg.delete("g", ["a"]) == 1
    assert reg.gallery("g").items == 2


def test_an_unacknowledged_state_is_left_to_the_next_write(held, reg, rows, monkeypatch):
    import lance

    layout, database = held
    monkeypatch.setattr(gallery, "KEPT_FOR", timedelta(0))
    uri = str(layout.segment_of("g", "m/1"))
    lance.write_dataset(lance.dataset(uri).to_table(limit=1), uri, mode="append")
    assert "m-1.lance" not in {o.path.name for o in remove_orphans(database, layout)}
    reg.append("g", version="m/1", ids=["d"], vectors=rows(1, 4, 2))
    assert reg.search("g", rows(1, 4, 2), version="m/1", k=9).ids[0, 0] == "d"
    assert reg.gallery("g").segments[0].rows == 4


def test_secrets_that_lie_open(lite, home):
    layout, database = Layout(home), Database(address_in(home / "registry.db"))
    home.chmod(0o755)
    layout.database.chmod(0o644)
    assert of(examine(layout, database)[0], "permissions").level == "ok"  # none are held
    with database.writing() as session:
        session.add(WebhookRow(name="w", url="http://h", secret="s", events=[]))  # noqa: S106 - a test's
    found = of(examine(layout, database)[0], "permissions")
    assert (found.level, found.mend) == ("warning", f"chmod 700 {home}")
    assert "registry.db" in found.found
    layout.session_key.touch(mode=0o644)
    assert "secret.key and registry.db" in of(examine(layout, database)[0], "permissions").found
    home.chmod(0o700)
    assert of(examine(layout, database)[0], "permissions").level == "ok"
    database.close()


def test_clocks(held, monkeypatch):
    _, database = held
    with database.writing() as session:
        session.add(ChangeRow(action="a", subject="s", details={}, at=now() + timedelta(hours=1)))
    assert "still to come" in of(examine(*held)[0], "clock").found
    monkeypatch.setattr(doctor, "now", lambda: now() + timedelta(hours=2))  # past that change, and past PostgreSQL
    found = of(examine(*held)[0], "clock")
    if database.engine.dialect.name == "postgresql":
        assert found.level == "warning" and "-7200 s" in found.found
    else:
        assert found.level == "ok"


def test_the_database(held, tmp_path):
    layout, database = held
    database.downgrade("0002")
    findings, left = examine(*held)
    assert "revision 0002" in of(findings, "database").found and has_problem(findings) and left == []
    unreachable = Database("postgresql://ann:sekret@127.0.0.1:1/db")
    found = of(examine(layout, unreachable)[0], "database")
    assert found.level == "problem" and "sekret" not in found.found and "cannot open" in found.found


def test_storage(held, monkeypatch):
    layout, _ = held
    monkeypatch.setattr(doctor, "_LITTLE_SPACE", 1 << 60)
    assert of(examine(*held)[0], "storage").level == "warning"
    os.rename(layout.canaries, layout.root / "elsewhere")
    found = of(examine(*held)[0], "storage")
    assert found.level == "problem" and "canaries cannot be written" in found.found


def test_settings():
    environment = {"SAMESPACE_PORT": "80", "SAMESPACE_SECRET_KEY": "sekret", "OTHER": "x"}
    listed = {s.variable: s for s in settings_now(environment)}
    assert listed.keys() == {variable(s.name) for s in fields(Settings)}
    assert (listed["SAMESPACE_PORT"].value, listed["SAMESPACE_PORT"].origin) == ("80", "variable")
    assert (listed["SAMESPACE_HOST"].value, listed["SAMESPACE_HOST"].origin) == ("127.0.0.1", "default")
    assert listed["SAMESPACE_SECRET_KEY"].value == "(hidden)"
    assert "sekret" not in str(listed)
    (found,) = examine_variables(environment, ())
    assert found.level == "ok"
    wrong = examine_variables(
        {"SAMESPACE_PORT": "many", "SAMESPACE_PROT": "1", "SAMESPACE_HOME": "h"}, ["SAMESPACE_HOME"]
    )
    assert [(f.level, f.what) for f in wrong] == [("problem", "settings"), ("warning", "settings")]
    assert "must be a whole number" in wrong[0].found and "SAMESPACE_PROT" in wrong[1].found


def test_packages(monkeypatch):
    assert {f.level for f in examine_installed()} == {"ok"}
    real = installed.metadata.version

    def version(name):
        if name in ("flask", "torch"):
            raise installed.metadata.PackageNotFoundError(name)
        return "0.1" if name in ("alembic", "numpy", "mlflow") else real(name)

    monkeypatch.setattr(installed.metadata, "version", version)
    wrong = {f.what: f for f in examine_installed() if f.level != "ok"}
    assert wrong.keys() == {f"package {name}" for name in ("alembic", "numpy", "mlflow", "flask")}  # torch is optional
    assert wrong["package flask"].mend == "pip install 'samespace[server]'"
    assert wrong["package numpy"].mend == "pip install samespace"


def test_the_page_of_settings_is_complete():
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    for setting in settings_now({}):
        value = f"`{setting.value}`" if setting.value else ""
        assert f"| `{setting.variable}` | {value} | {setting.help} |" in page, setting


def test_orphans_of_a_snapshot(held):
    layout, database = held
    with database.reading() as session:
        assert orphans(layout, inventory(session, layout)) == []
