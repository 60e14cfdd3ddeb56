"""One parameter block per method, named as the method; only the chosen method's block may be present."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, remedy

PadToMultipleOf = Annotated[
    int | None,
    Field(
        ge=2,
        le=1024,
        description="Pad the rows of a batch to the next multiple of this many tokens, such as 8 for tensor cores."
        " Absent: to the longest row of the batch.",
        json_schema_extra=remedy("padToMultipleOf must be between 2 and 1024: leave it out to pad to the longest row"),
    ),
]
PackingStrategy = Literal["wrapped", "bfd", "bfd_split"]


class Pretrain(ApiModel):
    """Causal language modelling on plain text (trl.SFTTrainer over text rows)."""

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


class Sft(ApiModel):
    """Supervised fine-tuning (trl.SFTTrainer)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.packing) && self.packing && has(self.paddingFree) && self.paddingFree)",
            "packed rows need no padding between them already: remove paddingFree or packing",
            ".paddingFree",
        ),
    )

    completion_only_loss: Annotated[
        bool | None,
        Field(
            description="Whether only the completion's tokens carry loss. Default: true for prompt-completion and"
            " instruction rows, false for text and messages; true is refused for rows that have no completion."
        ),
    ] = None
    assistant_only_loss: Annotated[
        bool,
        Field(
            description="Whether only what the assistant says carries loss, in every turn of a chat. Refused for rows"
            " that are no chats, and for a chat template that does not mark the assistant's tokens"
            " (`{% generation %}`)."
        ),
    ] = False
    packing: Annotated[
        bool,
        Field(
            description="Combine whole rows into sequences of up to training.maxLength tokens (best-fit decreasing), so"
            " that little is padding. No token sees another row: the loss of a row stays the same. A batch then holds"
            " more rows."
        ),
    ] = False
    padding_free: Annotated[
        bool,
        Field(
            description="Put the rows of a batch behind one another instead of padding them; no token sees another row."
            " Saves time with flash attention; with other attentions it costs time."
        ),
    ] = False
    pad_to_multiple_of: PadToMultipleOf = None
    truncation_side: Annotated[
        Literal["right", "left"],
        Field(description="Side at which a row is cut that is longer than training.maxLength."),
    ] = "right"


class Dpo(ApiModel):
    """Direct preference optimisation (trl.DPOTrainer; Rafailov et al. 2023, arXiv:2305.18290)."""

    beta: Annotated[
        float,
        Field(gt=0, le=100, description="Strength of the pull towards the reference model; smaller moves further."),
    ] = 0.1
    label_smoothing: Annotated[
        float, Field(ge=0, lt=0.5, description="Assumed share of preference labels that are wrong (conservative DPO).")
    ] = 0.0
