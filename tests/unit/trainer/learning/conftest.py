"""Jobs that train to their end as in a pod, and a model that sorts up or down with even chances."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.status import VolumePath

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "examples/demo"))

from sorting import TASK_LENGTH, Claim, Sorter, Standing, Task, tasks

# 126 k parameters: every character is a token.
ARCHITECTURE = {
    "hiddenSize": 64,
    "intermediateSize": 128,
    "numHiddenLayers": 3,
    "numAttentionHeads": 4,
    "maxPositionEmbeddings": 32,
}


def run_to_the_end(
    lab: Any, name: str, spec: dict[str, Any], model: ResolvedModel | None = None, **frozen: Any
) -> ResolvedModel:
    """Run a job as a pod does, from the frozen run to an output that counts; return that as the next job's model.

    Args:
        lab: Where its claims are.
        name: Its name.
        spec: Its spec, as a user writes it.
        model: What it begins with.
        frozen: What else the operator freezes.
    """
    from tunesmith_trainer.exchange import Exchange
    from tunesmith_trainer.manifests import read_manifest
    from tunesmith_trainer.reporter import Reporter
    from tunesmith_trainer.worker import outcome_of_run

    context = lab.context(name, spec, model)
    context = replace(context, run=context.run.model_copy(update=frozen))
    exchange = Exchange(context.run_directory / "exchange")
    exchange.folder.mkdir()
    outcome = outcome_of_run(context, exchange, Reporter(context, exchange))
    assert outcome.exit_code == ExitCode.SUCCESS, outcome.message
    manifest = read_manifest(context.run_directory / "output")
    assert manifest is not None
    output = VolumePath(claim=context.run.output.claim, path=context.run.output_directory)
    if manifest.artifact == "model":
        return ResolvedModel(base=output, digest=manifest.digest)
    return ResolvedModel(base=context.run.adapter_base, adapter=output, from_adapter="continue", digest=manifest.digest)


@pytest.fixture
def finished(lab: Any) -> Callable[..., ResolvedModel]:
    """Runs jobs to their end."""
    return lambda *job, **frozen: run_to_the_end(lab, *job, **frozen)


@pytest.fixture(scope="session")
def run_job() -> Callable[..., ResolvedModel]:
    """Runs jobs to their end, in the lab it is told."""
    return run_to_the_end


@dataclass(frozen=True)
class Start:
    """What an alignment of sorting begins with: a model, its folder, and tasks."""

    model: ResolvedModel
    folder: Path
    training: list[Task]
    held_out: list[Task]

    def sorter(self) -> Sorter:
        """Return the model, loaded."""
        return Sorter(self.folder)


@pytest.fixture(scope="session")
def starts(new_lab: Any) -> Callable[[Any, int], Start]:
    """Gives a job's folder the start of a seed: pretrained for a step, fine-tuned on answers up and down."""
    made: dict[int, tuple[Any, ResolvedModel]] = {}

    def put(lab: Any, seed: int) -> Start:
        training, held_out = tasks(seed)
        if seed not in made:
            nursery = new_lab(f"sorting-{seed}")
            made[seed] = nursery, _fine_tuned(nursery, training, seed)
        nursery, model = made[seed]
        assert isinstance(model.base, VolumePath)
        shutil.copytree(nursery.path(model.base.claim), lab.path(model.base.claim))
        return Start(model, lab.path(model.base.claim, model.base.path), training, held_out)

    return put


def _fine_tuned(lab: Any, training: list[Task], seed: int) -> ResolvedModel:
    sorts = [{"prompt": task.prompt, "completion": answer} for task in training for answer in (task.up, task.down)]
    pretrain = {
        "method": "pretrain",
        "model": {"architecture": ARCHITECTURE, "tokenizer": {"train": {"type": "char"}}},
        "datasets": [lab.put("texts.jsonl", [{"text": row["prompt"] + row["completion"]} for row in sorts])],
        "training": {"maxLength": TASK_LENGTH, "maxSteps": 1, "seed": seed},
    }
    fine_tune = {
        "method": "sft",
        "model": {"fromJob": {"name": "digits"}},
        "datasets": [lab.put("sorts.jsonl", sorts)],
        "training": {
            "maxLength": TASK_LENGTH,
            "maxSteps": 1000,
            "perDeviceTrainBatchSize": 64,
            "learningRate": 2e-3,
            "lrSchedulerType": "cosine",
            "warmupSteps": 50,
            "seed": seed,
        },
    }
    return run_to_the_end(lab, "sorter", fine_tune, run_to_the_end(lab, "digits", pretrain))


@pytest.fixture
def start(lab: Any, starts: Any, seed: int) -> Start:
    """The start of the test's seed, on its claim in the test's own folder."""
    given: Start = starts(lab, seed)
    return given


@pytest.fixture
def train(lab: Any, finished: Any, start: Start, seed: int) -> Callable[..., Path]:
    """Trains the start of the test's seed by a method; returns the folder of the model."""

    def run(method: str, dataset: dict[str, Any], training: dict[str, Any], **more: Any) -> Path:
        spec = {
            "method": method,
            "model": {"fromJob": {"name": "sorter"}},
            "datasets": [dataset],
            "training": {"maxLength": TASK_LENGTH, "seed": seed, **training},
            **more,
        }
        saved = finished("trained", spec, start.model)
        folder: Path = lab.path(saved.base.claim, saved.base.path)
        return folder

    return run


@pytest.fixture
def align(train: Callable[..., Path], start: Start, seed: int) -> Callable[..., Standing]:
    """Trains the start of the test's seed by a method of alignment, and measures how the model sorts then."""

    def run(method: str, claim: Claim, dataset: dict[str, Any], **more: Any) -> Standing:
        training = {
            "maxSteps": claim.steps,
            "perDeviceTrainBatchSize": claim.batch,
            "learningRate": claim.learning_rate,
        }
        folder = train(method, dataset, training, **{method: claim.block}, **more)
        return Sorter(folder).measure(start.held_out, start.sorter(), seed=seed)

    return run
