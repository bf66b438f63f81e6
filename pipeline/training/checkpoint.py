"""The resume file: the progress of a training run in a single, atomically written file."""

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
    """Training cannot resume from this file; the message says why."""


@dataclass
class Checkpoint:
    """The finished epochs. `identity` determines the weights: params, data, code, environment."""

    identity: dict[str, Any]
    run_id: str
    started: str  # date and time, ISO 8601
    history: list[Row] = field(default_factory=list)  # Epoch.figures, one row per epoch
    system: list[Row] = field(default_factory=list)  # system load, one row per epoch
    weights: list[Tensors] = field(default_factory=list)  # averaged weights of each epoch
    state: Tensors | None = None  # the state that the next epoch starts from

    def add(self, epoch: Epoch, system: Row) -> None:
        """Append a finished epoch."""
        self.history.append(epoch.figures)
        self.system.append(system)
        self.weights.append(epoch.weights)
        self.state = epoch.state

    def save(self, path: Path) -> None:
        """Write the file atomically: a killed process leaves the old file or the new one."""
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
        """Read the file. Raises CheckpointError if it is corrupt or its identity differs."""
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
        # a round trip through JSON, because the stored identity has made one too
        new, stored = json.loads(json.dumps(identity)), checkpoint.identity
        if new != stored:
            changed = [key for key in new | stored if new.get(key) != stored.get(key)]
            raise CheckpointError(
                f"it belongs to a different run ({', '.join(sorted(changed))} changed)"
            )
        return checkpoint
