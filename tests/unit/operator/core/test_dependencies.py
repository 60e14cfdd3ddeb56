"""Jobs that a job takes something from: all of them, with their gates, and no way back to itself."""

from pathlib import Path
from typing import Any

import pytest
import scenario
import yaml

from tunesmith_api.labels import RUN_DIGEST
from tunesmith_api.meta import Reason
from tunesmith_api.naming import job_class
from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1 import AlignmentJobSpec
from tunesmith_api.v1alpha1.gate import Gate
from tunesmith_api.v1alpha1.status import HubModel, VolumePath
from tunesmith_operator import policies
from tunesmith_operator.decide import decide
from tunesmith_operator.desired import cycles, dependencies, gates, run_config
from tunesmith_operator.desired.freeze import resolve_auxiliary
from tunesmith_operator.desired.volumes import mounted
from tunesmith_operator.inputs import Create, Inputs, JobKey

Object = dict[str, Any]
GOLDEN = Path(__file__).resolve().parents[3] / "golden"
DATA = [{"claim": {"name": "data", "path": "pairs.jsonl"}}]
OUTPUT = {"path": "out", "latestPath": "latest", "digest": "sha256:aa", "sizeBytes": 1, "load": ""}


def job(name: str, model: Object, kind: str = "FineTuneJob", **fields: Any) -> Object:
    spec = {
        "method": "dpo" if kind == "AlignmentJob" else "sft",
        "accelerator": "cpu",
        "model": model,
        "datasets": DATA,
    }
    return {"kind": kind, "metadata": {"name": name}, "spec": spec | fields.pop("spec", {}), **fields}


def complete(name: str, **output: Any) -> Object:
    status = {
        "runId": "1",
        "conditions": [{"type": "Complete", "status": "True"}],
        "output": {"kind": "model", "claim": f"{name}-ftj", **OUTPUT, **output},
    }
    return job(name, {"path": {"claim": "models"}}, status=status)


def inputs(own: Object, *others: Object) -> Inputs:
    return scenario.inputs({"now": "2026-01-31T12:00:00Z", "job": own, "jobs": list(others)})


def taking(name: str, **fields: Any) -> Object:
    return {"fromJob": {"name": name, **fields}}


def look(seen: Inputs) -> dependencies.Sources | dependencies.Missing:
    return dependencies.look(seen, job_class(seen.key.kind).model_validate({"spec": seen.job["spec"]}).spec)


class TestSources:
    own = job("mine", taking("a"), "AlignmentJob", spec={"referenceModel": taking("b")})

    def test_each_is_found_by_the_field_that_names_it(self) -> None:
        found = look(inputs(self.own, complete("a"), complete("b")))
        assert not isinstance(found, dependencies.Missing)
        assert {field: getattr(source, "claim", None) for field, source in found.items()} == {
            "model.fromJob": "a-ftj",
            "referenceModel.fromJob": "b-ftj",
        }

    def test_all_that_is_waited_for_is_told(self) -> None:
        found = look(inputs(self.own, job("a", {}, status={"runId": "1", "state": "Running"})))
        assert isinstance(found, dependencies.Missing)
        assert (found.reason, found.permanent) == (Reason.WAITING_FOR_JOB, False)
        assert "spec.model.fromJob waits for FineTuneJob a to be Complete; it is Running" in found.message
        assert "spec.referenceModel.fromJob waits for FineTuneJob b, which does not exist" in found.message

    def test_a_failure_is_told_before_what_is_on_its_way(self) -> None:
        failed = {"runId": "1", "completionTime": "x", "conditions": [{"type": "Failed", "status": "True"}]}
        found = look(inputs(self.own, job("a", {}), job("b", {}, status=failed)))
        assert isinstance(found, dependencies.Missing)
        assert (found.reason, found.permanent) == (Reason.DEPENDENCY_FAILED, True)
        assert "spec.referenceModel.fromJob" in found.message
        assert "FineTuneJob a" not in found.message


