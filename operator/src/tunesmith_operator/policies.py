"""What must hold before a run may start: an ordered list of checks; the first that finds something wins.

Order: what the spec alone tells, then what the installation tells, then what other objects tell. A permanent finding
fails the job until somebody changes it, the installation, or a job that it depends on; any other is waited out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tunesmith_api.meta import Reason
from tunesmith_api.naming import job_class
from tunesmith_api.v1alpha1.methods import METHOD_BLOCKS
from tunesmith_api.v1alpha1.training.suitability import cuda_only
from tunesmith_operator.desired import cycles, dependencies, references

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.alignment import AlignmentJobSpec
    from tunesmith_api.v1alpha1.fine_tuning import FineTuneJobSpec
    from tunesmith_operator.inputs import Inputs

_MOST_ERRORS = 5


@dataclass(frozen=True)
class Finding:
    """Why a run does not start.

    Attributes:
        reason: Reason of the condition.
        message: What is the case, and what to do.
        permanent: Whether the job fails with it rather than waits.
    """

    reason: Reason
    message: str
    permanent: bool = False


@dataclass(frozen=True)
class Candidate:
    """A run that may start."""

    inputs: Inputs
    spec: FineTuneJobSpec | AlignmentJobSpec


Policy = Callable[[Candidate], Finding | None]


def parse_spec(inputs: Inputs) -> FineTuneJobSpec | AlignmentJobSpec | Finding:
    """Return the job's spec, or what is wrong with it: one stored under an older CRD may not fit today's models."""
    model = job_class(inputs.key.kind).model_fields["spec"].annotation
    assert model is not None  # noqa: S101 - both kinds declare their spec
    try:
        spec: FineTuneJobSpec | AlignmentJobSpec = model.model_validate(inputs.job.get("spec"))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [f"{'.'.join(['spec', *map(str, detail['loc'])])}: {detail['msg']}" for detail in details]
        more = f"; and {len(lines) - _MOST_ERRORS} more" if len(lines) > _MOST_ERRORS else ""
        return _invalid(f"{'; '.join(lines[:_MOST_ERRORS])}{more}. Correct the spec and apply it again.")
    return spec


def first_finding(candidate: Candidate) -> Finding | None:
    """Return the first reason for which a run can not start; None when it can."""
    return next((finding for policy in POLICIES if (finding := policy(candidate))), None)


def one_source_each(candidate: Candidate) -> Finding | None:
    """Find a model or dataset without exactly one source: CEL refuses it, an older CRD may not have."""
    model = candidate.spec.model
    sources = (model.name, model.path, model.from_job, model.resume_from, model.architecture)
    if sum(source is not None for source in sources) != 1:
        return _invalid("spec.model: set exactly one of name, path, fromJob, resumeFrom, architecture.")
    for index, dataset in enumerate(candidate.spec.datasets):
        if sum(source is not None for source in (dataset.hub, dataset.claim, dataset.config_map, dataset.uri)) != 1:
            return _invalid(f"spec.datasets.{index}: set exactly one of hub, claim, configMap, uri.")
    return None


def accelerator_is_configured(candidate: Candidate) -> Finding | None:
    """Find an accelerator that this installation has no profile for."""
    name, profiles = candidate.spec.accelerator, candidate.inputs.profiles
    if name in profiles:
        return None
    known = ", ".join(sorted(profiles)) or "none at all"
    return Finding(
        Reason.UNKNOWN_ACCELERATOR,
        f"spec.accelerator: this installation has no accelerator profile named {name}; it has {known}. Name one of"
        " these, or have the profile added to `accelerators` in the values of the Tunesmith chart.",
        permanent=True,
    )


def remote_code_is_allowed(candidate: Candidate) -> Finding | None:
    """Find a model whose own code is to be run where the installation does not let it."""
    if not candidate.spec.model.trust_remote_code or candidate.inputs.permissions.remote_code:
        return None
    return Finding(
        Reason.REMOTE_CODE_REFUSED,
        "spec.model.trustRemoteCode: this installation does not let a model bring code along. Remove it and choose a"
        " model that transformers knows, or have `policy.remoteCode` set in the values of the Tunesmith chart.",
        permanent=True,
    )


def dtype_is_allowed(candidate: Candidate) -> Finding | None:
    """Find a precision that the accelerator does not train in."""
    dtype, profile = candidate.spec.model.dtype, candidate.inputs.profiles[candidate.spec.accelerator]
    if dtype == "auto" or dtype in profile.dtypes:
        return None
    return Finding(
        Reason.UNSUPPORTED_DTYPE,
        f"spec.model.dtype: accelerator profile {profile.name} does not train in {dtype}; it allows"
        f" {', '.join(profile.dtypes)}. Use one of these, or leave dtype out for {profile.dtypes[0]}.",
        permanent=True,
    )


def device_can(candidate: Candidate) -> Finding | None:
    """Find a training setting that the accelerator's device does not know."""
    profile = candidate.inputs.profiles[candidate.spec.accelerator]
    if profile.device == "cuda":
        return None
    for field, remedy in cuda_only(candidate.spec.training):
        return _invalid(
            f"spec.training.{field}: the device of accelerator profile {profile.name} is {profile.device}; {remedy},"
            " or name an accelerator with NVIDIA GPUs."
        )
    return None


