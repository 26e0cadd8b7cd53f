"""`samespace gallery previews | items | preview-url`: pictures and texts of items, from files and data sets."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry import connect

PNG, GIF = b"\x89PNG\r\n\x1a\n", b"GIF89a"
IDS = ["shoes/1", "shoes/2", "hats/1.5", "it's"]


@pytest.fixture
def call(samespace, tmp_path, rows):
    with connect(tmp_path / "home") as reg:
        reg.register_version("m", dim=4)
        reg.create_gallery("g", labels=["class"])
        reg.append("g", version="m/1", ids=IDS, vectors=rows(4, 4), labels={"class": ["a", "b", "c", "d"]})
        reg.create_gallery("numbers", id_type="int")
        reg.append("numbers", version="m/1", ids=[5, 12], vectors=rows(2, 4))
    return lambda *arguments, code=0: samespace("--home", tmp_path / "home", *arguments, code=code)


@pytest.fixture
def folder(tmp_path):
    """A folder of pictures of the first three items, and what is passed over."""
    made = tmp_path / "pictures"
    for name, data in {"shoes/1.png": PNG, "shoes/2.GIF": GIF, "hats/1.5.png": PNG + b"!", ".DS_Store": b"x"}.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(data)
    return made


def previews(call, name="g"):
    listed = json.loads(call("--json", "gallery", "items", name, "--previews").stdout)["items"]
    return {item["id"]: item["picture"] or item["text"] for item in listed}


def test_a_folder_of_pictures(call, folder, tmp_path):
    said = call("--json", "gallery", "previews", "g", "--pictures", folder)
    assert json.loads(said.stdout) == {"gallery": "g", "previews": 3}
    with connect(tmp_path / "home") as reg:
        assert [i.preview for i in reg.items("g", previews=True).items] == [PNG, GIF, PNG + b"!", None]
    shown = call("gallery", "items", "g", "--previews", "--limit", "1").stdout
    assert "shoes/1" in shown and "image/png, 8 bytes" in shown and "m/1" in shown
    cursor = shown.rsplit("--after ", 1)[1].strip()
    rest = call("gallery", "items", "g", "--after", cursor).stdout
    assert "it's" in rest and "shoes/1" not in rest and "--after" not in rest


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("shoes/notes.txt", b"x", "notes.txt is no picture (.png, "),
        ("shoes/3.svg", b"<svg/>", "3.svg is no picture"),
        ("shoes/3.png", b"<svg/>", "3.png is no PNG, JPEG, WebP or GIF, whatever its name says"),
        ("shoes/3.png", PNG + bytes(70_000), "3.png has 70008 bytes, a preview at most 65536"),
        ("shoes/1.gif", GIF, "id 'shoes/1' stands twice"),
        ("shoes/3.png", PNG, "gallery g has no item 'shoes/3'"),
    ],
)
def test_one_bad_file_stores_nothing(call, folder, name, data, said):
    (folder / name).write_bytes(data)
    done = call("gallery", "previews", "g", "--pictures", folder, code=1)
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert set(previews(call).values()) == {None}


def test_a_link_is_not_followed(call, folder, tmp_path):
    (tmp_path / "secret.png").write_bytes(PNG)
    (folder / "it's.png").symlink_to(tmp_path / "secret.png")
    assert "is a symbolic link" in call("gallery", "previews", "g", "--pictures", folder, code=1).stderr


TEXTS = {"shoes/1": "red, shoes", "it's": 'they said "hi"\nand left', "hats/1.5": "日本語"}


def write(path):
    if path.suffix == ".csv":
        lines = ["id,note,text", *('"{}",x,"{}"'.format(id, text.replace('"', '""')) for id, text in TEXTS.items())]
        path.write_text("\n".join(lines), encoding="utf-8-sig")
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({"id": id, "text": text}) for id, text in TEXTS.items()))
    else:
        pq.write_table(pa.table({"id": list(TEXTS), "text": list(TEXTS.values())}), path)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_texts_of_a_table(call, tmp_path, name):
    call("gallery", "previews", "g", "--texts", write(tmp_path / name))
    assert previews(call) == {**TEXTS, "shoes/2": None}
    assert 'they said "hi" and left' in call("gallery", "items", "g", "--previews").stdout


def test_other_columns_and_ids_that_are_numbers(call, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("key,says\n12,twelve\n5,five\n")
    call("gallery", "previews", "numbers", "--texts", path, "--ids", "key", "--text", "says")
    assert previews(call, "numbers") == {5: "five", 12: "twelve"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "id,txt\na,b\n", "has no column 'text': it has id, txt"),
        ("t.csv", "", "has no column 'id': it has none"),
        ("t.csv", "id,text\nshoes/1\n", "line 2 of"),
        ("t.csv", 'id,text\nshoes/1,"never closed', "is no such text"),
        ("t.csv", "id,text\nshoes/1,\n", "the text of row 0 must be a text of 1 to 10000 characters"),
        ("t.jsonl", '{"id": "shoes/1", "text": "a"}\n{"id": ', "line 2 of"),
        ("t.jsonl", "[1]\n", "must be an object with 'id' and 'text'"),
        ("t.jsonl", '{"id": "shoes/1", "text": 5}\n', "the text of row 0 must be"),
        ("t.parquet", "not Parquet", "is no Parquet file"),
        ("t.txt", "shoes/1 red", "texts are read from .csv, .jsonl or Parquet"),
    ],
)
def test_tables_that_are_none(call, tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    done = call("gallery", "previews", "g", "--texts", tmp_path / name, code=1)
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_terminal_gets_no_commands(call, tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": "shoes/1", "text": "red\x1b[2Jshoes [bold]" + "x" * 100}))
    call("gallery", "previews", "g", "--texts", tmp_path / "t.jsonl")
    shown = call("gallery", "items", "g", "--previews").stdout
    assert "red [2Jshoes [bold]" in shown and "\x1b[2J" not in shown and "x" * 60 not in shown


def test_a_data_set_is_drawn(call, tmp_path, rows):
    from align.data import load

    ids = load("digits").ids_test
    with connect(tmp_path / "home") as reg:
        reg.create_gallery("digits", id_type="int")
        reg.append("digits", version="m/1", ids=ids, vectors=rows(len(ids), 4))
        call("gallery", "previews", "digits", "--data", "digits:test", "--first", "30")
        shown = reg.items("digits", limit=31, previews=True).items
    assert [i.id for i in shown if i.preview and i.preview.startswith(PNG)] == ids[:30].tolist()
    assert "SET:train or SET:test" in call("gallery", "previews", "digits", "--data", "digits:all", code=2).stderr


def test_one_source_and_its_own_options(call, folder, tmp_path):
    path = write(tmp_path / "t.csv")
    for options in ((), ("--pictures", folder, "--texts", path)):
        assert "give one of the three" in call("gallery", "previews", "g", *options, code=2).stderr
    assert (
        "--ids goes with --texts" in call("gallery", "previews", "g", "--pictures", folder, "--ids", "x", code=2).stderr
    )
    assert (
        "--first goes with --data" in call("gallery", "previews", "g", "--texts", path, "--first", "1", code=2).stderr
    )


def test_where_browsers_find_pictures(call, tmp_path):
    url = "https://images.example/{id}.jpg"
    assert json.loads(call("--json", "gallery", "preview-url", "g", url).stdout)["preview_url"] == url
    call("gallery", "preview-url", "g", "--remove")
    with connect(tmp_path / "home") as reg:
        assert reg.gallery("g").preview_url is None
    assert "in its path or query" in call("gallery", "preview-url", "g", "https://images.example/", code=1).stderr
    for options in ((), (url, "--remove")):
        assert "one of the two" in call("gallery", "preview-url", "g", *options, code=2).stderr
