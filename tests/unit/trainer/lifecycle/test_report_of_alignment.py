"""The report page and the model card of alignment: rewards, what was written for them, the paper of the method."""

from typing import Any

import pytest
from huggingface_hub import ModelCard
from pages import HOSTILE, Page, record

from tunesmith_api.v1alpha1.methods import ALIGNMENT
from tunesmith_trainer.report.card import render_card
from tunesmith_trainer.report.charts import chapters
from tunesmith_trainer.report.citations import PAPERS
from tunesmith_trainer.report.completions import batches
from tunesmith_trainer.report.facts import Facts
from tunesmith_trainer.report.families import families
from tunesmith_trainer.report.page import render_page
from tunesmith_trainer.report.view import tiles


def aligned(method: str, logged: dict[str, float], steps: int = 3, **changes: Any) -> dict[str, Any]:
    """Return the record of a run that logged figures at every step, each a little more than before."""
    log = [{"step": step, **{name: value * step for name, value in logged.items()}} for step in range(1, steps + 1)]
    found = record(metrics=log, **changes)
    found["run"]["kind"] = "AlignmentJob"
    found["run"]["spec"]["method"] = method
    return found


def completion(step: int, number: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a completion as an online method keeps it."""
    row = {"step": step, "prompt": f"prompt {number}", "completion": f"written {number} at {step}"}
    return row | {"rewards": {"exact": number / 10}, "reward": number / 10, "advantage": 0.5} | changes


class TestCharts:
    def test_figures_that_belong_together_share_a_chart_under_their_heading(self) -> None:
        names = ["loss", "rewards/rejected", "rewards/chosen", "rewards/exact/mean", "rewards/length/mean", "kl"]
        names += ["completions/mean_length", "completions/max_length", "sampling/of its own"]
        found = {heading: [chart.figures for chart in group] for heading, group in families(names).items()}
        assert found == {
            "Rewards": [
                {"rewards/exact/mean": "exact", "rewards/length/mean": "length"},
                {"rewards/chosen": "chosen", "rewards/rejected": "rejected"},
            ],
            "Training": [{"loss": ""}],
            "Policy": [{"kl": ""}],
            "Completions": [{"completions/mean_length": "mean length", "completions/max_length": "max length"}],
            "More figures": [{"sampling/of its own": ""}],
        }

    def test_curves_of_one_chart_have_their_own_colours_and_held_out_ones_their_figure_s(self) -> None:
        entries = [
            {"step": step, "rewards/chosen": 1.0, "rewards/rejected": -1.0, "eval_rewards/chosen": 2.0}
            for step in (1, 2)
        ]
        ((chart,),) = (chapter.charts for chapter in chapters(entries))
        assert [(line.name, line.role) for line in chart.lines] == [
            ("chosen", "train colour0"),
            ("chosen, held-out", "eval colour0"),
            ("rejected", "train colour1"),
        ]

    def test_many_points_of_several_curves_are_smoothed_each(self) -> None:
        entries = [{"step": step, "rewards/chosen": step % 2, "rewards/rejected": 0.0} for step in range(100)]
        ((chart,),) = (chapter.charts for chapter in chapters(entries))
        assert [line.role for line in chart.lines] == [
            "faint colour0",
            "train colour0",
            "faint colour1",
            "train colour1",
        ]


class TestPage:
    def test_a_policy_is_told_by_its_reward_and_not_by_its_loss(self) -> None:
        facts = Facts(aligned("grpo", {"reward": 0.25, "kl": 0.01, "loss": 1e-9}), "adapter")
        shown = {tile.label: (tile.value, tile.note) for tile in tiles(facts)}
        assert shown["Reward"] == ("0.75", "0.25 at step 1")
        assert shown["KL from the reference"] == ("0.03", "0.01 at step 1")
        assert not {"Training loss", "Held-out loss"} & shown.keys()

    def test_preferences_are_told_by_the_pairs_told_apart(self) -> None:
        moments: dict[str, Any] = {
            "initialEvaluation": {"eval_loss": 0.69, "eval_rewards/accuracies": 0.5},
            "finalEvaluation": {"eval_loss": 0.1, "eval_rewards/accuracies": 0.95},
        }
        facts = Facts(aligned("dpo", {"loss": 0.1, "rewards/margins": 1.0}, **moments), "adapter")
        shown = {tile.label: (tile.value, tile.note) for tile in tiles(facts)}
        assert shown["Held-out pairs told apart"] == ("0.95", "0.5 before training")
        page = Page(render_page(facts))
        assert page.open == []
        assert "Margin of chosen over rejected" in page.text
        assert "rewards/accuracies" in page.text, "in the table of before and after"

    def test_completions_are_shown_with_their_rewards(self) -> None:
        rows = [completion(step, number) for step in (1, 2, 3) for number in range(3)]
        page = Page(render_page(Facts(aligned("grpo", {"reward": 0.1}), "adapter", completions=rows)))
        assert page.open == []
        assert page.text.index("written 2 at 1") < page.text.index("written 0 at 1") < page.text.index("written 2 at 3")
        assert "promptcompletionexactrewardadvantage" in page.text, "the heads of the columns"

    def test_what_a_policy_writes_is_shown_and_does_nothing(self) -> None:
        rows = [completion(1, prompt=HOSTILE, completion=HOSTILE, rewards={HOSTILE: None}, reward=None)]
        page = Page(render_page(Facts(aligned("ppo", {"reward": 0.1}), "adapter", completions=rows)))
        assert {"script", "img"}.isdisjoint(page.tags)
        assert page.text.count(HOSTILE) == 3


class TestData:
    def test_answers_are_told_kind_by_kind(self) -> None:
        found = aligned("dpo", {})
        kinds = {
            "chosen": {"count": 1200, "mean": 20.5, "p50": 20, "p99": 90, "max": 91},
            "rejected": {"count": 1200, "mean": 30.5, "p50": 31, "p99": 80, "max": 81},
        }
        found["data"]["train"]["answers"] = kinds
        page = Page(render_page(Facts(found, "adapter")))
        assert page.open == []
        assert "answers to train onchosenrejected" in page.text
        assert "answers.chosen" not in page.text
        assert "| answers | 1,200 | 1,200 |\n| tokens, mean | 20.5 | 30.5 |" in render_card(Facts(found, "adapter"))


class TestCompletions:
    def test_of_many_a_few_are_shown_from_the_best_to_the_worst(self) -> None:
        rows = [completion(step, number) for step in range(50) for number in range(20)]
        found = batches(Facts(aligned("grpo", {}), "adapter", completions=rows))
        assert [batch.step for batch in found] == [0, 12, 24, 37, 49]
        assert [row.figures[1] for row in found[0].rows] == ["1.9", "1.6", "1.4", "1.1", "0.8", "0.5", "0.3", "0"]
        assert found[0].left_out == 12

    def test_a_reward_that_a_row_does_not_have_is_a_dash(self) -> None:
        rows = [completion(1, advantage=None), completion(1, rewards={"other": 1.0}, reward=2.0, advantage=None)]
        (batch,) = batches(Facts(aligned("ppo", {}), "adapter", completions=rows))
        assert batch.figures == ("exact", "other", "reward")
        assert [row.figures for row in batch.rows] == [("–", "1", "2"), ("0", "–", "0")]


class TestCard:
    @pytest.mark.parametrize("method", ALIGNMENT)
    def test_the_paper_of_every_method_is_cited(self, method: str) -> None:
        assert PAPERS[method].link in render_card(Facts(aligned(method, {}), "adapter"))

    @pytest.mark.parametrize("artifact", ["adapter", "model"])
    def test_a_reward_model_scores_and_does_not_write(self, artifact: str) -> None:
        card = render_card(Facts(aligned("reward", {"accuracy": 0.3}), artifact))
        assert ModelCard(card).data.pipeline_tag == "text-classification"
        assert "AutoModelForSequenceClassification.from_pretrained" in card
        assert "AutoModelForCausalLM" not in card
        assert "tunesmith_trainer generate" not in card + render_page(Facts(aligned("reward", {}), artifact))

    def test_its_results_are_those_of_preferences(self) -> None:
        final = {"eval_loss": 0.1, "eval_rewards/accuracies": 0.95}
        card = ModelCard(render_card(Facts(aligned("dpo", {}, finalEvaluation=final), "adapter")))
        results = {result.metric_type: result.metric_value for result in card.data.eval_results}
        assert results == {"loss": 0.1, "accuracy": 0.95}
