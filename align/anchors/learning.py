"""Learned anchors: mixtures of items, optimised so that several versions describe each item alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.functional import normalize as unit

from align.anchors.base import Anchors
from align.anchors.reading import read
from align.anchors.selection import check_count, check_seed, select
from align.devices import full_precision, pick_device
from align.relative.building import whitening
from align.relative.on_torch import Measure, similarity_to
from registry.errors import InvalidInput
from registry.transforms.similarities import WIDTHS, Similarity
from registry.vectors import Array

__all__ = ["Entry", "learn"]

Entry = Mapping[str, float]
"""What is known after an epoch: `epoch`, `loss` over the training items (not for epoch 0) and `heldout`."""

_MOST = 50_000  # items learned from; more hardly move so few anchors
_HELD_OUT = 1000  # items, at most, that decide when to stop
_BATCH = 512
_CONTRAST = 0.05  # InfoNCE's temperature
_PATIENCE = 4  # epochs without a better held-out loss
_HEAD_START = 2.0  # log of how much more the items of its prototype weigh for an anchor at first


@dataclass(frozen=True, eq=False)
class _Version:
    """One version's rows on the device: of the items learned from, held out, and to be mixed."""

    train: Tensor
    held: Tensor
    candidates: Tensor
    similarity: Similarity
    moments: tuple[Tensor, Tensor] | None

    def measure(self, weights: Tensor) -> Measure:
        """The similarity to anchors, which are mixtures (k, c) of the candidates."""
        return similarity_to(weights @ self.candidates, self.similarity, moments=self.moments)


