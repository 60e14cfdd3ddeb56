"""What every architecture must do: generate from its cache, keep packed rows apart, learn with every weight."""

import copy
from typing import Any

import pytest
from zoo import OWN, VOCABULARY


def tokens(rows: int, length: int, seed: int = 3) -> Any:
    import torch

    return torch.randint(2, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def test_generation_from_the_cache_is_generation_without(model: Any) -> None:
    ids = tokens(1, 9)
    options = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    cached = model.generate(ids, use_cache=True, **options)
    assert cached.shape == (1, 21)
    assert cached.tolist() == model.generate(ids, use_cache=False, **options).tolist()


def test_logits_from_the_cache_are_those_of_the_whole(model: Any) -> None:
    import torch

    ids = tokens(2, 14)
    with torch.no_grad():
        whole = model(ids).logits
        begun = model(ids[:, :9], use_cache=True)
        rest = model(ids[:, 9:], past_key_values=begun.past_key_values, use_cache=True)
    assert (torch.cat((begun.logits, rest.logits), dim=1) - whole).abs().max() < 1e-5


def test_padding_on_the_left_changes_nothing(model: Any) -> None:
    import torch

    ids = tokens(1, 10)
    padded = torch.cat((torch.zeros(1, 5, dtype=torch.long), ids), dim=1)
    mask = (padded != 0).long()
    with torch.no_grad():
        logits = model(padded, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)).logits[:, 5:]
        assert (logits - model(ids).logits).abs().max() < 1e-5


def test_packed_sequences_do_not_see_each_other(model: Any) -> None:
    """Told apart by positions alone; within 1e-5 of each alone."""
    import torch

    first, second = tokens(1, 11, seed=1), tokens(1, 8, seed=2)
    packed = torch.cat((first, second), dim=1)
    positions = torch.cat((torch.arange(11), torch.arange(8)))[None]
    with torch.no_grad():
        together = model(packed, position_ids=positions, use_cache=False).logits
        alone = torch.cat((model(first).logits, model(second).logits), dim=1)
    assert (together - alone).abs().max() < 1e-5
    assert (model(packed, use_cache=False).logits - alone).abs().max() > 1e-3, "without positions it is one sequence"


def test_no_token_sees_a_later_one(model: Any) -> None:
    import torch

    ids = tokens(1, 12)
    changed = ids.clone()
    changed[0, 7:] = (ids[0, 7:] + 1) % VOCABULARY
    with torch.no_grad():
        difference = (model(ids).logits - model(changed).logits).abs().amax(-1)[0]
    assert difference[:7].max() == 0
    assert difference[7:].min() > 1e-3


def test_a_window_ends(model: Any) -> None:
    """A token reaches as far back as the windows of all layers together, and no further."""
    import torch

    window = getattr(model.config, "sliding_window", None)
    reach = 40 if window is None else model.config.num_hidden_layers * (window - 1)
    ids = tokens(1, 40)
    changed = ids.clone()
    changed[0, 0] = (ids[0, 0] + 1) % VOCABULARY
    with torch.no_grad():
        difference = (model(ids).logits - model(changed).logits).abs().amax(-1)[0]
    assert difference[: reach + 1].min() > 1e-6
    assert window is None or difference[reach + 1 :].max() == 0


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
def test_every_weight_gets_a_gradient(model: Any, checkpointing: bool) -> None:
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    ids = tokens(2, 16)
    model(ids, labels=ids).loss.backward()
    without = [name for name, value in model.named_parameters() if value.grad is None or value.grad.abs().sum() == 0]
    assert without == []


@pytest.mark.methods("architecture")
def test_recomputing_gives_the_same_gradients(model: Any) -> None:
    import torch

    ids = tokens(2, 16)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        model.zero_grad()
        torch.manual_seed(5)
        model(ids, labels=ids).loss.backward()
        gradients.append([value.grad.clone() for value in model.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        assert torch.allclose(kept, recomputed, atol=1e-6)


@pytest.mark.methods("architecture")
def test_it_learns(model: Any) -> None:
    """Forty steps on eight rows at least halve the loss."""
    import torch

    ids = tokens(8, 16)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = model(ids, labels=ids, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("name", OWN)
def test_attention_computed_step_by_step_is_the_same(build: Any, name: str) -> None:
    import torch

    model = build(OWN[name])
    ids = tokens(2, 14)
    with torch.no_grad():
        fused = model(ids).logits
        model.set_attn_implementation("eager")
        assert (model(ids).logits - fused).abs().max() < 1e-5


def test_hidden_states_end_with_the_last(build: Any) -> None:
    import torch

    model = build(OWN["alibi"])
    ids = tokens(1, 6)
    with torch.no_grad():
        outputs = model(ids, output_hidden_states=True)
        assert len(outputs.hidden_states) == model.config.num_hidden_layers + 1
        assert torch.equal(model.lm_head(outputs.hidden_states[-1]), outputs.logits)
        assert torch.allclose(model(ids, logits_to_keep=2).logits, outputs.logits[:, -2:], atol=1e-6)
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model(ids, inputs_embeds=outputs.hidden_states[0])


def test_alibi_says_what_it_can_not(build: Any) -> None:
    model = build(OWN["alibi"])
    with pytest.raises(ValueError, match="ALiBi needs a cache that grows"):
        model.generate(tokens(1, 4), max_new_tokens=2, cache_implementation="static", pad_token_id=0)
    with pytest.raises(ValueError, match="does not support Flash Attention"):
        model._flash_attn_can_dispatch(2)


def test_slopes_of_alibi_are_those_of_its_authors() -> None:
    from tunesmith_trainer.models.architectures.positions_tunesmith import alibi_slopes

    assert alibi_slopes(8) == [2**-place for place in range(1, 9)]
    assert alibi_slopes(6) == [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]


def test_a_classifier_scores_the_last_token_before_padding(model: Any) -> None:
    """Of every architecture there is one, with the language model's layers; what follows a text changes nothing."""
    import torch
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(model.config)
    config.num_labels = 1
    classifier = AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa").eval()
    getattr(classifier, classifier.base_model_prefix).load_state_dict(model.base_model.state_dict())
    ids = tokens(1, 10)
    padded = torch.cat((ids, torch.zeros(1, 5, dtype=torch.long)), dim=1)
    with torch.no_grad():
        score = classifier(ids).logits
        assert score.shape == (1, 1)
        assert torch.allclose(classifier(padded, attention_mask=(padded != 0).long()).logits, score, atol=1e-5)
        hidden = model.base_model(ids).last_hidden_state[:, -1]
        assert torch.allclose(classifier.score(hidden), score, atol=1e-5)
