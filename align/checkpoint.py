"""Checkpoints: all that a training has changed so far, in one safetensors file, so that it can go on after a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from registry.errors import CorruptFile, InvalidInput

__all__ = ["State", "restore", "save"]

_KEY = "samespace-checkpoint"

History = list[Mapping[str, float]]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """The parts of a training that change: network, head, optimiser, its schedule, and the random numbers' state."""

    network: torch.nn.Module
    head: torch.nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    random: torch.Generator


def save(path: str | os.PathLike[str], state: State, history: History, *, identity: Mapping[str, Any]) -> None:
    """Write the state after the last epoch of `history`; a reader sees all of it or the one before.

    `identity` says which training this is: options, data and older encoders, as JSON values.
    """
    optimizer = state.optimizer.state_dict()["state"]
    arrays = {f"network.{k}": v for k, v in state.network.state_dict().items()}
    arrays |= {f"head.{k}": v for k, v in state.head.state_dict().items()}
    arrays |= {f"optimizer.{i}.{k}": v for i, slots in optimizer.items() for k, v in slots.items() if v is not None}
    # The global generator too: a backbone of the user's own may use it, for dropout.
    arrays |= {"random": state.random.get_state(), "torch_random": torch.get_rng_state()}
    header = {"identity": identity, "history": history, "steps": state.schedule.last_epoch}
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    stored = {name: a.detach().cpu().contiguous().clone() for name, a in arrays.items()}
    part.write_bytes(safetensors.torch.save(stored, {_KEY: json.dumps(header)}))
    part.replace(target)


def restore(path: str | os.PathLike[str], state: State, *, identity: Mapping[str, Any]) -> History:
    """Put a saved state into `state`, and return the epochs that it has behind it; none if there is no file.

    Raises:
        InvalidInput: the file is of another training.
        CorruptFile: it is no checkpoint, or damaged.
    """
    source = Path(path)
    if not source.is_file():
        return []
    data = source.read_bytes()
    try:
        # The header comes first: its length as eight little-endian bytes, then JSON (the safetensors format).
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_KEY])
        arrays = safetensors.torch.load(data)
    except Exception as error:  # whatever a damaged file makes a parser raise
        raise CorruptFile(f"{source} is not a checkpoint of a training: delete it to begin anew") from error
    given = json.loads(json.dumps(identity))
    different = [name for name, value in given.items() if header["identity"].get(name) != value]
    if different:
        raise InvalidInput(
            f"checkpoint {source} is of another training, it differs in {', '.join(different)}: delete it or name another"
        )
    _fill(state, arrays, header["steps"])
    history: History = header["history"]
    return history


def _fill(state: State, arrays: Mapping[str, Tensor], steps: int) -> None:
    def part(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(f"{name}."): a for key, a in arrays.items() if key.startswith(f"{name}.")}

    state.network.load_state_dict(part("network"))
    state.head.load_state_dict(part("head"))
    known = state.optimizer.state_dict()
    slots: dict[int, dict[str, Tensor]] = {}
    for key, a in part("optimizer").items():
        index, _, name = key.partition(".")
        slots.setdefault(int(index), {})[name] = a
    state.optimizer.load_state_dict({**known, "state": slots})
    state.schedule.last_epoch = steps
    for group, base, factor in zip(
        state.optimizer.param_groups, state.schedule.base_lrs, state.schedule.lr_lambdas, strict=True
    ):
        group["lr"] = base * factor(steps)
    state.schedule._last_lr = [group["lr"] for group in state.optimizer.param_groups]
    state.random.set_state(arrays["random"])
    torch.set_rng_state(arrays["torch_random"])
