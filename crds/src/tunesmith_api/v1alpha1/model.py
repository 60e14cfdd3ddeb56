"""`spec.model`: where the weights come from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, cel, exactly_one_of
from tunesmith_api.v1alpha1.architecture import Architecture, TrainedTokenizer
from tunesmith_api.v1alpha1.chat_template import ChatTemplate
from tunesmith_api.v1alpha1.compute import ClaimTemplate
from tunesmith_api.v1alpha1.gate import Gate
from tunesmith_api.v1alpha1.quantization import Quantization
from tunesmith_api.v1alpha1.types import HubName, ObjectName, RelativePath, Revision

DType = Literal["auto", "float32", "bfloat16", "float16"]
JobKind = Literal["FineTuneJob", "AlignmentJob"]
FromAdapter = Literal["continue", "merge"]
Attention = Literal["sdpa", "eager", "flash_attention_2"]
Token = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        json_schema_extra=cel(
            Rule("self == self.trim()", "a token begins and ends with a visible character: remove the space")
        ),
    ),
]


class ModelPath(ApiModel):
    """A model folder on a PersistentVolumeClaim, as `save_pretrained` writes it."""

    claim: Annotated[ObjectName, Field(description="Name of the PersistentVolumeClaim that holds the model.")]
    path: Annotated[
        RelativePath | None,
        Field(description="Folder of the model below the claim's root. Absent means the root itself."),
    ] = None


class TokenSecret(ApiModel):
    """A token of the Hugging Face Hub, in a Secret of the job's namespace."""

    name: Annotated[ObjectName, Field(description="Name of the Secret.")]
    key: Annotated[str, Field(min_length=1, max_length=253, description="Key of the Secret that holds the token.")] = (
        "token"
    )


class HubCache(ApiModel):
    """A PersistentVolumeClaim that keeps what was fetched from the Hub, for all jobs that name it.

    The operator never owns or deletes it.
    """

    claim_name: Annotated[
        ObjectName,
        Field(
            description="PersistentVolumeClaim to fetch into; used as it is when it exists, else made from"
            " `claimTemplate`. What lies in it already is not fetched again."
        ),
    ]
    claim_template: Annotated[ClaimTemplate, Field(description="The claim to create when it does not exist.")] = (
        ClaimTemplate()
    )
    path: Annotated[
        RelativePath | None,
        Field(
            description="Folder below the claim's root, laid out as huggingface_hub does (HF_HUB_CACHE). Absent means"
            " the root itself."
        ),
    ] = None


class JobOutput(ApiModel):
    """The output of another job in the same namespace. The operator waits until that job is Complete."""

    kind: Annotated[JobKind, Field(description="Kind of the other job.")] = "FineTuneJob"
    name: Annotated[ObjectName, Field(description="Name of the other job.")]
    gate: Annotated[
        Gate | None, Field(description="How good the other job's result must be. Absent means that any will do.")
    ] = None


class FromJob(JobOutput):
    """The output of another job in the same namespace, to train further."""

    from_adapter: Annotated[
        FromAdapter,
        Field(
            description="What to do when the other job's output is an adapter: `continue` trains that adapter further"
            " on the same base model (methods with a reference model take a frozen copy of it as that); `merge` first"
            " writes the merged model as a base of its own below the run's folder and trains on that."
        ),
    ] = "continue"


class ResumeFrom(ApiModel):
    """A checkpoint of another FineTuneJob in the same namespace, once that is Complete or Failed."""

    name: Annotated[ObjectName, Field(description="Name of the other FineTuneJob; its method must be the same.")]
    step: Annotated[
        int | None,
        Field(ge=1, le=10**12, description="Step of the checkpoint. Absent means the newest whole one."),
    ] = None
    load_optimizer_state: Annotated[
        bool,
        Field(
            description="Go on with the state of the optimiser too. Without it the optimiser begins anew. Either way"
            " the step count, the place in the data and in the schedule go on, at this job's learning rate."
        ),
    ] = True


