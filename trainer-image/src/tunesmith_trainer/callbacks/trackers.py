"""Experiment trackers that write files: TensorBoard, Weights & Biases offline, MLflow's file store. No network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from transformers.integrations import MLflowCallback, TensorBoardCallback, WandbCallback
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tunesmith_trainer.context import RunContext

# Each library would tell its makers of errors and use; MLflow would rather have a database than files.
_ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}


class EndCallback(TrainerCallback):
    """Closes a tracker's run where training ends: the process ends without asking anybody."""

    def __init__(self, end: Any) -> None:
        self._end = end

    @override
    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._end()


def trackers(context: RunContext, step: int) -> Iterator[TrainerCallback]:
    """Yield the callbacks of the trackers that the spec asks for, in folders of the run; for rank 0.

    Args:
        context: The run.
        step: The step that training goes on from; what an earlier attempt logged after it is logged again.
    """
    reporting = context.run.spec.reporting
    os.environ.update(_ENVIRONMENT)
    if reporting.tensorboard:
        yield _tensorboard(context, step)
    if reporting.wandb is not None:
        yield from _wandb(context, reporting.wandb.project)
    if reporting.mlflow is not None:
        yield from _mlflow(context, reporting.mlflow.experiment)


def _tensorboard(context: RunContext, step: int) -> TrainerCallback:
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(
        str(context.run_directory / "tensorboard"),
        purge_step=step + 1 if step else None,
        # Attempts that follow each other within a second would have files of the same name.
        filename_suffix=f".{context.attempt}",
    )
    return TensorBoardCallback(writer)


def _wandb(context: RunContext, project: str) -> Iterator[TrainerCallback]:
    import wandb

    run = context.run
    wandb.init(
        project=project,
        name=run.spec.reporting.run_name,
        id=f"{run.uid}-{run.run_id}",
        dir=str(context.run_directory),
        mode="offline",
        settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True),
    )
    yield WandbCallback()
    yield EndCallback(wandb.finish)


def _mlflow(context: RunContext, experiment: str) -> Iterator[TrainerCallback]:
    import mlflow

    mlflow.set_tracking_uri((context.run_directory / "mlflow").as_uri())
    known = mlflow.set_experiment(experiment)
    before = mlflow.MlflowClient().search_runs([known.experiment_id], max_results=1)
    mlflow.start_run(before[0].info.run_id if before else None, run_name=context.run.spec.reporting.run_name)
    yield MLflowCallback()
    yield EndCallback(mlflow.end_run)
