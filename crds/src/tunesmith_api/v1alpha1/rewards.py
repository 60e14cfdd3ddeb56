"""`spec.rewards`: what scores the completions of methods that sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, cel, exactly_one_of
from tunesmith_api.v1alpha1.auxiliary import AuxiliaryModel, from_the_hub
from tunesmith_api.v1alpha1.data_sources import BatchFunction
from tunesmith_api.v1alpha1.datasets import ColumnName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tunesmith_api.v1alpha1.methods.base import MethodBlock

REWARDS_FROM_THE_HUB = f"(has(self.rewards) && self.rewards.exists(r, {from_the_hub('r.model')}))"
"""The CEL expression that a reward model is on the Hub, or may be."""

RewardName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=40,
        json_schema_extra=cel(
            Rule(
                "self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "must be a short name such as answer: lower case letters, digits and '-', a letter first",
            )
        ),
    ),
]
Pattern = Annotated[str, Field(min_length=1, max_length=1024)]


class RegexReward(ApiModel):
    """1 for a completion that matches a regular expression, else 0."""

    pattern: Annotated[
        Pattern,
        Field(
            description="Regular expression in Python's syntax, such as `(?s)<think>.*</think>.*`; `(?s)` lets the dot"
            " match line ends."
        ),
    ]
    match: Annotated[
        Literal["search", "fullMatch"],
        Field(description="`search`: it matches somewhere in the completion. `fullMatch`: it matches all of it."),
    ] = "search"


class AnswerReward(ApiModel):
    """1 for a completion whose answer is that of its row, else 0; a row without an answer is not scored."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.tolerance) || !has(self.compare) || self.compare == 'numeric'",
            "tolerance is between numbers: remove it, or set compare: numeric",
            ".tolerance",
        ),
    )

    column: Annotated[ColumnName, Field(description="Column of the rows that holds the right answer.")] = "answer"
    pattern: Annotated[
        Pattern | None,
        Field(
            description="Regular expression that finds the answer in the completion, such as `####\\s*(.+)` for GSM8K:"
            " its first group, or all it matches; the last match counts, and a completion without one is wrong. In the"
            " column it finds the right answer the same way; a value without a match is the answer itself. Default: the"
            " last number, or for `exact` the whole text."
        ),
    ] = None
    compare: Annotated[
        Literal["numeric", "exact"],
        Field(
            description="`numeric`: as numbers, so that `1,234.50` is `1234.5`; signs of currency and percent are left"
            " out. `exact`: as texts, blanks at both ends left out."
        ),
    ] = "numeric"
    tolerance: Annotated[
        float | None, Field(ge=0, le=1e9, description="Largest difference of equal numbers. Default: 0.")
    ] = None


class LengthReward(ApiModel):
    """1 for a completion whose length is within bounds, falling to 0 beyond them."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.min) || has(self.max)", "set min, max or both: without a bound every length is right"),
        Rule(
            "!has(self.min) || !has(self.max) || self.min <= self.max",
            "no length is between them: lower min or raise max",
            ".min",
        ),
    )

    unit: Annotated[
        Literal["tokens", "characters"],
        Field(description="What is counted: tokens as they were sampled, the end included, or characters of the text."),
    ] = "tokens"
    min: Annotated[int | None, Field(ge=0, le=10_000_000, description="Shortest right length. Absent: any.")] = None
    max: Annotated[
        int | None,
        Field(ge=0, le=10_000_000, description="Longest right length; as `min` it is a target. Absent: any."),
    ] = None
    margin: Annotated[
        int,
        Field(
            ge=0,
            le=10_000_000,
            description="Units beyond a bound over which the reward falls evenly from 1 to 0; 0 lets it drop at once.",
        ),
    ] = 0


class RepetitionReward(ApiModel):
    """The negative share of repeated n-grams of tokens: 0 without any, towards -1 when all is repetition."""

    ngram_size: Annotated[int, Field(ge=1, le=64, description="Tokens that make one n-gram.")] = 3


class Reward(ApiModel):
    """One figure for each completion."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of(
            "model",
            "regex",
            "answer",
            "length",
            "repetition",
            "jsonSchema",
            "function",
            remedy="a reward has one source; list another reward for another one",
        ),
    )

    name: Annotated[
        RewardName, Field(description="Its name in metrics (`rewards/<name>/mean`) and in the table of completions.")
    ]
    weight: Annotated[
        float,
        Field(
            ge=-1000,
            le=1000,
            description="Its factor in the sum of all rewards, which is learnt from. A negative one makes a penalty of"
            " it; 0 leaves it a figure to watch.",
        ),
    ] = 1.0
    model: Annotated[
        AuxiliaryModel | None,
        Field(
            description="The score of a reward model: the output of a job of method `reward`, or any sequence"
            " classifier with one label. It reads prompt and completion as text, with its own tokenizer and chat"
            " template; what is longer than it can read loses its beginning."
        ),
    ] = None
    regex: Annotated[RegexReward | None, Field(description="1 when a regular expression matches, else 0.")] = None
    answer: Annotated[AnswerReward | None, Field(description="1 when the answer is that of the row, else 0.")] = None
    length: Annotated[LengthReward | None, Field(description="1 when the length is within bounds, less beyond.")] = None
    repetition: Annotated[
        RepetitionReward | None,
        Field(description="0 without repetition, down to -1 (Yeo et al. 2025, arXiv:2502.03373)."),
    ] = None
    json_schema: Annotated[
        str | None,
        Field(
            min_length=2,
            max_length=16384,
            description="1 when the whole completion is JSON that fits this JSON Schema of draft 2020-12, else 0."
            " `format` only describes. Refused: patternProperties, keywords that the draft does not know, and"
            " references to what is not in the schema.",
        ),
    ] = None
    function: Annotated[
        BatchFunction | None,
        Field(description="What a Python function of your own says; runs only where the installation allows it."),
    ] = None


def rewards_rules(methods: Mapping[str, type[MethodBlock]]) -> tuple[Rule, Rule]:
    """Return the rules that rewards are there for the methods that need them, and for no other."""
    online = [method for method, block in methods.items() if block.uses_rewards]
    return (
        Rule(
            f"!(self.method in {online}) || has(self.rewards)",
            "this method learns from rewards of what it samples: list at least one in spec.rewards, such as"
            " rewards: [{name: answer, answer: {column: answer}}]",
        ),
        Rule(
            f"self.method in {online} || !has(self.rewards)",
            "rewards score what a model samples, and this method samples nothing: remove them, or use method"
            f" {' or '.join(online)}",
            ".rewards",
        ),
    )
