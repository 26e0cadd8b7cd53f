"""`build`: a backbone by its name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from align.backbones.names import NAMES, TIMM, check, is_foreign
from align.backbones.resnet import resnet10, resnet18, resnet34
from align.backbones.small import SmallConv, SmallResNet
from registry.errors import InvalidInput, MissingExtra, NotFound

__all__ = ["build"]

Shape = tuple[int, int, int]
Factory = Callable[[Shape, int], nn.Module]

_BUILT_IN: dict[str, tuple[Factory, int]] = {
    "smallconv": (SmallConv, 4),
    "smallresnet": (SmallResNet, 8),
    "resnet10": (resnet10, 8),
    "resnet18": (resnet18, 8),
    "resnet34": (resnet34, 8),
}
"""What makes each of `NAMES`, and the smallest height and width that it takes."""


def build(name: str, in_shape: Shape, dim: int) -> nn.Module:
    """Make the backbone `name` for images `in_shape` (c, h, w), with weights drawn from torch's global generator.

    The module maps float32 (n, c, h, w) to embeddings (n, dim) that are not normalised. A name `module:factory` imports
    that module and calls the factory with (in_shape, dim): to ask for it is to trust its code. timm's networks are made
    with new weights; nothing is downloaded.

    Raises:
        InvalidInput: an unknown name, a width below 1, images that the backbone does not take, or a factory that makes
            something else.
        NotFound: no such module, factory or timm network.
        MissingExtra: timm is asked for and not installed.
    """
    check(name)
    if dim < 1:
        raise InvalidInput(f"dim must be at least 1, got {dim}")
    if len(in_shape) != 3 or min(in_shape) < 1:
        raise InvalidInput(f"backbone {name} takes images (c, h, w), got {in_shape}")
    if name in NAMES:
        make, smallest = _BUILT_IN[name]
        if min(in_shape[1:]) < smallest:
            raise InvalidInput(
                f"backbone {name} takes images (c, h, w) of at least {smallest}x{smallest}, got {in_shape}"
            )
        module = make(in_shape, dim)
    elif is_foreign(name):
        module = _tried(name, _factory(name)(in_shape, dim), in_shape, dim)
    else:
        module = _tried(name, _timm(name, in_shape, dim), in_shape, dim)
    # Convolutions on the CPU are about a third faster this way, and the results are the same.
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _factory(name: str) -> Callable[[Shape, int], Any]:
    place, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(place)
    except ImportError as error:
        raise NotFound(
            f"backbone {name}: {place} cannot be imported ({error}): put its folder on PYTHONPATH"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise NotFound(f"backbone {name}: {place} has no function or class {attribute!r}")
    return factory  # type: ignore[no-any-return]


def _timm(name: str, in_shape: Shape, dim: int) -> Any:
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError as error:
        raise MissingExtra(f"backbone {name} needs timm: pip install timm") from error
    except Exception as error:  # it brings torchvision, which raises what it likes where it does not go with torch
        said = (str(error) or repr(error)).splitlines()[0]
        raise MissingExtra(f"backbone {name} needs timm, and importing it fails ({said:.200}): mend that") from error
    network = name.removeprefix(TIMM)
    if not timm.is_model(network):
        raise NotFound(f"backbone {name}: timm {timm.__version__} has no network {network!r}: see timm.list_models()")
    options: dict[str, Any] = {"pretrained": False, "in_chans": in_shape[0], "num_classes": dim}
    known = timm.get_pretrained_cfg(network)
    if known is not None and known.fixed_input_size:  # such as a transformer, whose patches are counted at the start
        options["img_size"] = in_shape[1:]
    try:
        return timm.create_model(network, **options)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise InvalidInput(
            f"backbone {name} cannot be made for images {in_shape}: {(str(error) or repr(error)).splitlines()[0]:.200}"
        ) from error


def _tried(name: str, module: Any, in_shape: Shape, dim: int) -> nn.Module:
    """`module`, once two blank images have come out as they should."""
    if not isinstance(module, nn.Module):
        raise InvalidInput(f"backbone {name} made a {type(module).__name__}: a factory returns a torch.nn.Module")
    training = module.training
    try:
        with torch.no_grad():  # not inference mode: what a module keeps of this call must stay trainable
            out = module.eval()(torch.zeros(2, *in_shape))
    except Exception as error:  # whatever the network raises
        said = (str(error) or repr(error)).splitlines()[0]
        raise InvalidInput(f"backbone {name} does not take images {in_shape}: {said:.200}") from error
    if not isinstance(out, torch.Tensor) or out.shape != (2, dim) or out.dtype != torch.float32:
        got = f"{tuple(out.shape)} {out.dtype}" if isinstance(out, torch.Tensor) else type(out).__name__
        raise InvalidInput(f"backbone {name} maps 2 images to {got}: it must be (2, {dim}) float32")
    return module.train(training)
