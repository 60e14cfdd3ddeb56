import json

import pytest

from tunesmith_api.exitcodes import RETRYABLE_FROM, ExitCode
from tunesmith_api.meta import Condition, ConditionType, Reason, State

# Part of the API: scripts and other controllers rely on these. Add to it; change nothing.
_EXIT_CODES = {
    0: "Succeeded",
    10: "InvalidSpec",
    11: "DataError",
    12: "ModelNotFound",
    13: "GatedModel",
    14: "OutputConflict",
    15: "DiskFull",
    16: "WorldSizeMismatch",
    17: "PreparationTimeout",
    137: "Killed",
    143: "Terminated",
    200: "Fenced",
    201: "CollectiveFailed",
    202: "HubUnreachable",
    203: "InternalError",
    204: "SourceUnreachable",
}


def test_exit_codes_are_pinned() -> None:
    assert {code.value: code.reason for code in ExitCode} == _EXIT_CODES


def test_exit_codes_are_permanent_below_128_and_retryable_from_there_on() -> None:
    assert RETRYABLE_FROM == 128
    assert not ExitCode.WORLD_SIZE_MISMATCH.retryable
    assert ExitCode.SIGKILLED.retryable
    assert all(code.retryable == (code >= 128) for code in ExitCode)


def test_an_exit_code_is_its_number() -> None:
    assert ExitCode(143) is ExitCode.TERMINATED
    assert int(ExitCode.TERMINATED) == 143
    assert json.dumps(ExitCode.TERMINATED) == "143"
    with pytest.raises(ValueError, match="99"):
        ExitCode(99)


@pytest.mark.parametrize("vocabulary", [ConditionType, Reason, State])
def test_words_are_pascal_case_and_have_a_meaning(
    vocabulary: type[ConditionType] | type[Reason] | type[State],
) -> None:
    for word in vocabulary:
        assert word.value.isalpha()
        assert word.value[0].isupper()
        assert word.meaning.endswith(".")


def test_a_word_prints_and_serialises_as_itself() -> None:
    assert f"{Reason.MISSING_CLAIM}" == "MissingClaim"
    assert json.dumps({"reason": Reason.MISSING_CLAIM}) == '{"reason": "MissingClaim"}'
    assert Reason("MissingClaim") is Reason.MISSING_CLAIM


def test_a_condition_reads_the_api_s_own_spelling() -> None:
    wire = {
        "type": "Ready",
        "status": "Unknown",
        "observedGeneration": 2,
        "lastTransitionTime": "2026-01-31T12:00:00Z",
        "reason": "Training",
        "message": "step 3 of 10",
    }
    assert Condition.model_validate(wire).to_wire() == wire