class Tokenizer(ApiModel):
    """Another tokenizer than the one that comes with the weights."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of(
            "train",
            "name",
            "path",
            remedy="a tokenizer to train on the datasets, one of the Hub, or one in a folder on a claim",
        ),
        Rule("!has(self.revision) || has(self.name)", "revision belongs to a Hub repository: set name", ".revision"),
    )

    train: Annotated[
        TrainedTokenizer | None,
        Field(description="Train a tokenizer on the job's datasets; for an `architecture` only."),
    ] = None
    name: Annotated[
        HubName | None, Field(description="A repository of the Hub with a tokenizer, such as `Qwen/Qwen3-0.6B`.")
    ] = None
    revision: Annotated[Revision | None, Field(description="Branch, tag or commit of `name`. Default: `main`.")] = None
    path: Annotated[ModelPath | None, Field(description="A folder with a tokenizer on a PersistentVolumeClaim.")] = None


class ModelSource(ApiModel):
    """Where the weights come from, and in which precision they are trained."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of(
            "name",
            "path",
            "fromJob",
            "resumeFrom",
            "architecture",
            remedy="a model of the Hub, a model folder on a claim, the output or a checkpoint of another job, or an"
            " architecture to pretrain from scratch",
        ),
        Rule("!has(self.revision) || has(self.name)", "revision belongs to a Hub model: set name", ".revision"),
        *(
            Rule(
                f"!has(self.{field}) || !has(self.resumeFrom)",
                f"a checkpoint is trained further with the tokenizer it was saved with: remove {field}, or use fromJob",
                f".{field}",
            )
            for field in ("tokenizer", "addedTokens", "addedSpecialTokens", "chatTemplate")
        ),
        Rule(
            "!has(self.trustRemoteCode) || !self.trustRemoteCode || !has(self.architecture)",
            "an architecture brings no code: remove trustRemoteCode",
            ".trustRemoteCode",
        ),
        Rule(
            "!has(self.tokenizer) || !has(self.tokenizer.train) || has(self.architecture)",
            "train is only for model.architecture: weights from elsewhere know the tokens they were trained with;"
            " remove it",
            ".tokenizer.train",
        ),
    )

    name: Annotated[
        HubName | None,
        Field(
            description="A model of the Hugging Face Hub, such as `Qwen/Qwen3-0.6B`: fetched once per run, at one"
            " commit for all attempts. Its weights must be safetensors."
        ),
    ] = None
    revision: Annotated[Revision | None, Field(description="Branch, tag or commit of `name`. Default: `main`.")] = None
    token_secret_ref: Annotated[
        TokenSecret | None, Field(description="The Hub token, for gated or private models. Absent means none.")
    ] = None
    cache: Annotated[
        HubCache | None,
        Field(description="Where fetched files are kept. Absent means as long as the pod, on its node's disk."),
    ] = None
    path: Annotated[ModelPath | None, Field(description="A model folder on a PersistentVolumeClaim.")] = None
    from_job: Annotated[FromJob | None, Field(description="The output of another job in the same namespace.")] = None
    resume_from: Annotated[
        ResumeFrom | None,
        Field(
            description="A checkpoint of another job, to train further than that job did: weights, tokenizer and state."
            " Needs training.maxSteps, counted from that job's first step."
        ),
    ] = None
    architecture: Annotated[
        Architecture | None, Field(description="A model with random weights; for method `pretrain` only.")
    ] = None
    tokenizer: Annotated[
        Tokenizer | None,
        Field(
            description="The tokenizer. Absent means the one that comes with the weights; for an `architecture` one"
            " trained on the datasets."
        ),
    ] = None
    added_tokens: Annotated[
        tuple[Token, ...] | None,
        Field(
            min_length=1,
            max_length=256,
            description="Words to add to the vocabulary. Their embeddings begin at the mean of the others and are"
            " trained, with an adapter too.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = None
    added_special_tokens: Annotated[
        tuple[Token, ...] | None,
        Field(
            min_length=1,
            max_length=256,
            description="Marks to add to the vocabulary, such as `<|im_end|>`: like `addedTokens`, but left out of"
            " decoded text.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = None
    chat_template: Annotated[
        ChatTemplate | None,
        Field(
            description="How a chat becomes one text. Absent means the tokenizer's own template, or `chatml` where it"
            " has none and the rows are chats."
        ),
    ] = None
    dtype: Annotated[
        DType,
        Field(
            description="Precision to compute in, and of the weights that are written; trained weights are held in"
            " float32. `auto` takes the default of the accelerator profile."
        ),
    ] = "auto"
    quantization: Annotated[Quantization | None, Field(description="The base model in 4 or 8 bits, on CUDA.")] = None
    attn_implementation: Annotated[
        Attention,
        Field(
            description="How attention is computed: `sdpa` by torch's fused kernels, `eager` step by step,"
            " `flash_attention_2` by the flash-attn package on CUDA, in 16 bits."
        ),
    ] = "sdpa"
    trust_remote_code: Annotated[
        bool,
        Field(
            description="Run Python code that the model brings along, with the job's rights. Refused unless the"
            " installation's policy allows remote code."
        ),
    ] = False