def learn(
    spaces: Sequence[npt.ArrayLike],
    k: int,
    *,
    similarity: Similarity = "cosine",
    temperature: float = 0.2,
    epochs: int = 40,
    lr: float = 0.05,
    items: int = 30,
    candidates: int = 4096,
    normalize: bool = True,
    seed: int = 0,
    device: str | None = None,
    progress: Callable[[Entry], None] | None = None,
) -> Anchors:
    """Learn k anchors from the vectors of the same n items in two versions or more: `spaces` holds one (n, d) for each.

    Each anchor is a softmax mixture of items, softmax(logits / temperature) (arXiv 2605.30596), and the same mixture gives
    its vector in every version. The objective, chosen here, is symmetric InfoNCE (van den Oord et al., 2018) between the
    relative representations, by `similarity`, of each two versions over batches of 512 items, with temperature 0.05: an
    item's representation in one version must be nearer to its own in the other than those of all other items are. So
    versions must agree, and items must stay apart.

    What is kept of a mixture are its `items` largest weights, renormalised, and training knows it: the forward pass uses
    the kept weights, the gradient that of the whole mixture (straight-through). Logits start at k-means prototypes of the
    first version; Adam with `lr` moves them. A tenth of the items, 1,000 at most, are held out, and the epoch with the
    lowest loss on them is returned, at worst the prototypes; four epochs without a better one end the training, as
    `epochs` does. The weights refer to items, so they carry over to any version that embedded these, also to one that
    had no part in the training.

    At most 50,000 items are read, of which `candidates` may be mixed, both picked by `seed`. `normalize` is for spaces of
    directions: rows are scaled to length 1 first. `device`: None takes a GPU if there is one. On a CPU, equal arguments
    give equal anchors, bit for bit. `progress` is called with each epoch's `Entry`.

    Raises:
        InvalidInput: fewer than two spaces, of different lengths, too few items for k anchors, or a bad option.
        BadVector: a row that is read is not finite or only zeros.
        MissingExtra: k-means needs scikit-learn, from the extra `align`.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((60, 3))
    >>> found = learn([x, x[:, ::-1]], 4, items=5, epochs=2, device="cpu")
    >>> found.indices.shape, bool(np.allclose(found.weights.sum(axis=1), 1))
    ((4, 5), True)
    """
    _check(similarity, temperature=temperature, lr=lr)
    for name, value in (("epochs", epochs), ("items", items), ("candidates", candidates)):
        check_count(name, value)
    check_seed(seed)
    picked, rows = read(spaces, most=_MOST, seed=seed, normalize=normalize)
    held = min(_HELD_OUT, max(2, len(picked) // 10))
    pool = min(candidates, len(picked) - held)
    check_count("k", k, most=max(0, pool))
    first = select(rows[0][held : held + pool], k, "prototype", seed, nearest=items)
    where = pick_device(device)
    with full_precision(where):
        versions = [_version(x, held, pool, similarity, where) for x in rows]
        mixing = _Mixing(first, pool, min(items, pool), temperature, where)
        best = _train(mixing, versions, epochs=epochs, lr=lr, seed=seed, progress=progress)
    indices, weights = (a.cpu().numpy() for a in best)
    order = np.argsort(indices, axis=1)
    return Anchors(
        picked[held:][np.take_along_axis(indices, order, axis=1)], np.take_along_axis(weights, order, axis=1)
    )


class _Mixing:
    """The logits (k, c) of the mixtures, and the weights that they stand for."""

    def __init__(self, first: Anchors, pool: int, items: int, temperature: float, device: str) -> None:
        start = np.zeros((len(first), pool), dtype=np.float32)
        np.put_along_axis(start, first.indices, _HEAD_START * temperature, axis=1)
        self.logits = torch.tensor(start, device=device, requires_grad=True)
        self.items, self.temperature = items, temperature

    def kept(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Positions and renormalised weights (k, m) of the largest weights (k, c)."""
        largest, indices = weights.topk(self.items, dim=1)
        return indices, largest / largest.sum(dim=1, keepdim=True)

    def best(self) -> tuple[Tensor, Tensor]:
        """What would be kept now."""
        with torch.no_grad():
            return self.kept(torch.softmax(self.logits / self.temperature, dim=1))

    def weights(self) -> Tensor:
        """(k, c): the kept weights, with the gradient of the whole mixture."""
        whole = torch.softmax(self.logits / self.temperature, dim=1)
        indices, largest = self.kept(whole.detach())
        sparse = torch.zeros_like(whole).scatter(1, indices, largest)
        return whole + (sparse - whole).detach()


def _train(
    mixing: _Mixing,
    versions: Sequence[_Version],
    *,
    epochs: int,
    lr: float,
    seed: int,
    progress: Callable[[Entry], None] | None,
) -> tuple[Tensor, Tensor]:
    """The kept positions and weights of the epoch with the lowest held-out loss."""
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam([mixing.logits], lr=lr)
    lowest, best, since = math.inf, mixing.best(), 0
    for epoch in range(epochs + 1):
        entry: dict[str, float] = {"epoch": epoch}
        if epoch:
            entry["loss"] = _epoch(mixing, versions, optimizer, draw)
        with torch.no_grad():
            weights = mixing.weights()
            entry["heldout"] = float(_disagreement([v.measure(weights)(v.held) for v in versions]))
        if progress is not None:
            progress(entry)
        since += 1
        if entry["heldout"] < lowest:
            lowest, best, since = entry["heldout"], mixing.best(), 0
        if since >= _PATIENCE:
            break
    return best


def _epoch(
    mixing: _Mixing, versions: Sequence[_Version], optimizer: torch.optim.Optimizer, draw: torch.Generator
) -> float:
    """One pass over the training items; the mean loss of its batches."""
    losses = []
    for batch in _batches(len(versions[0].train), draw):
        weights = mixing.weights()
        loss = _disagreement([v.measure(weights)(v.train[batch.to(v.train.device)]) for v in versions])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return sum(losses) / len(losses)


def _batches(n: int, draw: torch.Generator) -> Iterator[Tensor]:
    """Random batches; one that is left with less than half is passed over, for it has too few other items."""
    for batch in torch.split(torch.randperm(n, generator=draw), _BATCH):
        if len(batch) >= min(_BATCH // 2, n):
            yield batch


def _disagreement(relative: Sequence[Tensor]) -> Tensor:
    """Symmetric InfoNCE between each two versions' representations (b, k) of the same items, in their order."""
    units = [unit(rows, dim=1) for rows in relative]
    own = torch.arange(len(units[0]), device=units[0].device)
    losses = []
    for a, b in itertools.combinations(units, 2):
        scores = a @ b.T / _CONTRAST
        losses += [cross_entropy(scores, own), cross_entropy(scores.T, own)]
    return torch.stack(losses).mean()


def _version(rows: Array, held: int, pool: int, similarity: Similarity, device: str) -> _Version:
    moments = None
    if similarity == "whitened":
        mean, precision, _ = whitening(rows[held:], device="cpu")
        moments = (
            torch.tensor(mean, dtype=torch.float32, device=device),
            torch.tensor(precision, dtype=torch.float32, device=device),
        )
    there = torch.tensor(rows, device=device)
    return _Version(there[held:], there[:held], there[held : held + pool], similarity, moments)


def _check(similarity: object, **positive: object) -> None:
    if not isinstance(similarity, str) or similarity not in WIDTHS:
        raise InvalidInput(f"similarity {similarity!r:.80} is not known: use one of {', '.join(WIDTHS)}")
    for name, value in positive.items():
        number = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:  # type: ignore[operator]
            raise InvalidInput(f"{name} must be a finite number above 0, got {value!r:.80}")
