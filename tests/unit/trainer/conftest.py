"""What the trainer's tests share: jobs on claims below a temporary folder, and a tiny model, really pretrained."""

import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
from typing_extensions import override

from tunesmith_api.naming import job_class
from tunesmith_api.profile import AcceleratorProfile
from tunesmith_api.progress import Outcome
from tunesmith_api.resolve import resolve
from tunesmith_api.run import FrozenRun, ResolvedModel
from tunesmith_api.v1alpha1.methods import ALIGNMENT
from tunesmith_api.v1alpha1.model import JobKind
from tunesmith_api.v1alpha1.status import VolumePath
from tunesmith_trainer.context import RunContext
from tunesmith_trainer.exchange import Exchange
from tunesmith_trainer.reporter import Reporter

# Every attempt to reach the Hub is a fault, and telemetry is one.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")

# TRL imports it wherever it is installed, which takes seconds; tests of it run pods of their own.
sys.modules["wandb"] = None  # type: ignore[assignment]

_FOREIGN = "(torch|transformers|trl|peft|accelerate|datasets|tokenizers|multiprocess|dill)"
PARAGRAPHS = tuple(
    re.sub(r"\s+", " ", part).strip()
    for topic in sorted(topics)
    for part in topics[topic].split("\n\n")
    if len(part) > 80
)
TINY = {
    "hiddenSize": 32,
    "intermediateSize": 64,
    "numHiddenLayers": 2,
    "numAttentionHeads": 4,
    "numKeyValueHeads": 2,
    "maxPositionEmbeddings": 256,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the training libraries' own deprecations to them; ours stay errors."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings(f"ignore:::{_FOREIGN}"))


def pytest_collection_finish() -> None:
    """Keep garbage collections off the libraries: a training begins with one, which takes longer than a few steps."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Give back what was kept: a library that is not taken apart at the end complains."""
    gc.unfreeze()


CPU = AcceleratorProfile(name="cpu", device="cpu", image="trainer", dtypes=("float32", "bfloat16", "float16"))


@dataclass(frozen=True)
class Lab:
    """Jobs and their claims below one folder that stands for `/`."""

    root: Path
    profile: AcceleratorProfile = CPU

    def path(self, claim: str, path: str = "") -> Path:
        return self.root / "tunesmith/claims" / claim / path

    def put(self, name: str, content: Any) -> dict[str, Any]:
        """Write a file on the claim `data`, rows as JSON lines, and return the dataset that reads it."""
        path = self.path("data", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        path.write_text(text, encoding="utf-8")
        return {"claim": {"name": "data", "path": name}}

    def context(self, name: str, spec: dict[str, Any], model: ResolvedModel | None = None, **more: Any) -> RunContext:
        """Return the context of a job whose spec is given as a user writes it; the rest is resolved."""
        kind: JobKind = "AlignmentJob" if spec["method"] in ALIGNMENT else "FineTuneJob"
        resolved = model or ResolvedModel()
        trains_adapter = "peft" in spec or (resolved.adapter is not None and resolved.from_adapter == "continue")
        parsed = job_class(kind).model_fields["spec"].annotation.model_validate(spec)  # type: ignore[union-attr]  # a pydantic model
        run = FrozenRun(
            kind=kind,
            namespace="lab",
            name=name,
            uid=f"uid-{name}",
            run_id="1",
            generation=1,
            spec=resolve(kind, name, parsed, self.profile, trains_adapter=trains_adapter),
            model=resolved,
            profile=self.profile,
            operator_version="0",
        )
        # Through JSON, as the operator hands it over.
        frozen = FrozenRun.model_validate_json(json.dumps(run.to_wire()))
        context = RunContext(frozen, attempt=1, pod_uid="pod", root=self.root, **more)
        context.run_directory.mkdir(parents=True, exist_ok=True)
        return context

    def build(self, context: RunContext) -> Any:
        """Return the plan of a run."""
        from tunesmith_trainer.methods import METHODS

        return METHODS[context.run.spec.method].build(context)

    def finish(self, context: RunContext, plan: Any, *, train: bool = True) -> ResolvedModel:
        """Train, save the output, and return it as the model of another job."""
        from tunesmith_trainer.manifests import seal

        if train:
            plan.trainer.train()
        output = context.run_directory / "output"
        kind = plan.save_output(output)
        manifest = seal(output, kind, plan.trainer.state.global_step, context)
        volume = VolumePath(claim=context.run.output.claim, path=context.run.output_directory)
        if kind == "adapter":
            return ResolvedModel(base=plan.base_model, adapter=volume, from_adapter="continue", digest=manifest.digest)
        return ResolvedModel(base=volume, digest=manifest.digest)


def pretrain_spec(lab: Lab, **training: Any) -> dict[str, Any]:
    """Return a job that pretrains a tiny model on the language reference of Python."""
    return {
        "method": "pretrain",
        "model": {"architecture": TINY, "tokenizer": {"train": {"vocabSize": 512}}},
        "datasets": [lab.put("corpus.txt", "\n\n".join(PARAGRAPHS[:300]))],
        "training": {"maxLength": 64, "learningRate": 5e-3, "maxSteps": 20, "loggingSteps": 1} | training,
    }


@pytest.fixture(scope="session")
def new_lab(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Lab]:
    """Makes folders for jobs that several tests go on with."""
    return lambda name: Lab(tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session")
def pretrained(new_lab: Callable[[str], Lab]) -> tuple[Lab, ResolvedModel, list[dict[str, Any]]]:
    """A model that was pretrained for a few steps, and the log of it; made once."""
    lab = new_lab("pretrained")
    context = lab.context("base", pretrain_spec(lab))
    plan = lab.build(context)
    model = lab.finish(context, plan)
    gc.freeze()  # what was imported meanwhile, too
    return lab, model, plan.trainer.state.log_history


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """An empty folder for jobs, which train on one thread: tiny tensors are slower on several."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Lab(tmp_path)
    torch.set_num_threads(before)


@pytest.fixture
def base(lab: Lab, pretrained: tuple[Lab, ResolvedModel, Any]) -> ResolvedModel:
    """The pretrained model, as it lies on its claim in the test's own folder."""
    source, model, _ = pretrained
    assert isinstance(model.base, VolumePath)
    shutil.copytree(source.path(model.base.claim), lab.path(model.base.claim))
    return model


@pytest.fixture
def model_folder(lab: Lab, base: ResolvedModel) -> Path:
    """The folder of the pretrained model."""
    assert isinstance(base.base, VolumePath)
    return lab.path(base.base.claim, base.base.path)


class StopAfter(Exchange):
    """An order to stop that comes after a number of looks for it; never after 0."""

    asked = 0
    looks = 0

    @property
    @override
    def stop_ordered(self) -> bool:
        """Whether the workers are to save and end."""
        object.__setattr__(self, "asked", self.asked + 1)
        return self.asked >= self.looks > 0


@pytest.fixture
def attempt() -> Callable[..., Outcome]:
    """Runs attempts as a training process does, inside of the test: nobody else could time an order to stop so well."""

    def run(context: RunContext, *, stop_after: int = 0) -> Outcome:
        from tunesmith_trainer.worker import outcome_of_run

        exchange = StopAfter(Path(tempfile.mkdtemp(dir=context.root)))
        object.__setattr__(exchange, "looks", stop_after)
        return outcome_of_run(context, exchange, Reporter(context, exchange))

    return run


@pytest.fixture
def train_in_two(lab: Lab) -> Callable[..., list[dict[str, Any]]]:
    """Trains runs, one after the other, in two processes; returns what was seen of each."""

    def run(*contexts: RunContext) -> list[dict[str, Any]]:
        files = [lab.root / f"{place}.json" for place in range(len(contexts))]
        for file, context in zip(files, contexts, strict=True):
            file.write_text(json.dumps(context.run.to_wire()), encoding="utf-8")
        script = Path(__file__).with_name("methods") / "two_processes.py"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
        ended = subprocess.run(
            [*command, str(lab.root), *map(str, files)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
            timeout=240,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr[-4000:]
        return [json.loads(file.with_suffix(".seen").read_text()) for file in files]

    return run
