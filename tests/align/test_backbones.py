"""`align.backbones`: shapes, names, networks of the user's own, and timm."""

from __future__ import annotations

import doctest
import importlib.util

import pytest
import torch

from align import backbones
from align.backbones import names
from registry.errors import InvalidInput, MissingExtra, NotFound

MODULE = """
import torch
class tiny(torch.nn.Module):
    def __init__(self, in_shape, dim):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(in_shape[0])
        self.out = torch.nn.LazyLinear(dim)
    def forward(self, x):
        return self.out(self.norm(x).flatten(1))
def wide(in_shape, dim): return tiny(in_shape, dim + 1)
def double(in_shape, dim): return tiny(in_shape, dim).double()
def pair(in_shape, dim): return torch.nn.Identity()
def number(in_shape, dim): return 5
class odd(tiny):
    def forward(self, x): raise ValueError("only squares")
constant = 3
"""


@pytest.fixture
def mynets(tmp_path, monkeypatch):
    (tmp_path / "netsforbackbones.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "netsforbackbones"


@pytest.mark.parametrize("name", backbones.NAMES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 9, 13)])
def test_maps_images_to_embeddings_and_learns(name, shape):
    network = backbones.build(name, shape, 6)
    out = network(torch.randn(2, *shape))
    assert (out.shape, out.dtype) == ((2, 6), torch.float32)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("name", "convolutions", "millions"), [("resnet18", 17, 11.17), ("resnet34", 33, 21.28)])
def test_resnets_have_the_published_depth_and_size(name, convolutions, millions):
    """18 and 34 weighted layers, the last one linear; with a 3x3 stem 11.17 and 21.28 million weights before it."""
    network = backbones.build(name, (3, 32, 32), 100)
    kernels = [m.kernel_size[0] for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels.count(3) == convolutions and kernels.count(1) == 3
    before = sum(p.numel() for n, p in network.named_parameters() if not n.startswith("out."))
    assert before / 1e6 == pytest.approx(millions, abs=0.005)


def test_a_resnet_keeps_the_resolution_that_small_images_have():
    network = backbones.build("resnet18", (3, 32, 32), 4).eval()
    seen = []
    for part in (network.stem, network.blocks[1], network.blocks[-1]):
        part.register_forward_hook(lambda _module, _given, out: seen.append(tuple(out.shape[1:])))
    network(torch.zeros(1, 3, 32, 32))
    assert seen == [(64, 32, 32), (64, 32, 32), (512, 4, 4)]


def test_the_seed_decides_the_weights():
    def weights(seed):
        torch.manual_seed(seed)
        return backbones.build("resnet10", (1, 8, 8), 4).state_dict()

    with torch.random.fork_rng():
        a, b, c = weights(0), weights(0), weights(1)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["out.weight"], c["out.weight"])


class TestNames:
    @pytest.mark.parametrize(
        "name", [*backbones.NAMES, "timm:resnet18", "timm:vit_tiny.augreg_in21k", "a.b_c:D", "os:x"]
    )
    def test_allowed(self, name):
        assert backbones.check(name) == name

    @pytest.mark.parametrize(
        "name",
        ["", "resnet9000", "timm:", "timm:hf_hub:a/b", "timm:../x", ":x", "x:", "a:b:c", "a/b:c", "a b:c", "a:b()",
         ".a:b", "a..b:c", "a:b\n", "1a:b", None, 5],
    )  # fmt: skip
    def test_not_allowed(self, name):
        with pytest.raises(
            InvalidInput, match="use one of smallconv, smallresnet, resnet10, resnet18, resnet34, timm:"
        ):
            backbones.check(name)

    def test_doctests(self):
        result = doctest.testmod(names)
        assert result.attempted and not result.failed

    def test_asking_imports_nothing(self):
        assert backbones.check("no_such_module_anywhere:make")

    @pytest.mark.parametrize(
        ("name", "foreign"), [("resnet18", False), ("timm:resnet18", False), ("a.b:c", True), ("nonsense", False)]
    )
    def test_whose_code(self, name, foreign):
        assert backbones.is_foreign(name) is foreign


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet9000", (1, 8, 8), 4), "use one of smallconv, smallresnet"),
        (("smallconv", (1, 8, 8), 0), "dim"),
        (("smallconv", (1, 3, 8), 4), "at least 4x4"),
        (("smallresnet", (3, 4, 4), 4), "at least 8x8"),
        (("resnet18", (3, 32, 7), 4), "at least 8x8"),
        (("resnet18", (0, 32, 32), 4), r"takes images \(c, h, w\)"),
        (("resnet18", (32, 32), 4), r"takes images \(c, h, w\)"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        backbones.build(*arguments)


class TestForeign:
    def test_is_built_ready_to_train(self, mynets):
        network = backbones.build(f"{mynets}:tiny", (3, 8, 8), 4)
        assert network.training
        assert torch.equal(network.norm.running_mean, torch.zeros(3)), "the trial run taught it nothing"
        network(torch.randn(5, 3, 8, 8)).sum().backward()
        assert network.out.weight.grad.shape == (4, 192), "lazy layers have their weights, and can learn"

    @pytest.mark.parametrize(
        ("factory", "message"),
        [
            ("wide", r"maps 2 images to \(2, 5\) torch.float32: it must be \(2, 4\) float32"),
            ("double", "does not take images"),
            ("pair", r"maps 2 images to \(2, 3, 8, 8\)"),
            ("number", "made a int: a factory returns"),
            ("odd", "only squares"),
        ],
    )
    def test_a_factory_that_makes_something_else(self, mynets, factory, message):
        with pytest.raises(InvalidInput, match=message):
            backbones.build(f"{mynets}:{factory}", (3, 8, 8), 4)

    @pytest.mark.parametrize("name", ["{}:missing", "{}:constant", "no_such_module_anywhere:make"])
    def test_what_is_not_there(self, mynets, name):
        with pytest.raises(NotFound, match=r"has no function or class|put its folder on PYTHONPATH"):
            backbones.build(name.format(mynets), (3, 8, 8), 4)


class TestTimm:
    def test_without_it(self):
        if importlib.util.find_spec("timm"):
            pytest.skip("timm is installed")
        with pytest.raises(MissingExtra, match="pip install timm"):
            backbones.build("timm:resnet18", (3, 32, 32), 4)

    @pytest.mark.parametrize("name", ["timm:resnet18", "timm:vit_tiny_patch16_224"])
    def test_with_it(self, name):
        if not importlib.util.find_spec("timm"):
            pytest.skip("timm is not installed, and no part of samespace needs it")
        assert backbones.build(name, (1, 32, 32), 4)(torch.zeros(2, 1, 32, 32)).shape == (2, 4)
        with pytest.raises(NotFound, match="has no network"):
            backbones.build("timm:nothing_of_this_name", (1, 32, 32), 4)
