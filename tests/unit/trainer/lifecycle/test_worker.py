"""One training process from its frozen run to its last word."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.manifest import Manifest
from tunesmith_api.run import FrozenRun
from tunesmith_trainer.data.uris import FETCHED
from tunesmith_trainer.worker import main

MakeRun = Callable[..., FrozenRun]


def test_the_output_is_whole_linked_and_recorded(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = make_run(evaluation={"splitRatio": 0.8})
    pods.write(run)
    context = pods.context(run)
    (context.run_directory / FETCHED).mkdir(parents=True)
    outcome = work(run)
    assert (outcome.exit_code, outcome.last_step, outcome.total_steps) == (0, 8, 8)
    output = context.run_directory / "output"
    manifest = Manifest.model_validate_json((output / "manifest.json").read_bytes())
    assert {file.path for file in manifest.files} == {p.name for p in output.iterdir()} - {"manifest.json"}
    assert outcome.output is not None
    assert outcome.output.path == run.output_directory
    assert (outcome.output.digest, outcome.output.size_bytes) == (manifest.digest, manifest.size_bytes)
    link = context.job_directory / "output"
    assert link.is_symlink()
    assert not Path(link.readlink()).is_absolute()
    assert link.resolve() == output.resolve()
    assert not list(context.run_directory.glob("*.tmp-*"))
    assert not (context.run_directory / FETCHED).exists(), "what was fetched is not kept"


def test_progress_is_told_without_what_nobody_reads(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = make_run(evaluation={"splitRatio": 0.8})
    pods.write(run)
    metrics = work(run).metrics
    assert metrics.keys() >= {
        "loss",
        "eval_loss",
        "initial_eval_loss",
        "learning_rate",
        "grad_norm",
        "tokens_per_second",
    }
    assert not [
        name
        for name in metrics
        if name.endswith(("_runtime", "_per_second", "_preparation_time")) and "tokens" not in name
    ]
    assert not metrics.keys() & {"epoch", "total_flos", "train_loss"}


@pytest.mark.slow
def test_the_time_spent_is_split(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = make_run(evaluation={"splitRatio": 0.8}, training={"maxSteps": 40})
    pods.write(run)
    seconds = work(run).seconds
    assert min(seconds.initialising, seconds.training, seconds.checkpointing, seconds.evaluating) > 0


def test_a_data_error_names_the_row_and_shows_no_traceback(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = make_run(datasets=[{"configMap": {"name": "text", "key": "train.jsonl"}}])
    pods.write(run)
    rows = [{"text": "The bridge was built."}, {"txt": "The mill was lost."}]
    file = pods.context(run).configmap_path("text", "train.jsonl")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = work(run)
    assert (outcome.exit_code, outcome.reason) == (ExitCode.DATA_ERROR, "DataError")
    assert "train.jsonl" in outcome.message
    assert "2" in outcome.message
    assert "Traceback" not in outcome.message


@pytest.mark.parametrize("last", ["The mill was lost.", 3], ids=["good", "bad"])
def test_a_file_name_that_is_not_utf_8_ends_no_run(pods: Any, work: Any, make_run: MakeRun, last: Any) -> None:
    run = make_run(datasets=[{"claim": {"name": "data", "path": "latin"}}])
    pods.write(run)
    folder = pods.context(run).claim_path("data", "latin")
    folder.mkdir(parents=True)
    texts = [f"In the year {1900 + number} the mill was lost by {number} men." for number in range(100)]
    rows = "".join(json.dumps({"text": text}) + "\n" for text in (*texts, last))
    (folder / os.fsdecode(b"caf\xe9.jsonl")).write_text(rows)
    outcome = work(run)
    assert outcome.exit_code == (ExitCode.SUCCESS if isinstance(last, str) else ExitCode.DATA_ERROR)
    assert isinstance(last, str) or r"file latin/caf\udce9.jsonl of claim data, line " in outcome.message


def test_a_last_word_that_can_not_be_written_leaves_the_exit_code_and_the_log(
    pods: Any, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pods.write(make_run())
    (pods.root / "tunesmith/configmaps/text/train.txt").unlink()
    variables = {"ROOT": pods.root, "ATTEMPT": 1, "POD_UID": "pod-1", "EXCHANGE": pods.root / "there-is-no-such-folder"}
    for name, value in variables.items():
        monkeypatch.setenv(f"TUNESMITH_{name}", str(value))
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    main()
    assert codes == [ExitCode.DATA_ERROR]
    assert "train.txt" in caplog.text


def test_an_output_that_an_earlier_attempt_finished_is_taken_as_it_is(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = make_run(evaluation={"splitRatio": 0.8})
    pods.write(run)
    first = work(run)
    (pods.context(run).job_directory / "output").unlink()
    second = work(run, attempt=2)
    assert second.output == first.output
    assert (second.last_step, second.world_size) == (8, 1)
    assert second.metrics.items() <= first.metrics.items()
    figures = ("loss", "perplexity", "entropy", "mean_token_accuracy")
    assert second.metrics.keys() == {f"{when}eval_{name}" for when in ("", "initial_") for name in figures}
    assert (pods.context(run).job_directory / "output").is_symlink()


def test_a_damaged_output_is_written_again(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = make_run()
    pods.write(run)
    first = work(run)
    (work.folder(run) / "output/model.safetensors").write_bytes(b"cut short")
    second = work(run, attempt=2)
    assert second.exit_code == ExitCode.SUCCESS
    assert second.output.size_bytes == pytest.approx(first.output.size_bytes, rel=0.1)
    assert (work.folder(run) / "output/model.safetensors").stat().st_size > 100


def test_losses_that_are_no_numbers_are_told_in_the_log_and_the_record(pods: Any, make_run: MakeRun) -> None:
    from tunesmith_trainer.callbacks.progress import told_figures
    from tunesmith_trainer.outputs import RECORD_FILE, write_record

    assert told_figures({"loss": float("nan"), "grad_norm": 1.5, "epoch": 1.0}).keys() == {"loss", "grad_norm"}
    context = pods.context(make_run())
    context.run_directory.mkdir(parents=True)
    write_record(context.run_directory, context, {"metrics": [{"loss": float("nan")}, {"loss": float("inf")}]})
    record = json.loads((context.run_directory / RECORD_FILE).read_text(), parse_constant=pytest.fail)
    assert record["metrics"] == [{"loss": "nan"}, {"loss": "inf"}]


@pytest.mark.slow
def test_checkpoints_go_when_the_output_is_complete_and_the_spec_says_so(
    pods: Any, work: Any, make_run: MakeRun
) -> None:
    run = make_run(output={"keepCheckpoints": False})
    pods.write(run)
    assert work(run, stop_after=3).checkpoint_steps == (3,)
    outcome = work(run, attempt=2)
    assert (outcome.exit_code, outcome.checkpoint_steps) == (ExitCode.SUCCESS, ())
    assert not (work.folder(run) / "checkpoints").exists()
    # An attempt that finds the output finished says the same, and removes what a dead one could not.
    (work.folder(run) / "checkpoints/step-00000008").mkdir(parents=True)
    assert work(run, attempt=3).checkpoint_steps == ()
    assert not (work.folder(run) / "checkpoints").exists()
