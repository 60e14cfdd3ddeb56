"""Measures the trainer against what else trains the same model on the same rows: `make bench-trainer`.

Every contender is a fresh process, watched through the same hooks (marks.py), on the same settings and seed. Contenders
take turns, so that a slow minute of the machine hits all of them; the table shows medians.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import material

from tunesmith_api import pod
from tunesmith_api.profile import AcceleratorProfile
from tunesmith_api.resolve import resolve
from tunesmith_api.run import FrozenRun, ResolvedModel
from tunesmith_api.v1alpha1.fine_tuning import FineTuneJobSpec
from tunesmith_api.v1alpha1.status import VolumePath
from tunesmith_trainer.context import ENV_ROOT
from tunesmith_trainer.exchange import ENV_EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
RIVAL = ROOT / ".build" / "venv-rival" / "bin" / "python"
CLAIM = "bench"
PLAIN = "plain TRL"
_LIMIT_SECONDS = 1800


@dataclass(frozen=True)
class Settings:
    """What every contender is told."""

    steps: int
    batch: int = 8
    max_length: int = 512
    learning_rate: float = 2e-4
    rank: int = 8
    seed: int = 42


@dataclass(frozen=True)
class Contender:
    """One way to train.

    Attributes:
        name: Its name in the table.
        command: Makes the command from the settings and a folder of its own; the model and rows lie beside it.
        options: What sets it apart from others of the same kind.
    """

    name: str
    command: Callable[[Settings, Path, dict[str, Any]], tuple[list[str], dict[str, str]]]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """What one run showed; times in seconds."""

    imports: float
    model: float
    data: float
    first_step: float
    start: float
    tokens_per_second: float
    peak_mib: float
    losses: tuple[float, ...]

    @classmethod
    def of(cls, seen: dict[str, Any]) -> Figures:
        """Return the figures of a run's marks; the rate leaves out the first step, which warms up."""
        ends = seen["step_ends"]
        return cls(
            imports=seen["imports"],
            model=seen["model"],
            data=seen["train"] - seen["imports"] - seen["model"],
            first_step=ends[0] - seen["train"],
            start=ends[0],
            tokens_per_second=sum(seen["tokens"][1:]) / (ends[-1] - ends[0]),
            peak_mib=seen["peak_mib"],
            losses=tuple(seen["losses"]),
        )


def plain(settings: Settings, folder: Path, options: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Return the command of the plain TRL script."""
    told = {
        **settings.__dict__,
        "packing": False,
        **options,
        "model": str(folder.parent / "model"),
        "data": str(folder.parent / "rows.jsonl"),
        "output": str(folder / "output"),
    }
    (folder / "settings.json").write_text(json.dumps(told), encoding="utf-8")
    return [sys.executable, str(HERE / "marks.py"), str(folder / "marks.json"), str(HERE / "plain_trl.py"),
            str(folder / "settings.json")], {}  # fmt: skip


def ours(settings: Settings, folder: Path, options: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Return the command of our worker, as the supervisor starts it in a pod."""
    claim = folder / "tunesmith" / "claims" / CLAIM
    claim.mkdir(parents=True)
    for name in ("model", "rows.jsonl"):
        (claim / name).symlink_to(folder.parent / name)
    run = frozen_run(settings, options)
    file = folder / pod.RUN_FILE.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run.to_wire()), encoding="utf-8")
    (claim / run.directory).mkdir(parents=True)
    exchange = folder / "exchange"
    exchange.mkdir()
    environment = {
        ENV_ROOT: str(folder),
        ENV_EXCHANGE: str(exchange),
        pod.ENV_ATTEMPT: "1",
        pod.ENV_POD_UID: "bench",
    }
    return [sys.executable, str(HERE / "marks.py"), str(folder / "marks.json"), "-m", "tunesmith_trainer", "worker"], (
        environment
    )


def frozen_run(settings: Settings, options: dict[str, Any]) -> FrozenRun:
    """Return the run with the settings, as an operator would freeze it."""
    profile = AcceleratorProfile(name="cpu", device="cpu", image="bench")
    spec = FineTuneJobSpec.model_validate(
        {
            "method": "sft",
            "model": {"path": {"claim": CLAIM, "path": "model"}},
            "datasets": [{"claim": {"name": CLAIM, "path": "rows.jsonl"}}],
            "peft": {"lora": {"r": settings.rank, "loraAlpha": 2 * settings.rank}},
            "training": {
                "maxSteps": settings.steps,
                "perDeviceTrainBatchSize": settings.batch,
                "maxLength": settings.max_length,
                "learningRate": settings.learning_rate,
                "loggingSteps": 1,
                "seed": settings.seed,
                **options.get("training", {}),
            },
            "sft": options.get("sft", {}),
            "accelerator": "cpu",
            "checkpoint": {"saveSteps": settings.steps},
            "output": {"claimName": CLAIM},
        }
    )
    return FrozenRun(
        kind="FineTuneJob",
        namespace="bench",
        name="bench",
        uid="bench",
        run_id="1",
        generation=1,
        spec=resolve("FineTuneJob", "bench", spec, profile, trains_adapter=True),
        model=ResolvedModel(base=VolumePath(claim=CLAIM, path="model")),
        profile=profile,
        operator_version="bench",
    )


