"""`samespace`, a flavour of MLflow for encoders and transforms: safetensors and a JSON description, nothing pickled.

A model folder holds `encoder.safetensors` or `transform.safetensors`, `samespace.json` (which of the two, the file's
sha-256, and what decides the space), `requirements.txt` and `python_env.yaml`, and MLflow's own `MLmodel`. Requirements
are stated, never inferred, because MLflow infers them by running the model in a process of its own.

With `mlflow.pyfunc.load_model` such a model is called as any other:

* an encoder takes images (n, c, h, w) of the type it was logged with and gives float32 (n, dim), rows of length 1;
* a transform takes float32 (n, source_dim) and gives float32 (n, target_dim); one with a `side_dim` takes
  `{"vectors": (n, source_dim), "side": (n, side_dim)}`, both float32.

An encoder whose backbone is a `module:factory` of the user's own is read only by who trusts that module:
`load_model(..., trust="mynets:tiny")`, or `mlflow.pyfunc.load_model(..., model_config={"trust": "mynets:tiny"})`.

`load_model` gives the `Encoder` or `Transform` itself. `Tracker.log_model` logs to a run by its client alone, and is what
to use in programs that write to several runs or stores; `log_model` is for MLflow's active run.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from align import tracking
from registry import transforms
from registry.errors import CorruptFile, InvalidInput, NotFound, SamespaceError
from registry.transforms import Transform
from registry.vectors import Array

if TYPE_CHECKING:
    from align.encoders import Encoder

__all__ = ["FLAVOR_NAME", "Pixels", "encoder_fingerprint", "load_model", "log_model", "save_model"]

FLAVOR_NAME = "samespace"
DESCRIPTION = "samespace.json"

Pixels = Literal["uint8", "float32"]
"""The type of the raw pixel values that an encoder was trained on."""

_FORMAT = 1
_KINDS = ("encoder", "transform")
_REQUIREMENTS = ("mlflow", "numpy", "safetensors", "samespace")


def save_model(
    thing: Encoder | Transform, path: str | Path, mlflow_model: Any = None, *, pixels: Pixels = "uint8"
) -> None:
    """Write a model folder to `path`, which must not exist or be empty.

    Args:
        thing: what to save.
        path: the folder.
        mlflow_model: the `mlflow.models.Model` that MLflow is about to log; a fresh one by default.
        pixels: of an encoder, the only type of images that its signature admits.

    Raises:
        InvalidInput: neither an encoder nor a transform, another type of pixels, or a folder that holds something.
        MissingExtra: MLflow is not installed.
    """
    tracking.require()
    from mlflow import pyfunc
    from mlflow.models import Model

    kind = _kind(thing)
    signature = _signature(thing, pixels)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InvalidInput(f"{folder} is not empty: a model is saved into a folder of its own")
    file = folder / f"{kind}.safetensors"
    thing.save(file)
    description = {"format": _FORMAT, "kind": kind, "sha256": _sha256(file), **_about(thing)}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
    requirements = _requirements(kind)
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements))
    (folder / "python_env.yaml").write_text(
        f"python: {platform.python_version()}\nbuild_dependencies:\n- pip\ndependencies:\n- -r requirements.txt\n"
    )
    model = Model() if mlflow_model is None else mlflow_model
    model.signature = signature
    # MLflow hands on only settings that the model was saved with, so the one that a foreign backbone needs is there.
    settings = {"trust": ""} if _is_foreign(thing) else None
    pyfunc.add_to_model(model, loader_module=__name__, python_env="python_env.yaml", model_config=settings)
    model.add_flavor(FLAVOR_NAME, format=_FORMAT, kind=kind, data=file.name, description=DESCRIPTION)
    model.model_size_bytes = sum(f.stat().st_size for f in folder.iterdir())
    model.save(str(folder / "MLmodel"))


def log_model(
    thing: Encoder | Transform, *, name: str, registered_model_name: str | None = None, pixels: Pixels = "uint8"
) -> Any:
    """Log to MLflow's active run, or to a new one, as `mlflow.<flavour>.log_model` do. Returns MLflow's `ModelInfo`."""
    tracking.require()
    from mlflow.models import Model

    from align import flavor

    return Model.log(
        artifact_path=None,
        name=name,
        flavor=flavor,
        registered_model_name=registered_model_name,
        thing=thing,
        pixels=pixels,
    )


def load_model(
    model_uri: str, *, tracking_uri: str | None = None, trust: bool | str | Collection[str] = ()
) -> Encoder | Transform:
    """The encoder or transform of a model folder, from a path or an address such as `models:/digits@champion`.

    Args:
        model_uri: a folder, `models:/<name>/<version>`, `models:/<name>@<alias>`, `models:/<id>`, or
            `runs:/<run id>/<folder>`.
        tracking_uri: where addresses are looked up; by default MLflow's current tracking address.
        trust: backbones `module:factory` whose module may be imported, see `Encoder.load`.

    Raises:
        NotFound: no such model.
        InvalidInput: an address that does not parse, or a backbone that is not trusted.
        CorruptFile: a model of another flavour, or one that was changed since it was saved.
    """
    if not model_uri.startswith(("models:/", "runs:/")):
        if not Path(model_uri).is_dir():
            raise NotFound(f"no model folder {model_uri}: give a folder, or an address such as models:/digits@champion")
        return _read(Path(model_uri), trust)
    with tempfile.TemporaryDirectory() as folder:
        return _read(tracking.fetch(model_uri, folder, tracking_uri=tracking_uri), trust)


def encoder_fingerprint(folder: str | Path) -> dict[str, Any] | None:
    """`Encoder.fingerprint` of the encoder in a model folder, of which no code is run; None for a transform.

    Raises:
        CorruptFile: as `load_model` does.
    """
    about, _ = _checked(Path(folder))
    if about["kind"] == "transform":
        return None
    if not isinstance(about.get("fingerprint"), dict):
        raise CorruptFile(f"{Path(folder) / DESCRIPTION} lacks the encoder's fingerprint: fetch or log the model again")
    return dict(about["fingerprint"])


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> _Callable:
    """What MLflow calls to make a `pyfunc` of a model folder."""
    return _Callable(_read(Path(path), (model_config or {}).get("trust") or ()))


class _Callable:
    """An encoder or a transform as MLflow calls it, after it has checked the input by the signature."""

    def __init__(self, thing: Encoder | Transform) -> None:
        self._thing = thing

    def predict(self, model_input: Any) -> Array:
        """Embeddings or transformed vectors, float32; shapes are those of the module's docstring."""
        if not isinstance(self._thing, Transform):
            return self._thing.encode(np.asarray(model_input))
        if self._thing.side_dim:
            return self._thing.apply(model_input["vectors"], side=model_input["side"])
        return self._thing.apply(np.asarray(model_input))

    def get_raw_model(self) -> Encoder | Transform:
        """The object itself, for `PyFuncModel.get_raw_model`."""
        return self._thing


