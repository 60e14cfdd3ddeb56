"""`spec.peft`: parameter-efficient fine-tuning, in PEFT's terms. Absent means full weights."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, cel, exactly_one_of, remedy

ModuleName = Annotated[str, Field(min_length=1, max_length=253)]
LayerIndex = Annotated[int, Field(ge=0, le=100_000)]
Rank = Annotated[int, Field(ge=1, le=4096)]
Alpha = Annotated[int, Field(ge=1, le=65536)]

_SET = {"x-kubernetes-list-type": "set"}
# They move a part of each weight from the base into the adapter. What is saved is converted, so that it fits the base
# as it was; peft converts the low-rank matrices alone.
_CONVERTED = "['pissa', 'olora']"


def _patterns(what: str) -> Rule:
    return Rule(
        "self.all(name, size(name) > 0 && size(name) <= 253)", f"name a module, such as {what}, in 1 to 253 characters"
    )


class Lora(ApiModel):
    """Low-rank adaptation (peft.LoraConfig; Hu et al. 2021, arXiv:2106.09685)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.targetModules) || !('all-linear' in self.targetModules) || size(self.targetModules) == 1",
            "all-linear means every linear layer but the output head: list it alone",
            ".targetModules",
        ),
        Rule(
            "!has(self.targetModules) || !('lm_head' in self.targetModules)",
            "LoRA on lm_head is not supported: remove it, or train the whole head with modulesToSave: [lm_head]",
            ".targetModules",
        ),
        Rule(
            "!has(self.targetModules) || !has(self.modulesToSave)"
            " || !self.modulesToSave.exists(name, name in self.targetModules)",
            "a module is adapted or trained whole: list it in targetModules or in modulesToSave, not in both",
            ".modulesToSave",
        ),
        Rule(
            "!has(self.layersPattern) || has(self.layersToTransform)",
            "layersPattern says where the layers of layersToTransform are: set layersToTransform, or remove it",
            ".layersPattern",
        ),
        Rule(
            f"!has(self.initLoraWeights) || !(self.initLoraWeights in {_CONVERTED})"
            " || ((!has(self.useDora) || !self.useDora) && !has(self.modulesToSave)"
            " && (!has(self.bias) || self.bias == 'none'))",
            "pissa and olora change the base model's weights, and only low-rank matrices can be converted back to fit"
            " it: remove useDora, bias and modulesToSave, or use another initLoraWeights",
            ".initLoraWeights",
        ),
        Rule(
            f"!has(self.initLoraWeights) || !(self.initLoraWeights in {_CONVERTED})"
            " || !has(self.useRslora) || !self.useRslora || (!has(self.rankPattern) && !has(self.alphaPattern))",
            "an adapter of pissa or olora with useRslora and rankPattern or alphaPattern can not be converted back to"
            " fit the base model: remove useRslora or the patterns",
            ".initLoraWeights",
        ),
        Rule(
            "!has(self.initLoraWeights) || self.initLoraWeights != 'orthogonal' || ((!has(self.r) || self.r % 2 == 0)"
            " && (!has(self.rankPattern) || self.rankPattern.all(name, self.rankPattern[name] % 2 == 0)))",
            "orthogonal needs even ranks: change r or rankPattern, or use another initLoraWeights",
            ".initLoraWeights",
        ),
    )

    r: Annotated[
        int,
        Field(
            ge=1,
            le=4096,
            description="Rank of the update matrices.",
            json_schema_extra=remedy(
                "the rank r must be between 1 and 4096: choose one such as 8, or remove peft to train full weights"
            ),
        ),
    ] = 8
    lora_alpha: Annotated[
        Alpha, Field(description="Scaling factor; the update is scaled by loraAlpha / r, see `useRslora`.")
    ] = 16
    lora_dropout: Annotated[
        float, Field(ge=0, lt=1, description="Dropout on the adapter's input, as a probability.")
    ] = 0.0
    target_modules: Annotated[
        tuple[ModuleName, ...],
        Field(
            min_length=1,
            max_length=64,
            description="The linear layers that get an adapter, by the ends of their names, such as `q_proj` or"
            " `mlp.c_proj`; or `all-linear` alone, every one but the output head.",
            json_schema_extra=_SET,
        ),
    ] = ("all-linear",)
    layers_to_transform: Annotated[
        tuple[LayerIndex, ...] | None,
        Field(
            min_length=1,
            max_length=512,
            description="Numbers of the decoder layers that get an adapter, from 0. Absent means all.",
            json_schema_extra=_SET,
        ),
    ] = None
    layers_pattern: Annotated[
        ModuleName | None,
        Field(
            description="Name of the list that `layersToTransform` counts in, such as `layers`. Absent means the"
            " outermost list of the model."
        ),
    ] = None
    rank_pattern: Annotated[
        dict[str, Rank] | None,
        Field(
            min_length=1,
            max_length=64,
            description="Ranks that differ from `r`: the end of a module's name, or a regular expression for it, and"
            " the rank, such as `{q_proj: 16}`.",
            json_schema_extra=cel(_patterns("q_proj")),
        ),
    ] = None
    alpha_pattern: Annotated[
        dict[str, Alpha] | None,
        Field(
            min_length=1,
            max_length=64,
            description="Scaling factors that differ from `loraAlpha`, as in `rankPattern`.",
            json_schema_extra=cel(_patterns("q_proj")),
        ),
    ] = None
    loraplus_lr_ratio: Annotated[
        float | None,
        Field(
            ge=1,
            le=1000,
            description="How many times training.learningRate the second matrices (B) learn at, such as 16 (LoRA+,"
            " arXiv:2402.12354). Absent means all learn alike.",
        ),
    ] = None
    use_rslora: Annotated[
        bool,
        Field(description="Scale by loraAlpha / sqrt(r), which keeps high ranks stable (arXiv:2312.03732)."),
    ] = False
    use_dora: Annotated[
        bool,
        Field(
            description="Train magnitude and direction of each weight apart (DoRA, arXiv:2402.09353): often better at"
            " low ranks, slower."
        ),
    ] = False
    bias: Annotated[
        Literal["none", "all", "lora_only"],
        Field(
            description="Which biases of the base model are trained and saved with the adapter: `none`, `all`, or those"
            " of the adapted layers. Without referenceModel not for dpo and kto, nor for grpo and rloo with a beta:"
            " their reference is the base model as it was."
        ),
    ] = "none"
    modules_to_save: Annotated[
        tuple[ModuleName, ...] | None,
        Field(
            min_length=1,
            max_length=16,
            description="Modules that are trained whole and saved with the adapter, by the ends of their names, such as"
            " `embed_tokens` and `lm_head`. Tied embeddings stay tied.",
            json_schema_extra=_SET,
        ),
    ] = None
    init_lora_weights: Annotated[
        Literal["default", "gaussian", "orthogonal", "pissa", "olora"],
        Field(
            description="How the adapter begins. `default`: A drawn uniformly and B zero (peft's `true`); `gaussian`: A"
            " drawn from a normal distribution; `orthogonal`: A and B drawn so that their product is zero; `pissa`"
            " (arXiv:2404.02948) and `olora` (arXiv:2406.01775): a part of each weight moves into the adapter, which is"
            " saved as a plain one of twice the rank that fits the unchanged base."
        ),
    ] = "default"


