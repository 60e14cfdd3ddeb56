"""The vocabulary of status conditions (kstatus: Ready, with abnormal-true Reconciling and Stalled)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from typing_extensions import override

from tunesmith_api.base import ApiModel

if TYPE_CHECKING:
    from typing_extensions import Self

ConditionStatus = Literal["True", "False", "Unknown"]
Timestamp = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
"""An RFC 3339 time in UTC, whole seconds: `2026-01-31T12:00:00Z`."""


class Word(str, Enum):
    """A word of the vocabulary that is told to users; it prints as itself on every Python.

    Attributes:
        meaning: What it says, in a sentence for the API reference.
    """

    meaning: str

    def __new__(cls, word: str, meaning: str = "") -> Self:
        """Make a member that is its word and carries its meaning; `Reason("Accepted")` looks one up."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member

    @override
    def __str__(self) -> str:
        return str(self.value)


class ConditionType(Word):
    """Every condition type a job carries."""

    READY = "Ready", "True: the result is there. False: it failed for good. Unknown: under way, or waiting."
    RECONCILING = "Reconciling", "True while the operator works on the job; absent otherwise."
    STALLED = "Stalled", "True when the job can not go on without a change of yours; absent otherwise."
    COMPLETE = "Complete", "True when the output is on the claim and verified; absent otherwise."
    FAILED = "Failed", "True when the job failed, for good once its run had begun; absent otherwise."


class State(Word):
    """One word for `kubectl get`, derived from the conditions and the current attempt."""

    PENDING = "Pending", "Accepted; nothing exists yet."
    WAITING = "Waiting", "Something outside the job must change: see the message of Ready."
    PREPARING = "Preparing", "Data and model are checked; no accelerator has been asked for yet."
    STARTING = "Starting", "Pods run; no step has been trained yet."
    RUNNING = "Running", "Steps are being trained."
    RESTARTING = "Restarting", "One attempt ended, the next is about to be made."
    COMPLETE = "Complete", "The result is on the output claim."
    FAILED = "Failed", "It failed: see the message of Ready."


class Reason(Word):
    """Every condition reason. The trainer's own failures take theirs from `ExitCode.reason`."""

    # The job goes forward.
    ACCEPTED = "Accepted", "The operator has seen the job."
    PREPARING = "Preparing", "The preparation checks data and model before an accelerator is asked for."
    CREATING_PODS = "CreatingPods", "The pods of the attempt are being made."
    STARTING = "Starting", "The pods run; the trainer is loading."
    TRAINING = "Training", "Steps are being trained."
    RESTARTING = "Restarting", "The next attempt is about to be made."
    SUCCEEDED = "Succeeded", "The output is on the claim, verified."
    # It waits for something outside itself; `Ready` is Unknown.
    WAITING_FOR_JOB = "WaitingForJob", "A job that this one depends on is missing or not over yet."
    WAITING_FOR_REMOVAL = "WaitingForRemoval", "What an earlier job of this name left is still being removed."
    WAITING_FOR_CLAIM = "WaitingForClaim", "A PersistentVolumeClaim is not bound yet."
    MISSING_CLAIM = "MissingClaim", "A PersistentVolumeClaim that the spec names does not exist."
    MISSING_CONFIG_MAP = "MissingConfigMap", "A ConfigMap that the spec names, or its key, does not exist."
    UNSCHEDULABLE = "Unschedulable", "No node takes a pod of the job: the message tells what the scheduler misses."
    IMAGE_PULL = "ImagePull", "The trainer image can not be pulled."
    POD_CONFIG = "PodConfig", "A pod can not start: something it refers to is missing or wrong."
    TRAINING_OPERATOR_MISSING = "TrainingOperatorMissing", "The cluster does not know PyTorchJob."
    TRAINING_OPERATOR_SILENT = "TrainingOperatorSilent", "The training operator does not act on the PyTorchJob."
    JOB_CONTROLLER_SILENT = "JobControllerSilent", "The cluster makes no pod for the Job of the preparation."
    CHILD_REFUSED = "ChildRefused", "The API server refuses an object of the job: the message tells why."
    RUN_CONFIG_INVALID = "RunConfigInvalid", "This operator can not read the run's ConfigMap: another version wrote it."
    # It failed for good; `Ready` is False, `Stalled` and `Failed` are True.
    INVALID_SPEC = "InvalidSpec", "The spec can not be carried out: the message tells what to change."
    UNKNOWN_ACCELERATOR = "UnknownAccelerator", "The installation has no accelerator profile of this name."
    REMOTE_CODE_REFUSED = "RemoteCodeRefused", "The installation's policy does not let models bring code along."
    UNSUPPORTED_DTYPE = "UnsupportedDtype", "The accelerator profile does not allow `model.dtype`."
    USER_CODE_REFUSED = "UserCodeRefused", "The installation does not let a job bring code along."
    DEPENDENCY_FAILED = (
        "DependencyFailed",
        "A job that `fromJob` or `resumeFrom` names ended without what is wanted; this one starts once it is there.",
    )
    GATE_NOT_MET = "GateNotMet", "A job that `fromJob` names is Complete, but not as good as its `gate` asks."
    DEPENDENCY_CYCLE = "DependencyCycle", "A `fromJob` or `resumeFrom` leads back to the job itself."
    SPEC_CHANGED = "SpecChanged", "The spec was changed just after its run had been frozen: set a new `runId`."
    RUN_CONFIG_LOST = "RunConfigLost", "The run's ConfigMap was deleted and can not be made again as it was."
    NAME_CONFLICT = "NameConflict", "An object of a name the job needs exists and belongs to somebody else."
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded", "More attempts crashed than `runPolicy.backoffLimit` allows."
    TOO_MANY_DISRUPTIONS = "TooManyDisruptions", "More attempts were lost than `runPolicy.maxDisruptions` allows."


class Condition(ApiModel):
    """A Kubernetes condition (metav1.Condition)."""

    type: Annotated[str, Field(max_length=316, description="Type of the condition.")]
    status: Annotated[ConditionStatus, Field(description="Whether it holds.")]
    observed_generation: Annotated[int, Field(ge=0, description="Generation of the spec this speaks of.")]
    last_transition_time: Annotated[Timestamp, Field(description="When the status changed last.")]
    reason: Annotated[str, Field(min_length=1, max_length=1024, description="One word for programs.")]
    message: Annotated[str, Field(max_length=32768, description="What is the case and what to do, for people.")]