def llama_factory(settings: Settings, folder: Path, _: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Return the command of LLaMA-Factory, in an environment of its own."""
    columns = {"prompt": "prompt", "response": "completion"}
    index = {"rows": {"file_name": str(folder.parent / "rows.jsonl"), "columns": columns}}
    (folder / "dataset_info.json").write_text(json.dumps(index), encoding="utf-8")
    told = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(folder.parent / "model"),
        "finetuning_type": "lora",
        "lora_target": "all",
        "lora_rank": settings.rank,
        "lora_alpha": 2 * settings.rank,
        "lora_dropout": 0.0,
        "dataset_dir": str(folder),
        "dataset": "rows",
        "template": "empty",
        "cutoff_len": settings.max_length,
        "per_device_train_batch_size": settings.batch,
        "max_steps": settings.steps,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "linear",
        "logging_steps": 1,
        "seed": settings.seed,
        "save_strategy": "no",
        "report_to": "none",
        "disable_gradient_checkpointing": True,
        "output_dir": str(folder / "output"),
        "use_cpu": True,
    }
    (folder / "train.yaml").write_text(json.dumps(told), encoding="utf-8")
    return [str(RIVAL), str(HERE / "marks.py"), str(folder / "marks.json"), "-m", "llamafactory.cli", "train",
            str(folder / "train.yaml")], {}  # fmt: skip


COLUMNS = (
    "contender",
    "useful tokens/s",
    "ratio",
    "first loss",
    "last loss",
    "largest loss difference",
    "imports",
    "model",
    "data",
    "first step",
    "first step ends after",
    "peak MiB",
)
CONTENDERS = (Contender(PLAIN, plain), Contender("ours", ours), Contender("LLaMA-Factory 0.9.5", llama_factory))
RAGGED = (
    Contender("ours, one row a row", ours),
    Contender("ours, grouped by length", ours, {"training": {"trainSamplingStrategy": "group_by_length"}}),
    Contender("ours, packed", ours, {"sft": {"packing": True}}),
    Contender("plain TRL, packed", plain, {"packing": True}),
)


def measure(contender: Contender, settings: Settings, folder: Path) -> Figures:
    """Run a contender once.

    Raises:
        SystemExit: It failed; its last lines are told.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command, more = contender.command(settings, folder, contender.options)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(os.cpu_count()),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HOME": str(folder / "cache"),
        **more,
    }
    log = folder / "log"
    with log.open("wb") as out:
        status = subprocess.run(
            command,
            env=environment,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            timeout=_LIMIT_SECONDS,
            check=False,
        ).returncode
    if not (folder / "marks.json").is_file():
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
        raise SystemExit(f"{contender.name} ended with {status}:\n{tail}")
    return Figures.of(json.loads((folder / "marks.json").read_text(encoding="utf-8")))


def median(runs: list[Figures]) -> Figures:
    """Return the median of each figure, with the losses of the first run: they do not depend on the machine."""
    names = ("imports", "model", "data", "first_step", "start", "tokens_per_second", "peak_mib")
    return replace(runs[0], **{name: statistics.median(getattr(run, name) for run in runs) for name in names})


def table(title: str, results: dict[str, Figures]) -> str:
    """Return the result as Markdown; ratios are to the first line, losses compared with it."""
    first = next(iter(results.values()))
    lines = [f"### {title}", "", f"| {' | '.join(COLUMNS)} |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    for name, run in results.items():
        apart = max(abs(one - other) for one, other in zip(run.losses, first.losses, strict=False))
        lines.append(
            f"| {name} | {run.tokens_per_second:.0f} | {run.tokens_per_second / first.tokens_per_second:.2f}"
            f" | {run.losses[0]:.3f} | {run.losses[-1]:.3f} | {apart:.1e}"
            f" | {run.imports:.1f} s | {run.model:.1f} s | {run.data:.1f} s | {run.first_step:.1f} s"
            f" | {run.start:.1f} s | {run.peak_mib:.0f} |"
        )
    return "\n".join(lines) + "\n"


def compare(contenders: tuple[Contender, ...], settings: Settings, folder: Path, rounds: int) -> dict[str, Figures]:
    """Run all contenders in turns."""
    runs: dict[str, list[Figures]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            run = measure(contender, settings, folder / "run")
            runs[contender.name].append(run)
            print(
                f"{dt.datetime.now(dt.UTC):%H:%M:%S} round {number + 1}: {contender.name}:"
                f" {run.tokens_per_second:.0f} tokens/s, first step after {run.start:.1f} s",
                flush=True,
            )
    return {name: median(found) for name, found in runs.items()}


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a JSON file in Alpaca's format instead of generated rows")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / ".build" / "bench")
    arguments = parser.parse_args()
    folder = arguments.out / "trainer"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = material.alpaca_rows(arguments.data) if arguments.data else material.generated_rows()
    material.write_rows(rows, folder / "rows.jsonl")
    facts = material.make_model(folder / "model", rows)
    settings = Settings(steps=arguments.steps)
    about = (
        f"- {facts['parameters'] / 1e6:.1f} M parameters, vocabulary {facts['vocabulary']}, {len(rows)} rows,"
        f" LoRA r {settings.rank} on all linear layers, float32, batch {settings.batch} × ≤ {settings.max_length}"
        f" tokens, {settings.steps} steps, medians of {arguments.rounds} rounds"
    )
    text = "\n".join(
        [
            f"- date: {dt.datetime.now(dt.UTC):%Y-%m-%d}",
            f"- machine: {os.cpu_count()} cores, {platform.machine()}",
            about,
            "",
            table("Equal settings", compare(CONTENDERS, settings, folder, arguments.rounds)),
            table("Ragged rows", compare(RAGGED, settings, folder, arguments.rounds)),
        ]
    )
    (arguments.out / "trainer.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
