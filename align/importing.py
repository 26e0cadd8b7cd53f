"""From a model registry of MLflow to ours: versions and their aliases, each registry knowing of the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from align import publish, registered
from registry.errors import BadName, InvalidInput, NotFound, SamespaceError
from registry.refs import check_name

if TYPE_CHECKING:
    from align.registered import About, Registered
    from registry.connecting import Connection
    from registry.types import Version

__all__ = ["Imported", "import_models"]

_LONGEST = 1000  # of a tag


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import made of one version of MLflow: a `new` version here, one that is `known`, or nothing.

    `version` is the version here, None where it is left out or would be new in a dry run; `aliases` are those that now
    mean it; `note` says what is odd about it.
    """

    source: str
    version: str | None
    state: Literal["new", "known", "left out"]
    dim: int | None = None
    aliases: tuple[str, ...] = ()
    note: str = ""


def import_models(
    reg: Connection,
    source: str,
    *,
    tracking_uri: str,
    model: str | None = None,
    dim: int | None = None,
    metric: str = "cosine",
    dry_run: bool = False,
    progress: Callable[[Imported], None] | None = None,
) -> list[Imported]:
    """Register the versions of a registered model of MLflow, oldest first, with their aliases; link both to each other.

    What was imported already is known by its source and passed over, and aliases that moved in MLflow move here, so an
    import may be repeated. One that was removed in MLflow stays. A version that fails leaves those before it imported.

    Args:
        reg: the registry.
        source: `models:/NAME` for all of its versions; `models:/NAME/3` or `models:/NAME@alias` for one.
        tracking_uri: where MLflow's registry is.
        model: the model's name here; by default its name there.
        dim: width of the vectors, where neither the model nor its run says it.
        metric: how the vectors are compared, where the model does not say it.
        dry_run: read everything and change nothing, here or there.
        progress: called with each version that is done.

    Raises:
        InvalidInput: an address that does not parse, a version of unknown width, or one that was imported from another
            store.
        BadName: the model needs another name here.
        NotFound: no such store, model, version or alias.
        CorruptFile: a model of our own that was changed since it was saved.
        MissingExtra, Unavailable: MLflow is not installed, or cannot be read.
    """
    address = registered.parse(source)
    name = _name_here(str(address.name), model)
    client = registered.open_registry(tracking_uri)
    work = _Import(reg, client, name, dim, metric, dry_run, _versions_of(reg, name))
    done: list[Imported] = []
    for version in registered.versions(client, address):
        try:
            done.append(work.take(version))
        except SamespaceError as error:
            before = f" ({len(done)} before it are done)" if done else ""
            raise type(error)(f"{version.source} is not imported{before}: {error}") from error
        if progress is not None:
            progress(done[-1])
    return done


def _name_here(there: str, wanted: str | None) -> str:
    if wanted is not None:
        return check_name(wanted, "model")
    try:
        return check_name(there, "model")
    except BadName as error:
        raise BadName(f"{error}; name it otherwise here with --as (in Python, model=)") from error


def _versions_of(reg: Connection, model: str) -> list[Version]:
    try:
        return reg.versions(model)
    except NotFound:
        return []


@dataclass(frozen=True)
class _Import:
    """An import that goes on; `here` are the versions of the model in the registry."""

    reg: Connection
    client: Any
    model: str
    dim: int | None
    metric: str
    dry_run: bool
    here: list[Version]

    def take(self, there: Registered) -> Imported:
        """Import one version, or find it."""
        known = next((version for version in self.here if version.source == there.source), None)
        if known is not None:
            _check_same_run(known, there)
            return self._follow(there, known, "known")
        about = registered.describe(self.client, there)
        if about.left_out:
            return Imported(there.source, None, "left out", note=about.left_out)
        same = next((version for version in self.here if version.facts == about.fingerprint), None)
        if same is not None:
            return self._follow(there, same, "known", f"the same encoder as {same.source}")
        dim = about.dim or self.dim
        if dim is None:
            raise InvalidInput(
                "how wide its vectors are is told neither by a signature with one output (-1, d) nor by the run's parameter "
                f"dim{f' ({about.note})' if about.note else ''}: say it with --dim"
            )
        if self.dry_run:
            return Imported(there.source, None, "new", dim, _legal(there.aliases), about.note)
        return self._follow(there, self._register(there, about, dim), "new", about.note)

    def _register(self, there: Registered, about: About, dim: int) -> Version:
        olds = [v for v in self.here if about.old_weights and v.facts.get("weights") == about.old_weights]
        version = self.reg.register_version(
            self.model, dim=dim, metric=about.metric or self.metric, parent=olds[0].ref if olds else None,
            method=about.method, source=there.source, run_id=there.run_id, fingerprint=about.fingerprint,
            tags=_fitting(there.tags),
        )  # fmt: skip
        publish.add_prefixes(self.reg, version, olds)
        self.here.append(version)
        return version

    def _follow(self, there: Registered, version: Version, state: Literal["new", "known"], *notes: str) -> Imported:
        """Let aliases mean here what they mean there, and tell MLflow which version this is."""
        aliases = _legal(there.aliases)
        said = [*notes, *(f"its alias {a!r:.120} is not allowed here" for a in there.aliases if a not in aliases)]
        if not self.dry_run:
            for alias in aliases:
                if alias not in version.aliases:
                    self.reg.set_alias(version.model, alias, version.number)
            if state == "new" or registered.LINK not in there.tags:
                said.append(registered.link(self.client, there, ref=version.ref, home=self.reg.home))
        return Imported(there.source, version.ref, state, version.dim, aliases, "; ".join(filter(None, said)))


def _check_same_run(version: Version, there: Registered) -> None:
    """Version numbers of MLflow begin anew in another store, and when a model is deleted and made again; runs do not."""
    if version.run_id and there.run_id and version.run_id != there.run_id:
        raise InvalidInput(
            f"{version.ref} came from that address too, but of run {version.run_id}, and this is of run {there.run_id}: it "
            "is another store or another model, so import it under another name with --as"
        )


def _legal(aliases: Sequence[str]) -> tuple[str, ...]:
    return tuple(alias for alias in aliases if _is_name(alias) and not alias.isdecimal())


def _fitting(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of MLflow that can be tags here, without its own and our links."""
    return {
        key: value
        for key, value in tags.items()
        if not key.startswith(("mlflow.", "samespace."))
        and _is_name(key)
        and 0 < len(value) <= _LONGEST
        and "\0" not in value
    }


def _is_name(text: str) -> bool:
    try:
        return bool(check_name(text, "alias"))
    except BadName:
        return False
