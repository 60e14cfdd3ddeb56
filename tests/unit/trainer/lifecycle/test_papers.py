"""What an output says of itself: card, report, history and samples, written by a real run that was stopped once."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import FrozenRun
from tunesmith_trainer.ending import read_lines, write_papers

PAPERS = ("README.md", "metrics.jsonl", "report.html", "samples.jsonl")
HOSTILE = "<script>alert('x')</script> said the baker of the village to the men of the mill in the year 1900.\n\n"


def test_an_output_tells_all_of_the_run(pods: Any, work: Any, make_run: Callable[..., FrozenRun]) -> None:
    run = make_run(
        evaluation={"splitRatio": 0.8},
        training={"evalStrategy": "steps", "evalSteps": 4},
        reporting={"samples": {"fromEvaluation": 2, "everySteps": 4, "maxNewTokens": 5}},
    )
    pods.write(run, HOSTILE * 40)
    # The order to stop is looked for before the samples of step 0, then at each step's end.
    assert work(run, stop_after=4).exit_code == ExitCode.TERMINATED
    outcome = work(run, attempt=2)
    assert outcome.exit_code == ExitCode.SUCCESS, outcome.message
    output = work.folder(run) / "output"
    _the_manifest_lists_them(output)
    _perplexity_is_told(outcome.metrics, work.record(run))
    _the_history_is_whole(work, run)
    _samples_are_those_of_one_run(output)
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "alert(" in page
    assert "<script" not in page
    assert ModelCard.load(output / "README.md").data.library_name == "transformers"
    _they_come_from_the_record_alone(work.folder(run), pods.root / "again")


def test_a_line_that_an_attempt_died_in_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text('{"step": 0}\n{"step": 4}\n{"step": 8, "comple')
    assert read_lines(file) == [{"step": 0}, {"step": 4}]


def _the_manifest_lists_them(output: Path) -> None:
    listed = {file["path"] for file in json.loads((output / "manifest.json").read_text())["files"]}
    assert {*PAPERS, "run-record.json", "model.safetensors", "tokenizer.json"} <= listed


def _perplexity_is_told(metrics: dict[str, float], record: dict[str, Any]) -> None:
    for prefix in ("", "initial_"):
        loss, perplexity = (metrics[f"{prefix}eval_{name}"] for name in ("loss", "perplexity"))
        assert math.isclose(perplexity, math.exp(loss), rel_tol=1e-9)
    assert record["finalEvaluation"]["eval_perplexity"] < record["initialEvaluation"]["eval_perplexity"]
    assert record["model"]["trainedParameters"] == record["model"]["parameters"] > 0


def _the_history_is_whole(work: Any, run: FrozenRun) -> None:
    entries = read_lines(work.folder(run) / "output/metrics.jsonl")
    assert [entry["step"] for entry in entries if "loss" in entry] == list(range(1, 9))
    assert [entry["step"] for entry in entries if "eval_loss" in entry] == [0, 4, 8]
    assert all(entry["tokens_per_second"] > 0 for entry in entries if entry["step"] > 4 and "num_tokens" in entry)
    # Followed while the run went on, the file in the run's folder has said the same.
    assert read_lines(work.folder(run) / "metrics.jsonl") == entries


def _samples_are_those_of_one_run(output: Path) -> None:
    samples = read_lines(output / "samples.jsonl")
    assert [(sample["step"], sample["number"]) for sample in samples] == [
        (0, 0),
        (0, 1),
        (4, 0),
        (4, 1),
        (8, 0),
        (8, 1),
    ]
    first, last = samples[0], samples[-2]
    assert first["prompt"] == last["prompt"]
    assert first["expected"] == last["expected"] != ""
    assert first["completion"] != last["completion"]


def _they_come_from_the_record_alone(directory: Path, again: Path) -> None:
    again.mkdir()
    shutil.copyfile(directory / "output/run-record.json", again / "run-record.json")
    write_papers(directory, again, "model")
    for name in PAPERS:
        assert (again / name).read_bytes() == (directory / "output" / name).read_bytes()
