"""The block of method `sft`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import Rule
from tunesmith_api.v1alpha1.methods.base import MethodBlock, PadToMultipleOf


class Sft(MethodBlock):
    """Supervised fine-tuning (trl.SFTTrainer)."""

    formats = ("text", "messages", "prompt-completion", "instruction")
    rows = "text, messages, prompt-completion or instruction rows"
    learning_rate = 2e-5
    splits = True

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
