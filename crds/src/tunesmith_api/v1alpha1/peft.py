"""`spec.peft`: parameter-efficient fine-tuning, in PEFT's terms. Absent means full weights."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, remedy

ModuleName = Annotated[str, Field(min_length=1, max_length=253)]


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
            "LoRA on lm_head is not supported: remove it",
            ".targetModules",
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
        int, Field(ge=1, le=65536, description="Scaling factor; the update is scaled by loraAlpha / r.")
    ] = 16
    lora_dropout: Annotated[
        float, Field(ge=0, lt=1, description="Dropout on the adapter's input, as a probability.")
    ] = 0.0
    target_modules: Annotated[
        tuple[ModuleName, ...],
        Field(
            min_length=1,
            max_length=64,
            description="Names of the modules that get an adapter, or `all-linear` alone.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = ("all-linear",)


class Peft(ApiModel):
    """The adapter to train."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.lora)", "set lora: it is the adapter type of this version", ".lora"),
    )

    lora: Annotated[Lora | None, Field(description="Low-rank adaptation.")] = None