def _kind(thing: Any) -> Literal["encoder", "transform"]:
    if isinstance(thing, Transform):
        return "transform"
    from align.encoders import Encoder  # brings torch, which transforms do without

    if isinstance(thing, Encoder):
        return "encoder"
    raise InvalidInput(f"the samespace flavour holds an Encoder or a Transform, got {type(thing).__name__}")


def _is_foreign(thing: Encoder | Transform) -> bool:
    if isinstance(thing, Transform):
        return False
    from align import backbones

    return backbones.is_foreign(thing.backbone)


def _signature(thing: Encoder | Transform, pixels: Pixels) -> Any:
    """Tensors in and out, so that MLflow refuses what would be misread."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    if pixels not in get_args(Pixels):
        raise InvalidInput(f"pixels must be one of {', '.join(get_args(Pixels))}, got {pixels!r}")
    real = np.dtype(np.float32)
    if not isinstance(thing, Transform):
        inputs = [TensorSpec(np.dtype(pixels), (-1, *thing.in_shape))]
        return ModelSignature(Schema(inputs), Schema([TensorSpec(real, (-1, thing.dim))]))
    if thing.side_dim:
        inputs = [
            TensorSpec(real, (-1, thing.source_dim), name="vectors"),
            TensorSpec(real, (-1, thing.side_dim), name="side"),
        ]
    else:
        inputs = [TensorSpec(real, (-1, thing.source_dim))]
    return ModelSignature(Schema(inputs), Schema([TensorSpec(real, (-1, thing.target_dim))]))


def _about(thing: Encoder | Transform) -> dict[str, Any]:
    """For people, and for programs that choose a model without reading its weights."""
    if not isinstance(thing, Transform):
        return {"fingerprint": thing.fingerprint()}
    ends = {end: tag and tag.space for end, tag in (("source", thing.source), ("target", thing.target))}
    dims = {"source_dim": thing.source_dim, "target_dim": thing.target_dim, "side_dim": thing.side_dim}
    return {"transform": {"kind": thing.kind, "normalize": thing.normalize, **dims, **ends}}


def _requirements(kind: str) -> list[str]:
    """Exact releases of the few packages that loading needs; without build tags, since any build will do."""
    lines = []
    for name in (*_REQUIREMENTS, "torch") if kind == "encoder" else _REQUIREMENTS:
        try:
            lines.append(f"{name}=={version(name).split('+')[0]}")
        except PackageNotFoundError:  # samespace itself, run from a checkout
            lines.append(name)
    return lines


def _read(folder: Path, trust: bool | str | Collection[str]) -> Encoder | Transform:
    """Load from a model folder, checking the digest before anything is parsed."""
    about, file = _checked(folder)
    kind = about["kind"]
    try:
        if kind == "transform":
            return transforms.load(file)
        from align.encoders import Encoder

        return Encoder.load(file, trust=trust)
    except SamespaceError:
        raise
    except Exception as error:  # a file made to pass the checksum can hold anything
        raise CorruptFile(f"{file} is not a samespace {kind}: {(str(error) or repr(error)).splitlines()[0]}") from error


def _checked(folder: Path) -> tuple[Mapping[str, Any], Path]:
    """What a model folder says it holds, and the file, which has the digest that it says."""
    about = _description(folder)
    file = folder / f"{about['kind']}.safetensors"
    if not file.is_file():
        raise CorruptFile(f"{folder} lacks {file.name}: the model is not whole; fetch or log it again")
    if _sha256(file) != about["sha256"]:
        raise CorruptFile(f"{file} fails its checksum: it was damaged or replaced; fetch or log the model again")
    return about, file


def _description(folder: Path) -> Mapping[str, Any]:
    """`samespace.json`, with a kind and a sha-256."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise CorruptFile(f"{folder} holds no {DESCRIPTION}: it is not a model of the samespace flavour")
    try:
        about = json.loads(path.read_bytes())
    except ValueError as error:
        raise CorruptFile(f"{path} is not JSON ({str(error).splitlines()[0]}): fetch or log the model again") from error
    if not isinstance(about, Mapping) or about.get("kind") not in _KINDS or not isinstance(about.get("sha256"), str):
        raise CorruptFile(f"{path} does not say what it describes: it is not a model of the samespace flavour")
    if about.get("format") != _FORMAT:
        raise CorruptFile(
            f"{path} is of format {about.get('format')!r:.40}, which this release does not know: upgrade samespace"
        )
    return about


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