@pytest.mark.parametrize(
    ("reference", "base", "adapter"),
    [
        ({"name": "team/tiny"}, HubModel(name="team/tiny", revision="main"), None),
        ({"path": {"claim": "c", "path": "m"}}, VolumePath(claim="c", path="m"), None),
        (taking("whole"), VolumePath(claim="whole-ftj", path="out"), None),
        (taking("adapted"), VolumePath(claim="models"), VolumePath(claim="adapted-ftj", path="out")),
    ],
)
def test_a_reference_model_is_resolved_as_it_is(
    reference: Object, base: VolumePath | HubModel, adapter: VolumePath | None
) -> None:
    own = job("mine", {"path": {"claim": "m"}}, "AlignmentJob", spec={"referenceModel": reference})
    seen = inputs(own, complete("whole"), complete("adapted", kind="adapter", baseModel={"claim": "models"}))
    spec, found = job_class("AlignmentJob").model_validate({"spec": own["spec"]}).spec, look(seen)
    assert not isinstance(found, dependencies.Missing)
    (resolved,) = resolve_auxiliary(spec, found).values()
    assert (resolved.base, resolved.adapter, resolved.from_adapter) == (base, adapter, None)
    assert resolved.digest == ("sha256:aa" if "fromJob" in reference else None)


class TestCycle:
    own = job("mine", taking("a"), "AlignmentJob", spec={"referenceModel": taking("b")})
    key = JobKey("AlignmentJob", "team", "mine")

    def test_one_over_an_auxiliary_model_names_its_field(self) -> None:
        back = job("b", {"fromJob": {"kind": "AlignmentJob", "name": "mine"}})
        way = cycles.find(inputs(self.own, complete("a"), back, self.own))
        assert way == cycles.Cycle("referenceModel.fromJob", (self.key, JobKey("FineTuneJob", "team", "b"), self.key))

    def test_two_ways_to_one_job_are_none(self) -> None:
        assert cycles.find(inputs(self.own, job("a", taking("b")), job("b", taking("c")), job("c", {}))) is None

    def test_one_among_others_is_not_the_jobs_own(self) -> None:
        assert cycles.find(inputs(self.own, job("a", taking("b")), job("b", taking("a")))) is None

    @pytest.mark.parametrize("status", [None, {"runId": "1", "startTime": "2026-01-31T11:00:00Z", "state": "Running"}])
    def test_a_job_that_is_complete_or_runs_waits_for_nothing(self, status: Object | None) -> None:
        back = complete("b")
        back["spec"]["model"] = {"fromJob": {"kind": "AlignmentJob", "name": "mine"}}
        back["status"] = status or back["status"]
        assert cycles.find(inputs(self.own, complete("a"), back, self.own)) is None


class TestGate:
    @staticmethod
    def told(gate: Object, *metrics: tuple[str, str]) -> str | None:
        listed = [{"name": name, "value": value} for name, value in metrics]
        status = {"progress": {"lastUpdatedTime": "2026-01-31T12:00:00Z", "metrics": listed}}
        return gates.unmet(Gate.model_validate(gate), "FineTuneJob a", {"status": status}, "model.fromJob")

    @pytest.mark.parametrize(
        ("gate", "value", "met"),
        [
            ({"max": 2}, "2", True),
            ({"max": 2}, "2.001", False),
            ({"max": 2}, "-3e-05", True),
            ({"min": 0.5}, "0.5", True),
            ({"min": 0.5}, "0.4999", False),
            ({"min": 0.5, "max": 2}, "1", True),
            ({"min": 0.5, "max": 2}, "2.5", False),
            ({"max": 2}, "nan", False),
            ({"min": 0}, "good", False),
        ],
    )
    def test_it_opens_within_its_bounds(self, gate: Object, value: str, *, met: bool) -> None:
        assert (self.told({"metric": "eval_loss", **gate}, ("loss", "1"), ("eval_loss", value)) is None) == met

    def test_figure_and_bounds_are_told(self) -> None:
        told = self.told({"metric": "eval_loss", "min": 0.5, "max": 2}, ("eval_loss", "2.418"))
        assert told is not None
        assert "eval_loss 2.418" in told
        assert "spec.model.fromJob.gate asks for eval_loss of at least 0.5 and at most 2" in told

    def test_a_figure_that_is_not_there_opens_nothing(self) -> None:
        told = self.told({"metric": "eval_loss", "max": 2}, ("loss", "1"))
        assert told is not None
        assert "without a figure eval_loss; it has loss" in told
        assert gates.unmet(Gate(metric="loss", max=2), "FineTuneJob a", {}, "model.fromJob") is not None


