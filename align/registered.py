"""Versions that a model registry of MLflow holds, and what it knows of the vectors that each of them makes.

Only files are read: no model is loaded, so nothing that a model holds is run or unpickled.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align import flavor, logged, tracking
from registry.errors import InvalidInput, NotFound, Unavailable

__all__ = ["LINK", "About", "Registered", "describe", "link", "open_registry", "parse", "versions"]

LINK = "samespace.version"
"""The tag of a version in MLflow that says which version of ours it is."""

_WIDEST = 65536
_OF_MLFLOW = ("MLmodel", "registered_model_meta")  # hold ids and times beside what the signature and flavours say


@dataclass(frozen=True, slots=True)
class Registered:
    """A version of a registered model, as MLflow lists it; `origin` is what it was made from: a model's id, or a place."""

    name: str
    number: int
    origin: str
    status: str
    run_id: str | None
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    @property
    def source(self) -> str:
        """`models:/products/3`."""
        return f"models:/{self.name}/{self.number}"


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a version's vectors. `left_out` says why it can be no version of ours, `note` what is missing."""

    dim: int | None = None
    metric: str | None = None
    method: str = "independent"
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    old_weights: str | None = None
    left_out: str = ""
    note: str = ""


def parse(uri: str) -> logged.Address:
    """Read `models:/NAME`, `models:/NAME/3` or `models:/NAME@alias`; InvalidInput for anything else."""
    try:
        address = logged.parse(uri)
    except InvalidInput:
        address = None
    if address is None or address.name is None:
        raise InvalidInput(
            f"{uri!r:.200} is no registered model of MLflow: write models:/NAME, models:/NAME/3 or models:/NAME@alias"
        )
    return address


def open_registry(tracking_uri: str) -> Any:
    """MLflow's client of a store that exists: MLflow itself would begin one where an address is mistyped.

    Raises:
        NotFound: no such SQLite file.
        MissingExtra, Unavailable: as `tracking.open_client`.
    """
    file = tracking_uri.removeprefix("sqlite:///")
    if file != tracking_uri and not Path(file.partition("?")[0]).is_file():
        raise NotFound(f"there is no MLflow store at {tracking_uri}: say where it is with --tracking-uri")
    return tracking.open_client(tracking_uri)


def versions(client: Any, address: logged.Address) -> list[Registered]:
    """The versions of a registered model that `address` means, oldest first; NotFound if it means none."""
    name = str(address.name)
    with _asking(client, name):
        named = client.get_registered_model(name).aliases
        found = _listed(client, name)
    aliases: dict[int, list[str]] = {}
    for alias, number in sorted(named.items()):
        aliases.setdefault(int(number), []).append(alias)
    if address.alias is not None and address.alias not in named:
        raise NotFound(f"MLflow's model {name} has no alias {address.alias!r:.120}, it has {_list(sorted(named))}")
    wanted = named[address.alias] if address.alias is not None else address.version
    chosen = [v for v in found if wanted is None or int(v.version) == int(wanted)]
    if wanted is not None and not chosen:
        have = _list([str(v.version) for v in found])
        raise NotFound(f"MLflow's model {name} has no version {wanted}, it has {have}: was it deleted?")
    return [_registered(v, aliases.get(int(v.version), ())) for v in chosen]


def describe(client: Any, version: Registered) -> About:
    """Read a version's files; those that cannot be read are passed over, and `note` says so.

    Raises:
        CorruptFile: a model of ours that is not as it was saved.
    """
    if version.status != "READY":
        return About(left_out=f"MLflow has not registered it whole (status {version.status})")
    params = _params(client, version.run_id)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path, model = _download(client, version, Path(folder))
        except Exception as error:  # each kind of artifact store raises its own
            note = (
                f"its files cannot be read, so its fingerprint knows only where they were: {tracking.first_line(error)}"
            )
            return About(_number(params.get("dim")), fingerprint={"mlflow_model": version.origin}, note=note)
        if flavor.FLAVOR_NAME in model.flavors:
            return _ours(path, params)
        return About(
            dim=_output_width(model.signature) or _number(params.get("dim")),
            fingerprint=_fingerprint(path, model, version),
        )


