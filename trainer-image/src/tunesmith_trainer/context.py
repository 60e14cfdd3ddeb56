"""What every part of a training process knows: the run, the attempt, its rank, and where things are mounted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tunesmith_api import pod
from tunesmith_api.run import FrozenRun
from tunesmith_trainer.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

ENV_ROOT = "TUNESMITH_ROOT"
"""A folder that stands for `/` in the paths of a pod; set by tests alone."""


@dataclass(frozen=True)
class RunContext:
    """One training process of one attempt.

    Attributes:
        run: The frozen run.
        attempt: Number of the attempt.
        pod_uid: UID of the pod, which the fencing token names.
        rank: Rank of this process among all.
        world_size: Number of processes that were started together.
        local_rank: Rank of this process on its node.
        root: The folder that stands for `/`.
    """

    run: FrozenRun
    attempt: int
    pod_uid: str
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    root: Path = Path("/")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> RunContext:
        """Read the frozen run and what the pod and the launcher say in the environment.

        Raises:
            InvalidSpec: The run can not be read.
        """
        root = Path(environment.get(ENV_ROOT, "/"))
        return cls(
            run=read_run(root / pod.RUN_FILE.lstrip("/")),
            attempt=int(environment[pod.ENV_ATTEMPT]),
            pod_uid=environment[pod.ENV_POD_UID],
            rank=int(environment.get("RANK", "0")),
            world_size=int(environment.get("WORLD_SIZE", "1")),
            local_rank=int(environment.get("LOCAL_RANK", "0")),
            root=root,
        )

    def claim_path(self, claim: str, path: str = "") -> Path:
        """Return where a path of a claim is mounted."""
        return self.root / pod.claim_path(claim, path).lstrip("/")

    def configmap_path(self, name: str, key: str) -> Path:
        """Return where a key of a ConfigMap is mounted."""
        return self.root / pod.configmap_path(name, key).lstrip("/")

    @property
    def job_directory(self) -> Path:
        """The job's folder on its output claim."""
        return self.claim_path(self.run.output.claim, self.run.output.path)

    @property
    def run_directory(self) -> Path:
        """The run's folder on the output claim."""
        return self.claim_path(self.run.output.claim, self.run.directory)

    @property
    def checkpoints_directory(self) -> Path:
        """Whole checkpoints: `step-<8 digits>`."""
        return self.run_directory / "checkpoints"

    @property
    def staging_directory(self) -> Path:
        """Where this attempt writes checkpoints until they are whole."""
        return self.checkpoints_directory / f".attempt-{self.attempt}"


def read_run(path: Path) -> FrozenRun:
    """Return the frozen run of a file.

    Raises:
        InvalidSpec: The file is missing or is no frozen run.
    """
    try:
        return FrozenRun.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidSpec(f"The frozen run {path} can not be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidSpec(
            f"The frozen run {path} does not fit this trainer image at {where}: {first['msg']};"
            " use the trainer image of the operator's own release"
        ) from error
