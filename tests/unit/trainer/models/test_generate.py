"""`python -m tunesmith_trainer generate`: the same text as plain transformers and peft, and errors that help."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith_trainer.generate.command import main
from tunesmith_trainer.generate.options import parse

QUESTIONS = [{"prompt": f"{a}+{b}=", "completion": f" {a + b}"} for a in range(10) for b in range(4)]


@pytest.fixture
def adapter(lab: Any, base: Any) -> Path:
    """An adapter that an earlier job has trained a little."""
    spec = {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", QUESTIONS)],
        "peft": {"lora": {"r": 4}},
        "training": {"maxLength": 64, "maxSteps": 5, "learningRate": 1e-1},
    }
    context = lab.context("adapter", spec, base)
    lab.finish(context, lab.build(context))
    output: Path = context.run_directory / "output"
    return output


def prompts(folder: Path, *rows: Any) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def greedy(model: Any, tokenizer: Any, text: str, tokens: int) -> str:
    """Return what plain transformers writes, one prompt at a time."""
    inputs = tokenizer(text, return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return str(tokenizer.decode(ids, skip_special_tokens=True))


@pytest.mark.parametrize("kind", ["base", "adapter", "merged"])
def test_it_writes_what_plain_transformers_and_peft_write(
    lab: Any, model_folder: Path, adapter: Path, kind: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    options = ["--model", str(model_folder)]
    if kind == "adapter":
        model = PeftModel.from_pretrained(model, adapter)
        options += ["--adapter", str(adapter)]
    elif kind == "merged":
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
        model.save_pretrained(lab.root / "merged")
        tokenizer.save_pretrained(lab.root / "merged")
        options = ["--model", str(lab.root / "merged")]
    texts = ["The", "A function is a piece of code that", "1+2="]
    rows = [{"prompt": text, "id": place} for place, text in enumerate(texts)]
    output = lab.root / "out.jsonl"
    command = [*options, "--input", str(prompts(lab.root, *rows)), "--output", str(output)]
    assert main([*command, "--raw", "--temperature", "0", "--max-new-tokens", "8"]) == 0
    written = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["id"] for row in written] == [0, 1, 2]
    assert [row["completion"] for row in written] == [greedy(model, tokenizer, text, 8) for text in texts]


def test_a_seed_draws_the_same_and_another_one_does_not(
    lab: Any, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = prompts(lab.root, {"messages": [{"role": "user", "content": "Why?"}]}, {"prompt": "How?"})
    command = [
        "--model",
        str(model_folder),
        "--input",
        str(path),
        "--chat",
        "--temperature",
        "2",
        "--max-new-tokens",
        "12",
    ]
    texts = []
    for seed in ("1", "1", "2"):
        assert main([*command, "--seed", seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_typed_prompts_are_answered_until_there_are_no_more(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Why?\n\nHow?\n"))
    assert main(["--model", str(model_folder), "--temperature", "0", "--max-new-tokens", "4"]) == 0
    told = capsys.readouterr()
    answers = told.out.split("> ")
    assert len(answers) == 5  # two prompts, the empty line that begins anew, and the end
    assert answers[1].strip()
    assert told.err.startswith("chat; Ctrl-D or Ctrl-C ends")


@pytest.mark.slow
def test_ctrl_c_ends_it_and_keeps_what_is_done(lab: Any, model_folder: Path) -> None:
    output = lab.root / "out.jsonl"
    path = prompts(lab.root, *({"prompt": "The"} for _ in range(100_000)))
    command = [sys.executable, "-m", "tunesmith_trainer", "generate", "--model", str(model_folder), "--raw"]
    process = subprocess.Popen(
        [*command, "--input", str(path), "--output", str(output)], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    deadline = time.monotonic() + 100
    while not (output.is_file() and output.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert all("completion" in json.loads(line) for line in output.read_text().splitlines())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name a --model, an --adapter, or both"),
        (["--model", "x", "--output", "y"], "--output needs --input"),
        (["--model", "x", "--temperature", "-1"], "-1 is not between 0 and 100"),
        (["--model", "x", "--top-p", "many"], "'many' is no number"),
        (["--model", "x", "--chat", "--raw"], "not allowed with"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "{root}/nowhere"], "--model: the folder {root}/nowhere does not exist"),
        (["--model", "{adapter}"], "{adapter} is an adapter; name it with --adapter"),
        (["--model", "{root}"], "{root} has no config.json, so it is not a model"),
        (["--adapter", "{model}"], "{model} has no adapter_config.json, so it is not an adapter"),
        (["--adapter", "{adapter}"], "belongs to the model /tunesmith/claims/"),
        (["--model", "{model}", "--input", "{root}/none.jsonl"], "--input: the file {root}/none.jsonl does not exist"),
        (["--model", "{model}", "--input", "{root}/bad.jsonl"], "bad.jsonl, line 2: there is no column 'prompt'"),
        (["--model", "{model}", "--input", "{root}/good.jsonl", "--output", "{root}/no/x"], "{root}/no does not exist"),
    ],
)
def test_what_is_missing_is_named(
    lab: Any, model_folder: Path, capsys: pytest.CaptureFixture[str], *, arguments: list[str], says: str
) -> None:
    adapter = lab.root / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "/tunesmith/claims/elsewhere"}')
    (lab.root / "bad.jsonl").write_text('{"prompt": "a"}\n{"question": "b"}\n')
    (lab.root / "good.jsonl").write_text('{"prompt": "a"}\n')
    places = {"root": lab.root, "model": model_folder, "adapter": adapter}
    assert main([argument.format(**places) for argument in arguments]) not in {0, 2}
    assert says.format(**places) in capsys.readouterr().err


def test_the_example_is_a_command_line_it_takes(repository: Path) -> None:
    job = yaml.safe_load((repository / "examples/generate/job.yaml").read_text(encoding="utf-8"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    name, *arguments = container["args"]
    assert name == "generate"
    options = parse(arguments)
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for path in (options.adapter, options.input):
        assert any(str(path).startswith(f"{mount}/") for mount in mounts)