def quantization_is_possible(candidate: Candidate) -> Finding | None:
    """Find a quantised model on an accelerator without the kernels for it."""
    spec = candidate.spec
    profile = candidate.inputs.profiles[spec.accelerator]
    if spec.model.quantization is None or profile.device == "cuda":
        return None
    return _invalid(
        f"spec.model.quantization: it needs NVIDIA GPUs, and accelerator profile {profile.name} is for device"
        f" {profile.device}. Remove quantization, or choose a profile for device cuda."
    )


def vllm_is_possible(candidate: Candidate) -> Finding | None:
    """Find completions by vLLM on an accelerator that it does not run on."""
    spec = candidate.spec
    profile = candidate.inputs.profiles[spec.accelerator]
    block = getattr(spec, spec.method)
    if getattr(block, "vllm", None) is None or profile.device == "cuda":
        return None
    return _invalid(
        f"spec.{spec.method}.vllm: it needs NVIDIA GPUs, and accelerator profile {profile.name} is for device"
        f" {profile.device}. Remove vllm, or choose a profile for device cuda."
    )


def user_code_is_allowed(candidate: Candidate) -> Finding | None:
    """Find a function of the user's where the installation runs none."""
    field = next(iter(candidate.spec.functions), None)
    if field is None or candidate.inputs.permissions.user_code:
        return None
    instead = "Use another kind of reward" if field.startswith("rewards") else "Build the text with a template"
    return Finding(
        Reason.USER_CODE_REFUSED,
        f"spec.{field}: this installation does not let jobs bring code along. {instead}, or have"
        " `policy.userCode` set in the values of the Tunesmith chart.",
        permanent=True,
    )


def attention_is_available(candidate: Candidate) -> Finding | None:
    """Find flash attention where it can not compute: off CUDA, or in 32 bits."""
    model, profile = candidate.spec.model, candidate.inputs.profiles[candidate.spec.accelerator]
    if model.attn_implementation != "flash_attention_2":
        return None
    dtype = profile.dtypes[0] if model.dtype == "auto" else model.dtype
    if profile.device == "cuda" and dtype != "float32":
        return None
    what = f"runs on {profile.device}" if profile.device != "cuda" else "trains in float32 here"
    return _invalid(
        "spec.model.attnImplementation: flash_attention_2 needs CUDA and 16 bits, and accelerator profile"
        f" {profile.name} {what}. Use sdpa."
    )


def no_cycle(candidate: Candidate) -> Finding | None:
    """Find a chain of jobs to start from that leads back to the job: it would wait for itself for ever."""
    way = cycles.find(candidate.inputs)
    if way is None:
        return None
    if len(way.path) == 2:  # noqa: PLR2004 - the job, and itself again
        message = f"spec.{way.field} names the job itself. Name the job to start from."
    else:
        chain = " → ".join(f"{key.kind} {key.name}" for key in way.path)
        message = f"spec.{way.field} leads back to the job itself: {chain}. Let one of them start from something else."
    return Finding(Reason.DEPENDENCY_CYCLE, message, permanent=True)


def models_are_of_their_use(candidate: Candidate) -> Finding | None:
    """Find another job whose model scores texts where one is wanted that writes them, or the other way round.

    A classifier may be trained further as one, and one can be made of a model that writes.
    """
    inputs, spec = candidate.inputs, candidate.spec
    for field, key in references.dependencies(inputs.key, inputs.job).items():
        block = METHOD_BLOCKS.get(str((inputs.jobs.get(key, {}).get("spec") or {}).get("method")))
        if block is None:
            continue
        scores, other = block.task == "SEQ_CLS", f"spec.{field}: {key.kind} {key.name}"
        if field.startswith("rewards") and not scores:
            return _invalid(
                f"{other} makes a model that writes texts. Name a job that makes one to score them: method reward."
            )
        if scores and not field.startswith("rewards") and METHOD_BLOCKS[spec.method].task != "SEQ_CLS":
            return _invalid(f"{other} makes a model that scores texts. Name a job that makes one to write them.")
    return None


