"""The report page and the model card, from a run record alone."""

import json
import math

import pytest
from huggingface_hub import ModelCard
from pages import HOSTILE, Page, record

from tunesmith_trainer.report.card import render_card
from tunesmith_trainer.report.charts import HEIGHT, TOP, chapters, nice_ticks, smooth, thin
from tunesmith_trainer.report.facts import Facts
from tunesmith_trainer.report.history import curve, history, json_lines, with_perplexity
from tunesmith_trainer.report.numerals import duration, numeral, words
from tunesmith_trainer.report.page import render_page


class TestPage:
    def test_it_is_one_whole_page_that_fetches_and_runs_nothing(self) -> None:
        text = render_page(Facts(record(), "adapter"))
        page = Page(text)
        assert page.open == []
        assert page.links == []
        assert "script" not in page.tags
        assert "@import" not in text
        assert "url(" not in text
        assert page.tags.count("svg") == 2
        assert "default-src 'none'" in text

    def test_what_stands_in_the_data_is_shown_and_does_nothing(self) -> None:
        samples = [{"number": 0, "step": step, "prompt": HOSTILE, "completion": HOSTILE} for step in (0, 3)]
        hostile = record()
        hostile["data"]["sources"][0]["files"] = [HOSTILE]
        hostile["run"]["spec"]["training"]["note"] = HOSTILE
        hostile["metrics"] += [{"step": step, HOSTILE: float(step)} for step in (1, 2)]
        page = Page(render_page(Facts(hostile, "model", samples)))
        assert {"script", "img"}.isdisjoint(page.tags)
        assert page.text.count(HOSTILE) == 3 + 1 + 1 + 1  # prompt and two answers, file, setting, chart

    def test_the_same_facts_make_the_same_bytes(self) -> None:
        assert render_page(Facts(record(), "adapter")) == render_page(Facts(record(), "adapter"))

    def test_nothing_of_the_pod_template_is_told(self) -> None:
        facts = Facts(record(), "adapter")
        assert "s3cret" not in render_page(facts) + render_card(facts)

    def test_it_shows_what_the_model_wrote_as_it_learnt(self) -> None:
        samples = [
            {"number": 0, "step": step, "prompt": "Why?", "completion": f"written at {step}", "expected": "Because."}
            for step in (0, 1, 2, 3)
        ]
        text = Page(render_page(Facts(record(), "adapter", samples))).text
        assert text.index("written at 0") < text.index("written at 3") < text.index("Because.")
        assert "2 in between" in text

    def test_what_can_not_be_seen_is_said(self) -> None:
        samples = [{"number": 0, "step": 0, "prompt": "Why?", "completion": "\n" * 40}]
        page = Page(render_page(Facts(record(), "adapter", samples)))
        assert page.open == []
        assert "nothing but white space" in page.text

    def test_a_run_without_evaluation_samples_or_curves_has_a_page(self) -> None:
        bare = record(metrics=[], initialEvaluation={}, finalEvaluation={})
        page = Page(render_page(Facts(bare, "model")))
        assert page.open == []
        assert "Held-out" not in page.text
        assert "svg" not in page.tags

    def test_a_later_attempt_and_an_early_stop_are_told(self) -> None:
        attempts = [{"number": 1, "created": "x"}, {"number": 2, "created": "y", "resumedFromStep": 2}]
        text = render_page(Facts(record(attempts=attempts, plannedSteps=9), "adapter"))
        assert text.count('class="mark"') == 2
        assert "stopped early, of 9" in text


