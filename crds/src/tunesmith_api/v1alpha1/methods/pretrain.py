"""The block of method `pretrain`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import Rule
from tunesmith_api.v1alpha1.methods.base import MethodBlock, PadToMultipleOf

PackingStrategy = Literal["wrapped", "bfd", "bfd_split"]


class Pretrain(MethodBlock):
    """Causal language modelling on plain text (trl.SFTTrainer over text rows)."""

    formats = ("text",)
    rows = "rows of plain text (no templates)"
    learning_rate = 5e-4
    splits = True

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.packingStrategy) || !has(self.packing) || self.packing",
            "packingStrategy says how to pack: remove it, or packing: false",
            ".packingStrategy",
        ),
    )

    packing: Annotated[
        bool,
        Field(
            description="Fill rows of training.maxLength tokens with several texts. False: one text per row, cut where"
            " it gets too long."
        ),
    ] = True
    packing_strategy: Annotated[
        PackingStrategy,
        Field(
            description="How texts are packed, in TRL's terms. `wrapped`: all texts behind one another are cut into"
            " windows; no token is padding and a window sees the end of the text before. `bfd`: whole texts are"
            " combined (best-fit decreasing), too long ones are cut off. `bfd_split`: the same, with too long ones"
            " split. With the last two no token sees another text."
        ),
    ] = "wrapped"
    pad_to_multiple_of: PadToMultipleOf = None
