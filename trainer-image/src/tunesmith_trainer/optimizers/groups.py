"""Which parameters decay and how fast each learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import nn
    from torch.nn import Parameter

Groups = list[dict[str, Any]]


def parameter_groups(
    model: nn.Module, decaying: Collection[str], *, lr: float, weight_decay: float, lora_b_ratio: float = 1.0
) -> Groups:
    """Return the trained parameters in groups of one learning rate and one weight decay each.

    Args:
        model: The model.
        decaying: Names of the parameters that decay.
        lr: Learning rate.
        weight_decay: Weight decay of those that decay; the others have none.
        lora_b_ratio: LoRA+ (Hayou et al. 2024, arXiv:2402.12354): how many times faster the second matrices of
            adapters learn than the first.
    """
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = lr * lora_b_ratio if _is_lora_b(name, parameter) else lr
            groups.setdefault((rate, weight_decay if name in decaying else 0.0), []).append(parameter)
    return [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()]


def _is_lora_b(name: str, parameter: Parameter) -> bool:
    """Return whether LoRA+ speeds a parameter up; as in peft, magnitudes and biases belong to the second matrix."""
    return "lora_B" in name or parameter.ndim == 1


def split(groups: Groups, chosen: Collection[Parameter]) -> tuple[Groups, Groups]:
    """Return the groups of the chosen parameters and those of the others."""
    wanted = set(chosen)
    parts: tuple[Groups, Groups] = ([], [])
    for group in groups:
        for part, members in zip(
            parts,
            (
                [parameter for parameter in group["params"] if parameter in wanted],
                [parameter for parameter in group["params"] if parameter not in wanted],
            ),
            strict=True,
        ):
            if members:
                part.append(group | {"params": members})
    return parts
