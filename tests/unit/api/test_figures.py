"""The order of figures where there is room for few."""

import random

import pytest

from tunesmith_api.figures import HEADLINES, base_name, is_headline, ranked

LOGGED = {
    "dpo": """loss rewards/accuracies rewards/margins rewards/chosen rewards/rejected entropy logps/chosen
        logps/rejected learning_rate grad_norm logits/chosen num_tokens""",
    "grpo": """reward loss kl entropy reward_std rewards/exact/mean rewards/length/mean completions/mean_length
        completions/clipped_ratio clip_ratio/region_mean learning_rate clip_ratio/low_mean completions/max_length""",
    "reward": "loss accuracy margin mean_reward learning_rate max_reward min_reward",
}


@pytest.mark.parametrize("method", LOGGED)
def test_what_users_of_a_method_watch_comes_first(method: str) -> None:
    names = LOGGED[method].split()
    assert ranked(random.Random(method).sample(names, len(names))) == names


def test_a_figure_stands_with_its_kin_of_held_out_rows() -> None:
    names = ["learning_rate", "initial_eval_reward", "eval_loss", "eval_reward", "loss", "reward", "initial_eval_loss"]
    expected = ["reward", "eval_reward", "initial_eval_reward", "loss", "eval_loss", "initial_eval_loss"]
    assert ranked(names) == [*expected, "learning_rate"]
    assert {base_name(name) for name in names} == {"reward", "loss", "learning_rate"}


def test_a_name_that_nobody_knows_is_no_headline() -> None:
    assert all(map(is_headline, HEADLINES))
    assert is_headline("initial_eval_rewards/any name/mean")
    assert not is_headline("rewards/exact/std")