def dependencies_are_complete(candidate: Candidate) -> Finding | None:
    """Find other jobs whose output, or checkpoint, is not there yet."""
    found = dependencies.look(candidate.inputs, candidate.spec)
    return Finding(found.reason, found.message, found.permanent) if isinstance(found, dependencies.Missing) else None


def adapter_is_used_one_way(candidate: Candidate) -> Finding | None:
    """Find settings that contradict each other once it is known that the other job made an adapter."""
    spec, found = candidate.spec, dependencies.find(candidate.inputs, "model.fromJob")
    if spec.model.from_job is None or isinstance(found, dependencies.Missing) or found.kind != "adapter":
        return None
    if spec.model.from_job.from_adapter == "merge":
        return None
    name = f"{spec.model.from_job.kind} {spec.model.from_job.name}"
    if spec.peft is not None:
        return _invalid(
            f"spec.peft: the output of {name} is an adapter and model.fromJob.fromAdapter is continue, so that adapter"
            " is trained further, with its own settings. Remove peft, or set model.fromJob.fromAdapter: merge to train"
            " a new adapter on the merged model."
        )
    if spec.model.added_tokens or spec.model.added_special_tokens:
        return _invalid(
            f"spec.model: the output of {name} is an adapter that is trained further with the tokens it was made with."
            " Remove addedTokens and addedSpecialTokens, or set model.fromJob.fromAdapter: merge to train a new adapter"
            " on the merged model."
        )
    if spec.method == "pretrain":
        return _invalid(
            f"spec.model.fromJob: the output of {name} is an adapter, and pretraining trains full weights."
            " Set model.fromJob.fromAdapter: merge, or use method: sft."
        )
    return None


def an_adapter_is_trained(candidate: Candidate) -> Finding | None:
    """Find what only the training of an adapter allows, once it is known that the other job made a whole model."""
    spec, found = candidate.spec, dependencies.find(candidate.inputs, "model.fromJob")
    source = spec.model.from_job
    if spec.peft is not None or source is None or isinstance(found, dependencies.Missing):
        return None
    if found.kind == "adapter" and source.from_adapter == "continue":
        return None
    name = f"{source.kind} {source.name}"
    reason = f"without peft this job trains full weights, as the output of {name} is no adapter to continue"
    if spec.output.merge_adapter:
        return _invalid(f"spec.output.mergeAdapter: {reason}. Set peft, or remove mergeAdapter.")
    if spec.model.quantization is not None:
        return _invalid(f"spec.model.quantization: {reason}. Set peft.lora, or remove quantization.")
    return None


def claims_exist(candidate: Candidate) -> Finding | None:
    """Find an input claim that does not exist; those of output and cache are made, unless they are inputs too."""
    inputs = candidate.inputs
    missing = sorted(references.input_claims(inputs.key, inputs.job, inputs.jobs) - inputs.claims.keys())
    if not missing:
        return None
    return Finding(
        Reason.MISSING_CLAIM,
        f"{_listed('PersistentVolumeClaim', missing)} in namespace {inputs.key.namespace}. Create it, or name another"
        " one; the job starts by itself once it is there.",
    )


def config_maps_exist(candidate: Candidate) -> Finding | None:
    """Find a ConfigMap, or a key of one, that a dataset, chat template or volume names and that is not there."""
    inputs = candidate.inputs
    missing = sorted(references.config_maps(inputs.job) - inputs.config_maps.keys())
    where = f"in namespace {inputs.key.namespace}"
    if missing:
        return Finding(
            Reason.MISSING_CONFIG_MAP,
            f"{_listed('ConfigMap', missing)} {where}. Create it; the job starts by itself once it is there.",
        )
    for name, key in references.config_map_keys(inputs.job):
        if key not in inputs.config_maps[name]:
            keys = ", ".join(sorted(inputs.config_maps[name])[:_MOST_ERRORS]) or "none"
            return Finding(
                Reason.MISSING_CONFIG_MAP,
                f"ConfigMap {name} {where} has no key {key}; it has {keys}. Add it; the job then starts by itself.",
            )
    return None


POLICIES: tuple[Policy, ...] = (
    one_source_each,
    accelerator_is_configured,
    remote_code_is_allowed,
    user_code_is_allowed,
    dtype_is_allowed,
    device_can,
    quantization_is_possible,
    vllm_is_possible,
    attention_is_available,
    no_cycle,
    models_are_of_their_use,
    dependencies_are_complete,
    adapter_is_used_one_way,
    an_adapter_is_trained,
    claims_exist,
    config_maps_exist,
)


def _invalid(message: str) -> Finding:
    return Finding(Reason.INVALID_SPEC, message, permanent=True)


def _listed(kind: str, names: list[str]) -> str:
    if len(names) == 1:
        return f"there is no {kind} {names[0]}"
    return f"there are no {kind}s {', '.join(names)}"
