"""`spec.model.quantization`: the frozen base model in 4 or 8 bits, in the terms of bitsandbytes (QLoRA)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule

_IN_4_BIT = "has(self.loadIn4bit) && self.loadIn4bit"
_IN_8_BIT = "has(self.loadIn8bit) && self.loadIn8bit"


def _only_in_4_bit(field: str) -> Rule:
    return Rule(
        f"!has(self.{field}) || ({_IN_4_BIT})",
        f"{field} is for loadIn4bit: true; remove it",
        f".{field}",
    )


class Quantization(ApiModel):
    """How the base model of a LoRA adapter is held (transformers.BitsAndBytesConfig; Dettmers et al. 2023).

    Only what is trained on is quantised: the adapter is saved, and merged, for the base model as it was.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"({_IN_4_BIT}) != ({_IN_8_BIT})",
            "set one of loadIn4bit: true and loadIn8bit: true, or remove quantization",
        ),
        _only_in_4_bit("bnb4bitQuantType"),
        _only_in_4_bit("bnb4bitComputeDtype"),
        _only_in_4_bit("bnb4bitUseDoubleQuant"),
    )

    # Named as users know them; the usual rule would make loadIn4Bit of these names.
    load_in_4bit: Annotated[
        bool, Field(alias="loadIn4bit", description="Hold the base model's linear layers in 4 bits (QLoRA).")
    ] = False
    load_in_8bit: Annotated[
        bool, Field(alias="loadIn8bit", description="Hold the base model's linear layers in 8 bits (LLM.int8).")
    ] = False
    bnb_4bit_quant_type: Annotated[
        Literal["nf4", "fp4"],
        Field(alias="bnb4bitQuantType", description="4-bit data type: normal float, made for weights, or float."),
    ] = "nf4"
    bnb_4bit_compute_dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        Field(
            alias="bnb4bitComputeDtype",
            description="Precision that 4-bit weights are computed in. Default: model.dtype as resolved.",
        ),
    ] = None
    bnb_4bit_use_double_quant: Annotated[
        bool,
        Field(
            alias="bnb4bitUseDoubleQuant",
            description="Quantise the quantisation constants too: 0.4 bits less per weight.",
        ),
    ] = False

    @property
    def bits(self) -> Literal[4, 8]:
        """Bits of a weight."""
        return 4 if self.load_in_4bit else 8
