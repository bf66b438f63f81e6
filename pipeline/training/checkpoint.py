"""The resume file: all that a training has done so far, in one file that is whole or absent."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pipeline.core.files import write_bytes
from pipeline.training.trainer import Epoch, Tensors

Row = dict[str, float]


class CheckpointError(ValueError):
    """There is a resume file, but no training can resume from it; the message says why."""


@dataclass
class Checkpoint:
    """The epochs that are finished. `identity` is what the bits depend on: params, data, code."""

    identity: dict[str, Any]
    run_id: str
    started: str  # date and time, ISO 8601
    history: list[Row] = field(default_factory=list)  # Epoch.figures, a row per epoch
    system: list[Row] = field(default_factory=list)  # load of the machine, a row per epoch
    weights: list[Tensors] = field(default_factory=list)  # averaged weights of each epoch
    state: Tensors | None = None  # what the next epoch starts from

    def add(self, epoch: Epoch, system: Row) -> None:
        """Append an epoch that has just finished."""
        self.history.append(epoch.figures)
        self.system.append(system)
        self.weights.append(epoch.weights)
        self.state = epoch.state

    def save(self, path: Path) -> None:
        """Write the file. Whenever the process is killed, the old file or the new one is there."""
        named = {"state": self.state or {}} | {
            f"epoch{number}": weights for number, weights in enumerate(self.weights, start=1)
        }
        tensors = {
            f"{group}/{name}": tensor
            for group, members in named.items()
            for name, tensor in members.items()
        }
        header = {
            "identity": self.identity,
            "run_id": self.run_id,
            "started": self.started,
            "history": self.history,
            "system": self.system,
        }
        write_bytes(path, save(tensors, {"header": json.dumps(header)}))

    @classmethod
    def load(cls, path: Path, identity: dict[str, Any]) -> "Checkpoint":
        """Read the file back. CheckpointError if it is damaged or its identity is another."""
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads(file.metadata()["header"])
                groups: dict[str, dict[str, torch.Tensor]] = {}
                for key in file.keys():  # noqa: SIM118 - not a mapping
                    group, name = key.split("/")
                    groups.setdefault(group, {})[name] = file.get_tensor(key)
            state = groups.pop("state")
            weights = [groups[f"epoch{number + 1}"] for number in range(len(header["history"]))]
            checkpoint = cls(**header, weights=weights, state=state)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"it cannot be read: {error}") from error
        # by way of JSON, as it was stored
        now, then = json.loads(json.dumps(identity)), checkpoint.identity
        if now != then:
            changed = [key for key in now | then if now.get(key) != then.get(key)]
            raise CheckpointError(f"it is of another run: {', '.join(sorted(changed))} changed")
        return checkpoint