class Ia3(ApiModel):
    """Learnt scales on keys, values and feed-forward layers (peft.IA3Config; Liu et al. 2022, arXiv:2205.05638)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.targetModules) || !('lm_head' in self.targetModules)",
            "an adapter on lm_head is not supported: remove it",
            ".targetModules",
        ),
        Rule(
            "!has(self.feedforwardModules) || (has(self.targetModules)"
            " && self.feedforwardModules.all(name, name in self.targetModules))",
            "feedforwardModules says which of targetModules are scaled at their input: list them in targetModules too",
            ".feedforwardModules",
        ),
    )

    target_modules: Annotated[
        tuple[ModuleName, ...] | None,
        Field(
            min_length=1,
            max_length=64,
            description="The linear layers that are scaled, by the ends of their names. Default: by architecture,"
            " such as k_proj, v_proj and down_proj.",
            json_schema_extra=_SET,
        ),
    ] = None
    feedforward_modules: Annotated[
        tuple[ModuleName, ...] | None,
        Field(
            max_length=64,
            description="Those of `targetModules` that are scaled at their input instead of their output. Default: the"
            " last layers of feed-forward blocks among them, such as down_proj.",
            json_schema_extra=_SET,
        ),
    ] = None


class PromptTuning(ApiModel):
    """Learnt embeddings before every row (peft.PromptTuningConfig; Lester et al. 2021, arXiv:2104.08691)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.promptTuningInit) && self.promptTuningInit == 'TEXT') == has(self.promptTuningInitText)",
            "promptTuningInit: TEXT and promptTuningInitText belong together: set both or neither",
            ".promptTuningInitText",
        ),
    )

    num_virtual_tokens: Annotated[
        int,
        Field(
            ge=1,
            le=8192,
            description="Embeddings before each row. The model must know as many positions more than"
            " training.maxLength.",
        ),
    ] = 20
    prompt_tuning_init: Annotated[
        Literal["RANDOM", "SAMPLE_VOCAB", "TEXT"],
        Field(
            description="What they begin as: random vectors, embeddings of random tokens, or those of"
            " `promptTuningInitText`."
        ),
    ] = "RANDOM"
    prompt_tuning_init_text: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=16384,
            description="Text whose tokens they begin as; repeated or cut to numVirtualTokens tokens.",
        ),
    ] = None