def link(client: Any, version: Registered, *, ref: str, home: str) -> str:
    """Note on MLflow's version which version of ours it is; empty, or why MLflow did not take it."""
    try:
        for key, value in ((LINK, ref), ("samespace.home", home)):
            client.set_model_version_tag(version.name, str(version.number), key, value)
    except Exception as error:  # a store that may be read only is no reason not to import
        return f"MLflow did not take the link back: {tracking.first_line(error)}"
    return ""


@contextmanager
def _asking(client: Any, name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # MLflow raises whatever its store does
        where, said = client.tracking_uri, tracking.first_line(error)
        if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
            raise NotFound(
                f"MLflow at {where} has no registered model {name!r:.120}: check name and address"
            ) from error
        raise Unavailable(f"the model registry at {where} cannot be read: {said}") from error


def _listed(client: Any, name: str) -> list[Any]:
    """MLflow's versions, oldest first, from all pages."""
    quote = '"' if "'" in name else "'"
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(f"name={quote}{name}{quote}", page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version))


def _registered(version: Any, aliases: list[str] | tuple[str, ...]) -> Registered:
    tags = {**version.tags, **({"description": version.description} if version.description else {})}
    return Registered(
        name=version.name, number=int(version.version), origin=version.model_id or version.source, status=version.status,
        run_id=version.run_id or None, tags=tags, aliases=tuple(aliases),
    )  # fmt: skip


def _list(names: list[str]) -> str:
    return ", ".join(names[:20]) or "none"


def _params(client: Any, run_id: str | None) -> Mapping[str, str]:
    """The parameters of a run; none where there is no such run any more."""
    try:
        return dict(client.get_run(run_id).data.params) if run_id else {}
    except Exception:  # whatever the store raises: a version outlives its run
        return {}


def _download(client: Any, version: Registered, folder: Path) -> tuple[Path, Any]:
    """A copy of a version's folder, and the `MLmodel` in it."""
    from mlflow.models import Model

    address = logged.Address(run_id=None, path=None, name=version.name, version=str(version.number), alias=None)
    path = logged.download(client, address, folder)
    return path, Model.load(str(path))


def _ours(path: Path, params: Mapping[str, str]) -> About:
    """A model of our own flavour: its fingerprint is the one that a training registers."""
    facts = flavor.encoder_fingerprint(path)
    if facts is None:
        return About(left_out="it is a transform, not an encoder")
    return About(
        dim=facts.get("dim"), metric=facts.get("metric"), method=params.get("method", "independent"), fingerprint=facts,
        old_weights=params.get("old_weights"),
    )  # fmt: skip


def _fingerprint(path: Path, model: Any, version: Registered) -> dict[str, Any]:
    """What MLflow knows that decides the space of a model of another flavour."""
    facts = {
        "mlflow_model": model.model_uuid or version.origin,
        "artifacts": _digest(path),
        "flavors": sorted(model.flavors),
    }
    if model.signature is None:
        return facts
    sides = {side: text for side, text in model.signature.to_dict().items() if text}
    return {**facts, "signature": sides}


def _digest(folder: Path) -> str:
    """sha-256, hex, over names and bytes of a model's files."""
    sha = hashlib.sha256()
    names = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    for name in sorted(name for name in names if name not in _OF_MLFLOW):
        with (folder / name).open("rb") as file:
            sha.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return sha.hexdigest()


def _output_width(signature: Any) -> int | None:
    """d, where the signature's only output is a tensor (-1, d)."""
    outputs = signature.outputs.inputs if signature is not None and signature.outputs is not None else []
    shape: tuple[int, ...] = getattr(outputs[0], "shape", ()) if len(outputs) == 1 else ()
    return _number(shape[1]) if len(shape) == 2 else None


def _number(value: object) -> int | None:
    """A width: a whole number that a space can have."""
    text = str(value)
    whole = text.isascii() and text.isdecimal() and len(text) <= len(str(_WIDEST))
    return int(text) if whole and 1 <= int(text) <= _WIDEST else None
