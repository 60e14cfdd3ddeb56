"""How completions are drawn, in samples, rollouts and by the image's generate command."""

from pathlib import Path
from typing import Any

import pytest

from tunesmith_trainer.generation import Sampling, complete

TOKENS = 12


@pytest.fixture
def write(model_folder: Path) -> Any:
    """Completes one prompt several times, each in another state of the draws."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    prompt = tokenizer("The value of")["input_ids"]

    def run(sampling: Sampling) -> list[list[int]]:
        torch.manual_seed(7)
        return [list(ids) for ids in complete(model, tokenizer, [prompt] * 4, sampling)]

    return run


def test_draws_differ_and_the_likeliest_tokens_do_not(write: Any) -> None:
    greedy, drawn = write(Sampling(TOKENS)), write(Sampling(TOKENS, temperature=1.0))
    assert len(set(map(tuple, greedy))) == 1
    assert len(set(map(tuple, drawn))) > 1
    assert max(map(len, drawn)) <= TOKENS


@pytest.mark.parametrize("narrow", [{"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-6}])
def test_narrowed_to_the_likeliest_token_draws_are_greedy(write: Any, narrow: dict[str, float]) -> None:
    assert write(Sampling(TOKENS, **{"temperature": 1.0, **narrow})) == write(Sampling(TOKENS))