class TestUse:
    reward = job("judge", {"path": {"claim": "m"}}, "AlignmentJob", spec={"method": "reward"})

    @staticmethod
    def refusal(own: Object, *others: Object) -> str | None:
        seen = inputs(own, *others)
        spec = job_class(own["kind"]).model_validate({"spec": own["spec"]}).spec
        found = policies.models_are_of_their_use(policies.Candidate(seen, spec))
        assert found is None or (found.permanent and found.reason is Reason.INVALID_SPEC)
        return None if found is None else found.message

    @pytest.mark.parametrize("field", ["model", "referenceModel"])
    def test_what_scores_texts_is_not_trained_to_write_them_or_compared_with(self, field: str) -> None:
        judge = {"fromJob": {"kind": "AlignmentJob", "name": "judge"}}
        own = job("mine", {"path": {"claim": "m"}}, "AlignmentJob", spec={field: judge})
        told = self.refusal(own, self.reward)
        assert told is not None
        assert f"spec.{field}.fromJob: AlignmentJob judge makes a model that scores texts" in told

    def test_what_writes_texts_is_no_reward(self) -> None:
        rewards = [{"name": "short", "length": {"max": 3}}, {"name": "liked", "model": taking("a")}]
        own = job("mine", taking("a"), "AlignmentJob", spec={"method": "grpo", "rewards": rewards})
        told = self.refusal(own, job("a", {}))
        assert told is not None
        assert "spec.rewards[1].model.fromJob: FineTuneJob a makes a model that writes texts" in told

    def test_a_judge_is_made_of_a_writer_or_of_a_judge_and_rewards(self) -> None:
        judge = {"fromJob": {"kind": "AlignmentJob", "name": "judge"}}
        rewards = [{"name": "liked", "model": judge}]
        policy = job("mine", taking("a"), "AlignmentJob", spec={"method": "ppo", "rewards": rewards})
        assert self.refusal(policy, job("a", {}), self.reward) is None
        for source in (taking("a"), judge):
            own = job("mine", source, "AlignmentJob", spec={"method": "reward"})
            assert self.refusal(own, job("a", {}), self.reward) is None

    def test_models_of_rewards_are_frozen_by_their_names(self) -> None:
        rewards = [
            {"name": "short", "length": {"max": 3}},
            {"name": "liked", "model": {"fromJob": {"kind": "AlignmentJob", "name": "judge"}}},
            {"name": "safe", "model": {"name": "team/safe"}},
        ]
        own = scenario.whole_job(
            job("mine", {"path": {"claim": "m"}}, "AlignmentJob", spec={"method": "ppo", "rewards": rewards})
        )
        judge = complete("judge", kind="adapter", claim="judge-alj", baseModel={"claim": "models"}) | {
            "kind": "AlignmentJob"
        }
        key, other = JobKey("AlignmentJob", "team", "mine"), JobKey("AlignmentJob", "team", "judge")
        run = scenario.frozen_run(key, own, scenario.PROFILES, version="1", jobs={other: judge})
        liked = ResolvedModel(
            base=VolumePath(claim="models"), adapter=VolumePath(claim="judge-alj", path="out"), digest="sha256:aa"
        )
        assert run.reward_models == {
            "liked": liked,
            "safe": ResolvedModel(base=HubModel(name="team/safe", revision="main")),
        }
        assert run.uses_hub
        claims = {
            each.volume["persistentVolumeClaim"]["claimName"]
            for each in mounted(run)
            if "persistentVolumeClaim" in each.volume
        }
        assert claims == {"mine-alj", "data", "m", "models", "judge-alj"}
        assert isinstance(run.spec, AlignmentJobSpec)
        assert run.spec.rewards is not None
        assert run.spec.rewards[2].model is not None
        assert run.spec.rewards[2].model.revision == "main"


def test_an_attempt_trains_from_what_was_taken_though_the_other_job_has_a_new_output() -> None:
    case = yaml.safe_load((GOLDEN / "next-attempt-of-what-was-taken" / "input.yaml").read_text())
    seen = scenario.inputs(case)
    assert seen.run_config is not None
    taken = run_config.read(seen.run_config).model
    newer = seen.jobs[JobKey("FineTuneJob", "team", "base")]["status"]["output"]
    assert (taken.digest, taken.base) != (newer["digest"], VolumePath(claim=newer["claim"], path=newer["path"]))
    (create,) = decide(seen).actions
    assert isinstance(create, Create)
    assert create.manifest["metadata"]["annotations"][RUN_DIGEST] == run_config.digest(run_config.read(seen.run_config))
