"""What operator and trainer tell each other: frozen run, manifest, progress, outcome, paths inside a pod."""

import hashlib
import json
from typing import Any

import pytest
from pydantic import ValidationError

from tunesmith_api.manifest import Manifest, ManifestFile
from tunesmith_api.pod import TERMINATION_MESSAGE_BYTES, claim_path, configmap_path, secret_variable
from tunesmith_api.profile import AcceleratorProfile
from tunesmith_api.progress import Outcome, Progress, SpentSeconds
from tunesmith_api.resolve import resolve
from tunesmith_api.run import FrozenRun, ResolvedModel
from tunesmith_api.v1alpha1 import AlignmentJobSpec, FineTuneJobSpec
from tunesmith_api.v1alpha1.status import VolumePath

PROFILE = AcceleratorProfile(name="cpu", device="cpu", image="trainer")
DATA = {"datasets": [{"claim": {"name": "data", "path": "train.jsonl"}}]}


def frozen_run(spec: FineTuneJobSpec | AlignmentJobSpec) -> FrozenRun:
    """Return a run of this spec."""
    return FrozenRun(
        kind="FineTuneJob",
        namespace="team",
        name="tiny",
        uid="0b5e",
        run_id="2",
        generation=4,
        spec=spec,
        model=ResolvedModel(base=VolumePath(claim="models")),
        profile=PROFILE,
        operator_version="0.1.0",
    )


def manifest(*files: ManifestFile) -> Manifest:
    """Return a manifest of these files."""
    return Manifest(
        artifact="adapter",
        kind="FineTuneJob",
        namespace="team",
        name="tiny",
        uid="0b5e",
        run_id="1",
        attempt=1,
        step=10,
        created="2026-01-31T12:00:00Z",
        files=files,
    )


class TestFrozenRun:
    def test_it_reads_back_from_json_with_the_class_of_its_method(self) -> None:
        sft = FineTuneJobSpec.model_validate({"method": "sft", "model": {"path": {"claim": "models"}}, **DATA})
        dpo = AlignmentJobSpec.model_validate({"method": "dpo", "model": {"fromJob": {"name": "tiny"}}, **DATA})
        for spec in (sft, dpo):
            run = frozen_run(spec)
            again = FrozenRun.model_validate_json(json.dumps(run.to_wire()))
            assert again == run
            assert type(again.spec) is type(spec)

    def test_its_folders_lie_below_the_output_path(self) -> None:
        wire = {"method": "sft", "model": {"path": {"claim": "models"}}, "numNodes": 2, "numProcPerNode": 4, **DATA}
        spec = resolve("FineTuneJob", "tiny", FineTuneJobSpec.model_validate(wire), PROFILE, trains_adapter=False)
        run = frozen_run(spec)
        assert run.output == VolumePath(claim="tiny-ftj", path="finetunejobs/tiny")
        assert run.directory == "finetunejobs/tiny/runs/0b5e-2"
        assert run.output_directory == "finetunejobs/tiny/runs/0b5e-2/output"
        assert run.world_size == 8

    def test_an_unresolved_spec_has_no_output(self) -> None:
        spec = FineTuneJobSpec.model_validate({"method": "sft", "model": {"path": {"claim": "models"}}, **DATA})
        with pytest.raises(ValueError, match="must name its claim and path"):
            _ = frozen_run(spec).output


class TestManifest:
    files = tuple(
        ManifestFile(path=name, size=size, sha256=hashlib.sha256(name.encode()).hexdigest())
        for name, size in (("a.json", 3), ("b/c.bin", 5))
    )

    def test_its_digest_does_not_depend_on_the_order_of_files(self) -> None:
        assert manifest(*self.files).digest == manifest(*reversed(self.files)).digest

    @pytest.mark.parametrize("change", [{"path": "z"}, {"size": 4}, {"sha256": "0" * 64}])
    def test_its_digest_depends_on_every_file(self, change: dict[str, Any]) -> None:
        changed = (self.files[0].model_copy(update=change), self.files[1])
        assert manifest(*changed).digest != manifest(*self.files).digest

    def test_its_digest_is_pinned(self) -> None:
        listing = [[file.path, file.size, file.sha256] for file in self.files]
        expected = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
        assert manifest(*self.files).digest == f"sha256:{expected}"

    def test_it_adds_up_sizes(self) -> None:
        assert manifest(*self.files).size_bytes == 8

    def test_it_reads_back(self) -> None:
        written = json.dumps(manifest(*self.files).to_wire())
        assert Manifest.model_validate_json(written) == manifest(*self.files)


class TestReports:
    def test_what_a_newer_trainer_says_more_is_ignored(self) -> None:
        wire = {"attempt": 1, "podUid": "0b5e", "phase": "training", "currentStep": 3, "temperature": 61}
        assert Progress.model_validate(wire).current_step == 3

    @pytest.mark.parametrize(
        "change",
        [
            {"currentStep": -1},
            {"phase": "dreaming"},
            {"attempt": 0},
            {"epoch": float("inf")},
            {"podUid": "x" * 65},
            {"metrics": {f"m{number}": 1.0 for number in range(65)}},
            {"seconds": {"training": -1}},
        ],
    )
    def test_nonsense_is_refused(self, change: dict[str, Any]) -> None:
        wire = {"attempt": 1, "podUid": "0b5e", "phase": "training", **change}
        with pytest.raises(ValidationError):
            Progress.model_validate(wire)

    def test_a_full_outcome_fits_the_termination_message(self) -> None:
        outcome = Outcome(
            attempt=99,
            pod_uid="0b5e3a51-5d5c-4f5c-9d1c-0123456789ab",
            exit_code=11,
            reason="DataError",
            message="é" * 800,
            last_step=10**9,
            total_steps=10**9,
            metrics={f"metric_{number}": 0.123456789 for number in range(16)},
            checkpoint_steps=tuple(range(10**6, 10**6 + 16)),
            seconds=SpentSeconds(initialising=1.25, training=1e6),
        )
        assert len(outcome.model_dump_json(by_alias=True).encode()) <= TERMINATION_MESSAGE_BYTES


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "seen"),
        [("", "/tunesmith/claims/data"), ("a/b", "/tunesmith/claims/data/a/b"), ("a/", "/tunesmith/claims/data/a")],
    )
    def test_of_a_claim(self, path: str, seen: str) -> None:
        assert claim_path("data", path) == seen

    def test_variables_of_secrets_are_readable_and_differ(self) -> None:
        one, other = secret_variable("my-s3", "a.b"), secret_variable("my.s3", "a-b")
        assert one.startswith("TUNESMITH_SECRET_MY_S3_A_B_")
        assert one != other

    def test_of_a_config_map(self) -> None:
        assert configmap_path("rows", "train.jsonl") == "/tunesmith/configmaps/rows/train.jsonl"


class TestProfile:
    def test_a_device_must_be_countable(self) -> None:
        with pytest.raises(ValidationError, match=r"device cuda needs resourceName, such as nvidia.com/gpu"):
            AcceleratorProfile(name="cuda", device="cuda", image="trainer")
        profile = AcceleratorProfile(name="cuda", device="cuda", image="trainer", resource_name="nvidia.com/gpu")
        assert profile.dtypes == ("float32",)
