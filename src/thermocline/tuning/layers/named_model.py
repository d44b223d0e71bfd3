"""A model out of its wrappers, with its parameters by name and the other names of tied ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from thermocline.tuning.layers.wrappers import unwrap


def named_parameters(model: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, str]]:
    """Return parameters by the first of their names, and the first name by each other name of a tied one."""
    parameters = dict(model.named_parameters())
    by_id = {id(p): name for name, p in parameters.items()}
    aliases = {
        name: by_id[id(p)] for name, p in model.named_parameters(remove_duplicate=False) if name not in parameters
    }
    return parameters, aliases


@dataclass(frozen=True)
class NamedModel:
    """A model out of its wrappers.

    Attributes:
        model: The model inside the wrappers.
        path: Where it lies in the wrapped model; empty without wrappers.
        parameters: By the first of their names, within `model`.
        aliases: The other names of tied parameters, each with the first one.
    """

    model: nn.Module
    path: str
    parameters: dict[str, nn.Parameter]
    aliases: dict[str, str]

    @classmethod
    def of(cls, wrapped: nn.Module) -> NamedModel:
        """Unwrap a model and name its parameters."""
        model, path = unwrap(wrapped)
        return cls(model, path, *named_parameters(model))

    @property
    def prefix(self) -> str:
        """What the names of the wrapped model have in front of those of the inner one."""
        return f"{self.path}." if self.path else ""

    def inner_names(self, names: Iterable[str]) -> set[str]:
        """Return names of the wrapped model as names within the inner one."""
        return {name.removeprefix(f"{self.path}.") for name in names}

    def names_of(self, ids: set[int]) -> list[str]:
        """Return the names of the parameters with these ids, in order of definition."""
        return [name for name, p in self.parameters.items() if id(p) in ids]
