"""Bad data and bad settings end in the preparation: with an exit code that is permanent, and words that say what to do.

What the API server refuses by itself has its cases in tests/contract/bad.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import ResolvedModel

Object = dict[str, Any]
ROWS = [{"prompt": f"{number} + 1 = ", "completion": f"{number + 1}"} for number in range(6)]
_GOOD = b"\n".join(json.dumps(row).encode() for row in ROWS)


@dataclass(frozen=True)
class Case:
    """A job that must not reach an accelerator.

    Attributes:
        told: Parts of the message: the file, row or field, and the remedy.
        code: The exit code.
        data: Content of rows.jsonl; the good rows unless told otherwise.
        dataset: Further fields of the dataset.
        spec: Further fields of the spec.
    """

    told: tuple[str, ...]
    code: ExitCode = ExitCode.DATA_ERROR
    data: bytes = _GOOD
    dataset: Object = field(default_factory=dict)
    spec: Object = field(default_factory=dict)


def rows(*last: Any) -> bytes:
    """Return the good rows and some that are not."""
    return b"\n".join((_GOOD, *(json.dumps(row).encode() for row in last)))


SOURCE = {"claim": {"name": "data", "path": "rows.jsonl"}}
DATA = {
    "line-that-is-cut-off": Case(
        ("file rows.jsonl of claim data, line 7", "not valid JSON", "one JSON object per line"),
        data=_GOOD + b'\n{"prompt": "1 + ',
    ),
    "row-without-a-column": Case(
        ("line 7", "column 'completion' is missing", "correct or remove the row"), data=rows({"prompt": "1 + 1 = "})
    ),
    "row-without-an-answer": Case(
        ("line 7", "column 'completion' is empty", "fill it or remove the row"),
        data=rows({"prompt": "1 + 1 = ", "completion": " "}),
    ),
    "row-of-numbers": Case(
        ("line 7", "column 'completion' is a number", "make it text"), data=rows({"prompt": "x", "completion": 2})
    ),
    "row-of-another-kind": Case(
        ("line 7", "make all rows of a dataset alike"),
        data=rows(
            {"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "assistant", "content": "y"}]}
        ),
    ),
    "unknown-role": Case(
        ("line 7", "has the role 'robot'", "use one of"),
        data=rows(*[{"prompt": [{"role": "robot", "content": "x"}], "completion": "y"}]),
    ),
    "not-utf-8": Case(("line 7", "is not UTF-8", "convert the file"), data=_GOOD + b'\n{"prompt": "caf\xe9"}'),
    "empty-file": Case(("file rows.jsonl of claim data has no row", "fill it"), data=b""),
    "missing-file": Case(
        ("file other.jsonl of claim data does not exist", "correct the dataset's path"),
        dataset={"claim": {"name": "data", "path": "other.jsonl"}},
    ),
    "unknown-file-type": Case(
        ("file model of claim data", "the ending tells the file type", "rename it"),
        dataset={"claim": {"name": "data", "path": "model"}},
    ),
    "columns-of-no-format": Case(
        ("its columns (question, answer) fit no format", "name them in spec.datasets[0].columns"),
        data=b'{"question": "x", "answer": "y"}',
    ),
    "rows-of-another-method": Case(
        ("preference rows", "change the dataset or the method"),
        data=b'{"chosen": "x", "rejected": "y", "prompt": "z"}',
    ),
    "mapped-column-that-is-not-there": Case(
        ("column 'question' is missing", "spec.datasets[0].columns.prompt"), dataset={"columns": {"prompt": "question"}}
    ),
    "template-with-a-lone-brace": Case(
        ("spec.datasets[0].promptTemplate: { at character 1 names no column", "for braces"),
        ExitCode.INVALID_SPEC,
        dataset={"promptTemplate": "{", "completionTemplate": "{completion}"},
    ),
    "template-of-a-missing-column": Case(
        ("the template's column 'question' is missing", "correct the row or the template"),
        dataset={"promptTemplate": "{question}", "completionTemplate": "{completion}"},
    ),
    "prompts-as-long-as-max-length": Case(
        ("none of the 1 rows to train on has a token to learn within training.maxLength of 32", "shorten the prompts"),
        data=json.dumps({"prompt": "q" * 90, "completion": "z"}).encode(),
    ),
    "split-of-one-row": Case(
        ("spec.evaluation.splitRatio needs at least 2 rows", "add rows"),
        data=json.dumps(ROWS[0]).encode(),
        spec={"evaluation": {"splitRatio": 0.5}},
    ),
    "loss-on-completions-that-there-are-none-of": Case(
        ("spec.sft.completionOnlyLoss", "spec.datasets[0] has text rows", "remove it"),
        ExitCode.INVALID_SPEC,
        data=b'{"text": "x"}',
        spec={"sft": {"completionOnlyLoss": True}},
    ),
    "equal-preferences": Case(
        ("line 1", "are equal, which prefers nothing", "remove the row"),
        data=b'{"prompt": "x", "chosen": "y", "rejected": "y"}',
        spec={"method": "dpo"},
    ),
    "longer-than-the-positions": Case(
        ("spec.training.maxLength 65 exceeds the 64 positions", "set at most 64"),
        ExitCode.INVALID_SPEC,
        spec={"training": {"maxLength": 65}},
    ),
    "argument-that-trl-does-not-have": Case(
        ("spec.training.extraArguments.lerning_rate", "of the installed TRL has no argument", "correct or remove it"),
        ExitCode.INVALID_SPEC,
        spec={"training": {"extraArguments": {"lerning_rate": "1"}}},
    ),
    "argument-of-another-type": Case(
        ("spec.training.extraArguments.eval_delay", "can not be read", "the argument takes"),
        ExitCode.INVALID_SPEC,
        spec={"training": {"extraArguments": {"eval_delay": "soon"}}},
    ),
    "module-that-the-model-lacks": Case(
        ("spec.peft.lora.targetModules[0]", "no linear module 'query'", "it has down_proj"),
        ExitCode.INVALID_SPEC,
        spec={"peft": {"lora": {"targetModules": ["query"]}}},
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_data_and_settings_that_can_not_be_trained_on(name: str, lab: Any, prepare: Any) -> None:
    case = DATA[name]
    folder: Path = lab.path("data")
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_bytes(case.data)
    (folder / "model").write_bytes(_GOOD)
    outcome = prepare([{**SOURCE, **case.dataset}], **case.spec)
    check(outcome, case.code, *case.told)


def check(outcome: Any, code: ExitCode, *told: str) -> None:
    """Assert that a preparation refused for good, in words that help."""
    assert (outcome.exit_code, outcome.reason) == (code, code.reason), outcome.message
    assert not code.retryable
    for part in told:
        assert part in outcome.message
    assert "Traceback" not in outcome.message
    assert outcome.preparation is None


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def lose_a_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "unheard-of"}')


def lose_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def add_a_token(folder: Path) -> None:
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    token = {**tokenizer["added_tokens"][0], "id": 10_000, "content": "<|more|>"}
    file.write_text(json.dumps({**tokenizer, "added_tokens": [*tokenizer["added_tokens"], token]}))


def make_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def remove(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


_STRICT = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ m['role'] + ': ' + m['content'] }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
_USER, _ANSWER = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}
_SYSTEM = {"role": "system", "content": "Be kind."}


@pytest.mark.parametrize(
    ("good", "bad", "spec"),
    [
        ({"messages": [_USER, _ANSWER]}, {"messages": [_SYSTEM, _USER, _ANSWER]}, {}),
        (
            {"prompt": [_USER], "chosen": "Hello.", "rejected": "No."},
            {"prompt": [_SYSTEM, _USER], "chosen": "Hello.", "rejected": "No."},
            {"method": "dpo"},
        ),
        (
            {"prompt": [_USER], "chosen": "Hello.", "rejected": "No."},
            {"prompt": [_SYSTEM, _USER], "chosen": "Hello.", "rejected": "No."},
            {"method": "kto"},
        ),
    ],
    ids=["messages", "preference", "halves of a preference"],
)
def test_a_chat_that_the_template_does_not_take(
    *, good: Any, bad: Any, spec: Any, lab: Any, prepare: Any, model_folder: Path
) -> None:
    (model_folder / "chat_template.jinja").write_text(_STRICT)
    dataset = lab.put("rows.jsonl", [good] * 600 + [bad])
    check(
        prepare([dataset], **spec),
        ExitCode.DATA_ERROR,
        "file rows.jsonl of claim data, line 601: the model's chat template does not take a chat: System role not",
        "change or remove the row, or set another template in spec.model.chatTemplate",
    )


def test_a_template_that_takes_no_chat_can_not_mark_what_the_assistant_says(
    lab: Any, prepare: Any, model_folder: Path
) -> None:
    (model_folder / "chat_template.jinja").write_text("{{ raise_exception('No chats') }}")
    outcome = prepare([lab.put("rows.jsonl", [{"messages": [_USER, _ANSWER]}])], sft={"assistantOnlyLoss": True})
    check(outcome, ExitCode.INVALID_SPEC, "does not work on a chat of user and assistant: No chats", "chatTemplate")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (remove, ("does not exist", "correct the path")),
        (cut, ("model.safetensors can not be read", "copy the whole folder")),
        (lose_a_shard, ("model-00002-of-00002.safetensors can not be read", "copy the whole folder")),
        (break_config, ("can not be loaded",)),
        (lose_tokenizer, ("holds no tokenizer", "copy it next to the weights")),
        (add_a_token, ("tokens and the model embeds", "copy the tokenizer that belongs to the model")),
        (make_adapter, ("is an adapter", "use model.fromJob")),
    ],
)
def test_a_model_that_can_not_be_trained(
    damage: Callable[[Path], None], told: tuple[str, ...], prepare: Any, model_folder: Path
) -> None:
    damage(model_folder)
    check(prepare(), ExitCode.MODEL_NOT_FOUND, "the base model (claim models, path tiny)", *told)


def test_a_batch_that_can_not_fit_is_refused_with_the_nearest_one_that_does(prepare: Any) -> None:
    big = {"perDeviceTrainBatchSize": 4096}
    outcome = prepare(device_memory="800Mi", training=big)
    check(
        outcome,
        ExitCode.INVALID_SPEC,
        "Training needs about",
        "accelerator profile cpu says that a device has 800Mi: set spec.training.perDeviceTrainBatchSize:",
    )
    size, accumulation = (
        int(outcome.message.split(f"{field}: ")[1].split()[0].rstrip(","))
        for field in ("perDeviceTrainBatchSize", "gradientAccumulationSteps")
    )
    assert size * accumulation == 4096
    fitting = {"perDeviceTrainBatchSize": size, "gradientAccumulationSteps": accumulation}
    assert prepare(device_memory="800Mi", training=fitting).exit_code == 0


def test_a_device_that_is_too_small_for_any_setting(prepare: Any) -> None:
    check(prepare(device_memory="100Mi"), ExitCode.INVALID_SPEC, "no setting makes it fit: choose a smaller model")


def test_an_earlier_job_s_output_that_was_changed(prepare: Any) -> None:
    resolved = ResolvedModel.model_validate({"base": {"claim": "models", "path": "tiny"}, "digest": "sha256:1"})
    check(prepare(resolved=resolved), ExitCode.MODEL_NOT_FOUND, "was changed after that job was Complete")


def test_a_path_that_holds_another_job_s_output(lab: Any, prepare: Any) -> None:
    (lab.path("job-ftj", "finetunejobs/job/output")).mkdir(parents=True)
    check(prepare(), ExitCode.OUTPUT_CONFLICT, "claim job-ftj", "choose another spec.output.path")


def test_a_pod_that_was_replaced_writes_nothing(lab: Any, prepare: Any) -> None:
    folder = lab.path("job-ftj", "finetunejobs/job/runs/uid-job-1/preparations")
    folder.mkdir(parents=True)
    (folder / "2.json").write_text('{"podUid": "later"}')
    outcome = prepare()
    assert outcome.reason == "Fenced"
    assert not list(lab.path("job-ftj").rglob("preparation.json"))
