"""What a finished run knows of itself: the run record, read once for the report page and the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith_api.v1alpha1.methods import METHOD_BLOCKS
from tunesmith_trainer.report.history import Entry, history

Sample = dict[str, Any]
"""`number` of the prompt, `step`, `prompt`, `completion` and, for a held-out row, `expected`."""
Completion = dict[str, Any]
"""`step`, `prompt`, `completion`, `rewards` by name, their weighted sum `reward` and, if there is one, `advantage`."""


@dataclass(frozen=True)
class Facts:
    """A run record, with what it does not hold.

    Attributes:
        record: The run record.
        artifact: What was written: `adapter` or `model`.
        samples: What the model wrote during training, in order.
        completions: What an online method's policy wrote and was rewarded for, as much as was kept.
        verification: The comparison of modules with the CPU, see `callbacks.verify`.
    """

    record: Mapping[str, Any]
    artifact: str
    samples: Sequence[Sample] = ()
    completions: Sequence[Completion] = ()
    verification: Mapping[str, Any] | None = None

    @property
    def run(self) -> Mapping[str, Any]:
        """The frozen run."""
        run: Mapping[str, Any] = self.record["run"]
        return run

    @property
    def spec(self) -> Mapping[str, Any]:
        """The resolved spec."""
        spec: Mapping[str, Any] = self.run["spec"]
        return spec

    @property
    def method(self) -> str:
        """The training method."""
        return str(self.spec["method"])

    @property
    def scores(self) -> bool:
        """Whether a classifier was trained, which scores texts and writes none."""
        return METHOD_BLOCKS[self.method].task == "SEQ_CLS"

    @property
    def title(self) -> str:
        """The run's name."""
        return str(self.spec["reporting"]["runName"])

    @property
    def entries(self) -> list[Entry]:
        """The metric history."""
        return history(self.record["initialEvaluation"], self.record["metrics"])

    @property
    def resumed(self) -> list[int]:
        """The steps that later attempts went on from."""
        return [attempt["resumedFromStep"] for attempt in self.record["attempts"] if attempt.get("resumedFromStep")]

    @property
    def base_model(self) -> str | None:
        """Where the weights came from, for people; None for random ones."""
        base = self.run["model"].get("base")
        if base is None:
            return None
        if "name" in base:
            commit = next(
                (pin["commit"] for pin in self.record["hub"] if pin["name"] == base["name"]), base["revision"]
            )
            return f"{base['name']} at {commit}"
        return f"claim {base['claim']}, path {base.get('path') or '/'}"

    @property
    def place(self) -> str:
        """Where the output is, for people."""
        output = self.spec["output"]
        return f"claim {output['claimName']}, path {output['path']}/output"