class TestCard:
    def test_its_metadata_is_what_the_hub_reads(self) -> None:
        data = ModelCard(render_card(Facts(record(), "adapter"))).data
        assert (data.library_name, data.pipeline_tag) == ("peft", "text-generation")
        assert {"tunesmith", "trl", "sft", "lora"} <= set(data.tags)
        results = {result.metric_type: result.metric_value for result in data.eval_results}
        assert results == {"loss": 1.0, "perplexity": pytest.approx(math.e, abs=1e-5)}

    def test_a_base_model_of_the_hub_is_named_and_a_folder_is_not(self) -> None:
        assert ModelCard(render_card(Facts(record(), "adapter"))).data.base_model is None
        from_hub = record()
        from_hub["run"]["spec"]["model"] = {"name": "org/model", "dtype": "float32"}
        from_hub["run"]["model"] = {"base": {"name": "org/model", "revision": "main"}}
        from_hub["hub"] = [{"name": "org/model", "commit": "c0ffee"}]
        card = render_card(Facts(from_hub, "adapter"))
        assert ModelCard(card).data.base_model == "org/model"
        assert "org/model at c0ffee" in card

    def test_names_can_not_break_its_tables(self) -> None:
        hostile = record()
        hostile["data"]["sources"][0]["files"] = ["a|b\n<b>`c`"]
        assert r"| a\|b \<b\>\`c\` |" in render_card(Facts(hostile, "adapter"))

    @pytest.mark.parametrize(
        ("artifact", "call"), [("adapter", "PeftModel.from_pretrained"), ("model", "generate --mo")]
    )
    def test_it_says_how_to_load_it(self, artifact: str, call: str) -> None:
        assert call in render_card(Facts(record(), artifact))


class TestHistory:
    def test_figures_that_are_no_numbers_are_named_and_not_drawn(self) -> None:
        entries = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": math.nan}, {"step": 3, "loss": math.inf}]
        assert [json.loads(line)["loss"] for line in json_lines(entries).splitlines()] == [2.0, "nan", "inf"]
        assert curve(entries, "loss") == [(1, 2.0)]

    def test_the_evaluation_before_training_is_step_0(self) -> None:
        entries = history({"eval_loss": 2.0}, [{"step": 4, "eval_loss": 1.0}])
        assert curve(entries, "eval_loss") == [(0, 2.0), (4, 1.0)]

    @pytest.mark.parametrize("figures", [{}, {"eval_loss": math.nan}, {"eval_loss": 1e4}, {"loss": 1.0}])
    def test_without_a_fitting_loss_there_is_no_perplexity(self, figures: dict[str, float]) -> None:
        assert "eval_perplexity" not in with_perplexity(figures)

    def test_perplexity_is_e_to_the_loss(self) -> None:
        assert with_perplexity({"eval_loss": 1.5})["eval_perplexity"] == pytest.approx(math.exp(1.5))


class TestCharts:
    def test_a_long_curve_keeps_its_spikes(self) -> None:
        points = [(float(step), 1.0) for step in range(100_000)]
        points[54_321] = (54_321.0, 9.0)
        kept = thin(points)
        assert len(kept) <= 402
        assert (54_321.0, 9.0) in kept
        assert (kept[0], kept[-1]) == (points[0], points[-1])

    def test_the_smoothed_curve_is_not_shifted(self) -> None:
        ramp = [(float(step), 2.0 * step) for step in range(200)]
        smoothed = smooth(ramp)
        assert [value for _, value in smoothed[:-8]] == pytest.approx([value for _, value in ramp[:-8]])
        assert smoothed[-1][1] == pytest.approx(2.0 * (199 - 4))

    @pytest.mark.parametrize(("low", "high"), [(0, 1), (0.123, 0.124), (3, 3), (0, 0), (-2, 7.5), (1e-6, 3e-4)])
    def test_ticks_are_round_and_cover_the_range(self, low: float, high: float) -> None:
        ticks = nice_ticks(low, high)
        assert 3 <= len(ticks) <= 8
        assert ticks[0] <= low + 1e-12
        assert ticks[-1] >= high - 1e-12

    def test_a_higher_value_is_drawn_higher(self) -> None:
        (chapter,) = chapters([{"step": 0, "loss": 1.0}, {"step": 1, "loss": 2.0}])
        (chart,) = chapter.charts
        (_, low, _), (_, high, text) = chart.lines[0].dots
        assert TOP <= high < low <= HEIGHT
        assert text == "step 1: 2"


def test_numbers_are_told_shortly() -> None:
    assert [numeral(value) for value in (0, 2e-5, 0.0125, 9999, 12_500, 1.2e6)] == [
        "0",
        "2e-05",
        "0.0125",
        "9999",
        "12.5k",
        "1.2M",
    ]
    assert [duration(seconds) for seconds in (1.26, 245, 12_000)] == ["1.3 s", "4 min 5 s", "3 h 20 min"]
    assert words("perDeviceTrainBatchSize") == "per device train batch size"
