"""How rows come to the model: seeds, order, batches, loading processes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule

_LOADING_PROCESSES = "has(self.dataloaderNumWorkers) && self.dataloaderNumWorkers > 0"
LOADING_RULES = (
    Rule(
        f"!has(self.dataloaderPrefetchFactor) || ({_LOADING_PROCESSES})",
        "dataloaderPrefetchFactor needs processes that load ahead: set dataloaderNumWorkers above 0",
        ".dataloaderPrefetchFactor",
    ),
    Rule(
        f"!has(self.dataloaderPersistentWorkers) || !self.dataloaderPersistentWorkers || ({_LOADING_PROCESSES})",
        "dataloaderPersistentWorkers needs processes to keep: set dataloaderNumWorkers above 0",
        ".dataloaderPersistentWorkers",
    ),
    Rule(
        "!has(self.dataSeed) || !has(self.trainSamplingStrategy) || self.trainSamplingStrategy != 'sequential'",
        "the order of sequential is that of the rows: remove dataSeed or change trainSamplingStrategy",
        ".dataSeed",
    ),
)


class Loading(ApiModel):
    """How rows come to the model."""

    seed: Annotated[
        int, Field(ge=0, le=4294967295, description="Seed of initialisation, dropout, data order, split.")
    ] = 42
    data_seed: Annotated[
        int | None, Field(ge=0, le=4294967295, description="Seed of the data order. Default: seed.")
    ] = None
    train_sampling_strategy: Annotated[
        Literal["random", "sequential", "group_by_length"],
        Field(
            description="Order of the training rows: drawn anew each epoch; as they are; or drawn so that rows of like"
            " length meet, which saves padding (sft, and pretrain without packing)."
        ),
    ] = "random"
    dataloader_num_workers: Annotated[
        int, Field(ge=0, le=128, description="Processes that load batches ahead, per training process; 0: itself.")
    ] = 0
    dataloader_prefetch_factor: Annotated[
        int | None,
        Field(ge=1, le=1024, description="Batches that each loading process keeps ready. Default: torch's, 2."),
    ] = None
    dataloader_persistent_workers: Annotated[
        bool, Field(description="Keep the loading processes from one epoch to the next.")
    ] = False
    dataloader_pin_memory: Annotated[
        bool | None,
        Field(
            description="Load into memory that a GPU can copy from directly. Default: true on GPUs; refused on CPUs."
        ),
    ] = None
    dataloader_drop_last: Annotated[
        bool, Field(description="Leave out the last batch of an epoch when it is not full, also in evaluation.")
    ] = False

    @property
    def order_seed(self) -> int:
        """The seed of the data order."""
        return self.seed if self.data_seed is None else self.data_seed
