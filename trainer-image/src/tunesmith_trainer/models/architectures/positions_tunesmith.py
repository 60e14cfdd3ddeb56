"""How Tunesmith's decoder knows positions: computed when needed, so that no table is saved or can go stale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

if TYPE_CHECKING:
    # Relative, as Transformers finds and saves what a model's file imports.
    from .configuration_tunesmith import TunesmithConfig

_SINUSOIDAL_BASE = 10000.0


def rotary(config: TunesmithConfig, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines and sines that turn queries and keys (Su et al. 2021, arXiv:2104.09864), as Llama has them.

    Args:
        config: The model's config.
        positions: Position of each token in its sequence, (batch, tokens).
        dtype: Precision to return them in.
    """
    parameters = config.rope_parameters or {}
    if parameters["rope_type"] == "yarn":
        inverse, scale = ROPE_INIT_FUNCTIONS["yarn"](config, positions.device)
    else:
        dim = config.hidden_size // config.num_attention_heads
        exponents = torch.arange(0, dim, 2, dtype=torch.float, device=positions.device) / dim
        inverse, scale = 1.0 / parameters["rope_theta"] ** exponents, 1.0
    angles = positions[..., None].float() * inverse.to(positions.device)
    angles = torch.cat((angles, angles), dim=-1)
    return (angles.cos() * scale).to(dtype), (angles.sin() * scale).to(dtype)


def sinusoidal(width: int, positions: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return sines and cosines of falling frequency per position (Vaswani et al. 2017, 3.5), sines first."""
    exponents = torch.arange(width // 2, dtype=torch.float, device=positions.device) / (width // 2)
    angles = positions[..., None].float() / _SINUSOIDAL_BASE**exponents
    return torch.cat((angles.sin(), angles.cos()), dim=-1).to(dtype)


def alibi_slopes(heads: int) -> list[float]:
    """Return each head's slope: a geometric sequence (Press et al. 2022, arXiv:2108.12409, section 3).

    For a number of heads that is no power of two, the slopes of the next lower one come first, then every other of
    twice as many, as in the authors' code.
    """
    lower = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (head + 1) / lower) for head in range(lower)]
    return slopes + [2 ** (-4 * (head + 1) / lower) for head in range(0, 2 * (heads - lower), 2)]


def alibi(heads: int, allowed: torch.Tensor | None, lengths: tuple[int, int], like: torch.Tensor) -> torch.Tensor:
    """Return what is added to attention scores: slope times distance, and next to minus infinity where masked.

    Args:
        heads: Number of attention heads.
        allowed: What each query may attend to, (batch, 1, queries, keys), as booleans or as zeros among negative
            numbers; None means all before it.
        lengths: Number of queries and of keys; the last key belongs to the last query.
        like: A tensor of the device and precision to return it in.
    """
    queries, keys = lengths
    places = torch.arange(keys, device=like.device)
    distance = places - places[keys - queries :, None]
    slopes = torch.tensor(alibi_slopes(heads), device=like.device)
    bias = (slopes[:, None, None] * distance).to(like.dtype)[None]
    if allowed is None:
        allowed = distance <= 0
    elif allowed.dtype != torch.bool:
        allowed = allowed >= 0
    return bias.masked_fill(~allowed, torch.finfo(like.dtype).min)