class Peft(ApiModel):
    """The adapter to train. Its task type follows from the method."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("lora", "ia3", "promptTuning", remedy="the adapter to train; lora is the usual one"),
    )

    lora: Annotated[Lora | None, Field(description="Low-rank adaptation.")] = None
    ia3: Annotated[
        Ia3 | None,
        Field(
            description="Scales on activations. training.learningRate then defaults to 150 times that of full weights,"
            " such as 3e-3 for sft."
        ),
    ] = None
    prompt_tuning: Annotated[
        PromptTuning | None,
        Field(
            description="Learnt embeddings before every row; they can not be merged into the model."
            " training.learningRate then defaults to 1500 times that of full weights, such as 3e-2 for sft."
        ),
    ] = None


_MERGES = "has(self.output) && has(self.output.mergeAdapter) && self.output.mergeAdapter"
_QUANTISES = "has(self.model.quantization)"


def _about_added_tokens(field: str) -> tuple[Rule, Rule]:
    """Return the rules about tokens that get embeddings of their own, which the adapter brings along."""
    return (
        Rule(
            f"!has(self.model.{field}) || !has(self.peft) || has(self.peft.lora)",
            f"{field} get embeddings of their own, which only LoRA and full weights train: use peft.lora, or remove it",
            f".model.{field}",
        ),
        Rule(
            f"!has(self.model.{field}) || !has(self.peft) || !has(self.peft.lora)"
            " || (!has(self.peft.lora.modulesToSave) && (!has(self.peft.lora.initLoraWeights)"
            f" || !(self.peft.lora.initLoraWeights in {_CONVERTED})))",
            f"{field} get embeddings of their own in the adapter, beside low-rank matrices alone: remove"
            " peft.lora.modulesToSave, and pissa or olora, or remove them",
            f".model.{field}",
        ),
    )


ADAPTER_RULES = (
    Rule(
        f"!({_MERGES}) || has(self.peft) || has(self.model.fromJob)",
        "mergeAdapter is for a job that trains an adapter, and this one trains full weights: set peft, or remove it",
        ".output.mergeAdapter",
    ),
    Rule(
        f"!({_MERGES}) || !has(self.peft) || !has(self.peft.promptTuning)",
        "learnt embeddings are no weights of the model and can not be merged into it: remove mergeAdapter, or use"
        " another adapter type",
        ".output.mergeAdapter",
    ),
    Rule(
        f"!{_QUANTISES} || (has(self.peft) ? has(self.peft.lora) : has(self.model.fromJob))",
        "a quantised model is frozen and trains a LoRA adapter: set peft.lora, or remove quantization",
        ".model.quantization",
    ),
    Rule(
        f"!{_QUANTISES} || !has(self.peft) || !has(self.peft.lora) || !has(self.peft.lora.initLoraWeights)"
        f" || !(self.peft.lora.initLoraWeights in {_CONVERTED})",
        "pissa and olora change the base model's weights, which quantised ones are too coarse for: use another"
        " initLoraWeights, or remove quantization",
        ".peft.lora.initLoraWeights",
    ),
    *_about_added_tokens("addedTokens"),
    *_about_added_tokens("addedSpecialTokens"),
)
"""Rules of every job's spec about its adapter and other blocks."""

ROWS_STAY_APART = Rule(
    "!has(self.peft) || !has(self.peft.promptTuning) || !has(self.sft)"
    " || ((!has(self.sft.packing) || !self.sft.packing) && (!has(self.sft.paddingFree) || !self.sft.paddingFree))",
    "learnt embeddings stand before a sequence's first row alone: remove packing and paddingFree, or use another"
    " adapter type",
    ".peft.promptTuning",
)
"""Of methods that can put several rows into one sequence."""
