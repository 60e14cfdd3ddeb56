"""A stock class of Transformers where one has exactly the options, else our own decoder, which has them all."""

import re
from typing import Any

import pytest
from zoo import ALL_BIASES, OWN, STOCK, VOCABULARY


@pytest.mark.parametrize("name", STOCK)
def test_a_stock_class_where_one_matches(build: Any, name: str) -> None:
    fields, expected = STOCK[name]
    assert type(build(fields)).__name__ == expected


@pytest.mark.parametrize("name", OWN)
def test_our_own_decoder_for_all_else(build: Any, name: str) -> None:
    assert type(build(OWN[name])).__name__ == "TunesmithForCausalLM"


QWEN2_REASON = (
    "llama has no slidingWindow: 8; mistral has no attentionBias, attentionOutputBias and mlpBias: true, false, false"
)
OWN_REASON = "; ".join(
    [f"{name} has no positionEmbedding: learned" for name in ("llama", "mistral", "qwen2", "stablelm", "starcoder2")]
    + ["gpt2 has no numKeyValueHeads below numAttentionHeads: true"]
)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "llama has every option"),
        ({"slidingWindow": 8}, "llama has no slidingWindow: 8"),
        ({"slidingWindow": 8, "attentionBias": True, "attentionOutputBias": False}, QWEN2_REASON),
        (
            {"positionEmbedding": "learned", "norm": "layernorm", "hiddenAct": "gelu", "numKeyValueHeads": 2}
            | ALL_BIASES,
            OWN_REASON,
        ),
    ],
)
def test_the_reason_names_what_the_others_lack(resolved: Any, fields: dict[str, Any], reason: str) -> None:
    from tunesmith_trainer.models.architectures.choice import choose

    assert choose(resolved(fields)).reason == reason


@pytest.mark.parametrize("name", STOCK)
def test_our_own_decoder_computes_what_the_stock_class_does(build: Any, resolved: Any, name: str) -> None:
    """With the stock class's weights, the logits of rows with padding are equal within 1e-5."""
    import torch

    from tunesmith_trainer.models.architectures.choice import Choice
    from tunesmith_trainer.models.architectures.modeling_tunesmith import TunesmithForCausalLM
    from tunesmith_trainer.models.architectures.stock import own_arguments

    fields, _ = STOCK[name]
    stock = build(fields)
    config = Choice("tunesmith", "", own_arguments(resolved(fields))).config(VOCABULARY, pad_token_id=0)
    own = TunesmithForCausalLM(config).eval()
    own.load_state_dict(dict(_renamed(stock.state_dict())))
    ids = torch.randint(2, VOCABULARY, (2, 16), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 11:] = 0
    with torch.no_grad():
        difference = (stock(ids, attention_mask=mask).logits - own(ids, attention_mask=mask).logits)[mask.bool()]
    assert difference.abs().max() < 1e-5
    assert sum(value.numel() for value in own.parameters()) == sum(value.numel() for value in stock.parameters())


_NAMES = {
    "mlp.c_fc": "mlp.up_proj",
    "mlp.c_proj": "mlp.down_proj",
    "attn.c_proj": "self_attn.o_proj",
    "transformer.h": "model.layers",
    "transformer.wte": "model.embed_tokens",
    "transformer.wpe": "model.embed_positions",
    "transformer.ln_f": "model.norm",
    "ln_1": "input_layernorm",
    "ln_2": "post_attention_layernorm",
}


def _renamed(weights: dict[str, Any]) -> Any:
    """Yield a stock model's weights by our names; GPT-2's matrices are transposed, its three projections one."""
    of_gpt2 = any(name.startswith("transformer") for name in weights)
    for old, value in weights.items():
        if of_gpt2 and value.dim() == 2 and re.search(r"\bc_", old):
            value = value.T  # noqa: PLW2901 - the same weight, as we have it
        name = old
        for theirs, ours in _NAMES.items():
            name = name.replace(theirs, ours)
        if ".attn.c_attn." in old:
            for place, part in zip("qkv", value.chunk(3), strict=True):
                yield name.replace("attn.c_attn", f"self_attn.{place}_proj"), part
        else:
            yield name, value
