"""The modules of a model that an adapter may name, found as peft finds them: by the ends of their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_trainer.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn
    from transformers import PreTrainedModel

SCORE_HEADS = ("score", "classifier")
"""The heads of transformers' classifiers, which peft trains whole beside an adapter."""
_MOST_NAMES = 24


def output_head(model: Any) -> Any:
    """Return a model's last layer: its language modelling head, or a classifier's score head."""
    head = model.get_output_embeddings()
    if head is not None:
        return head
    return next((getattr(model, name) for name in SCORE_HEADS if hasattr(model, name)), None)


def linear_modules(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the model's linear layers by their full names, without its output head."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = output_head(model)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    }


def last_names(names: Iterable[str]) -> set[str]:
    """Return the last parts of full names."""
    return {name.rpartition(".")[2] for name in names}


def ends_with(name: str, end: str) -> bool:
    """Whether a full name is, or ends with, a name of whole parts."""
    return name == end or name.endswith(f".{end}")


def targeted(names: Iterable[str], ends: Iterable[str]) -> list[str]:
    """Return the full names that one of the given names means."""
    ends = tuple(ends)
    return [name for name in names if any(ends_with(name, end) for end in ends)]


def require_linear(model: PreTrainedModel, ends: Iterable[str], field: str) -> None:
    """Refuse names that no linear layer has; peft refuses them only when no other name fits.

    Args:
        model: The base model.
        ends: The names that the spec gives.
        field: The field they are in, for messages.

    Raises:
        InvalidSpec: A name fits no linear layer, or the output head alone.
    """
    linear = linear_modules(model)
    for place, end in enumerate(ends):
        if not targeted(linear, (end,)):
            raise InvalidSpec(
                f"spec.peft.{field}[{place}]: the model has no linear module {end!r} that can be adapted;"
                f" it has {listed(last_names(linear))}"
            )


def listed(names: Iterable[str]) -> str:
    """Return names as a message has them; not all of very many."""
    known = sorted(set(names))
    more = f" and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else ""
    return f"{', '.join(known[:_MOST_NAMES])}{more}"
