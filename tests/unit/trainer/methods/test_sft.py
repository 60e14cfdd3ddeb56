"""Supervised fine-tuning: what is trained, which tokens carry loss, what is written."""

from typing import Any

import pytest

from tunesmith_trainer.errors import DataError, InvalidSpec, ModelNotFound

QUESTIONS = [{"prompt": f"{a}+{b}=", "completion": f" {a + b}"} for a in range(10) for b in range(4)]
CHATS = [
    {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]}
    for row in QUESTIONS
]
INSTRUCTIONS = [{"instruction": "Add.", "input": row["prompt"], "output": row["completion"]} for row in QUESTIONS]
LORA = {"peft": {"lora": {"r": 4}}}


def spec(lab: Any, rows: Any = QUESTIONS, **more: Any) -> dict[str, Any]:
    return {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", rows)],
        "training": {"maxLength": 64, "maxSteps": 3, "loggingSteps": 1, "learningRate": 1e-2},
    } | more


def texts(plan: Any) -> list[tuple[str, str]]:
    """Return what each row shows the model, and what of it carries loss."""
    tokenizer = plan.trainer.processing_class
    return [
        (
            tokenizer.decode(row["input_ids"]),
            tokenizer.decode([token for token in row["labels"] if token != -100]),
        )
        for row in plan.trainer.train_dataset
    ]


def test_lora_trains_the_adapter_alone(lab: Any, base: Any) -> None:
    plan = lab.build(lab.context("lora", spec(lab) | LORA, base))
    model = plan.trainer.model
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained
    assert all(".lora_" in name for name in trained)
    layers = {name.split(".")[-4] for name in trained}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    plan.trainer.train()
    changed = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    assert changed == trained
    assert plan.base_model == base.base


def test_full_weights_train_everything(lab: Any, base: Any) -> None:
    plan = lab.build(lab.context("full", spec(lab), base))
    before = {name: value.detach().clone() for name, value in plan.trainer.model.named_parameters()}
    plan.trainer.train()
    assert all(not value.equal(before[name]) for name, value in plan.trainer.model.named_parameters())
    assert plan.base_model is None
    assert plan.save_output(lab.root / "output") == "model"


@pytest.mark.parametrize(
    ("rows", "completion_only", "seen", "learnt"),
    [
        (QUESTIONS, None, "0+1= 1<|endoftext|>", " 1<|endoftext|>"),
        (QUESTIONS, False, "0+1= 1<|endoftext|>", "0+1= 1<|endoftext|>"),
        ([{"text": "0"}, {"text": "0+1= 1"}], None, "0+1= 1<|endoftext|>", "0+1= 1<|endoftext|>"),
        (
            CHATS,
            None,
            "<|im_start|>user\n0+1=<|im_end|>\n<|im_start|>assistant\n 1<|im_end|>\n",
            "<|im_start|>user\n0+1=<|im_end|>\n<|im_start|>assistant\n 1<|im_end|>\n",
        ),
        (
            INSTRUCTIONS,
            None,
            "<|im_start|>user\nAdd.\n\n0+1=<|im_end|>\n<|im_start|>assistant\n 1<|im_end|>\n",
            " 1<|im_end|>\n",
        ),
    ],
    ids=["completion", "whole sequence", "text", "messages", "instruction"],
)
def test_the_tokens_that_carry_loss(
    lab: Any, base: Any, *, rows: Any, completion_only: Any, seen: str, learnt: str
) -> None:
    block = {} if completion_only is None else {"sft": {"completionOnlyLoss": completion_only}}
    plan = lab.build(lab.context("masked", spec(lab, rows) | block, base))
    assert texts(plan)[1] == (seen, learnt)


@pytest.mark.parametrize("rows", [QUESTIONS, CHATS, INSTRUCTIONS, [{"text": "One."}, {"text": "Two, three."}]])
def test_rows_are_what_trl_makes_of_them(lab: Any, base: Any, rows: Any) -> None:
    """The same rows through TRL's own preparation give the same tokens and labels, also where they are cut."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    training = {"maxLength": 24, "maxSteps": 1}
    context = lab.context("ours", spec(lab, rows, training=training), base)
    plan = lab.build(context)
    from tunesmith_trainer.data.corpus import open_corpora

    corpora = open_corpora(context.run.spec, context, ("messages", "prompt-completion", "instruction", "text"))
    theirs = SFTTrainer(
        model=plan.trainer.model,
        args=SFTConfig(output_dir=str(lab.root / "trl"), max_length=24, use_cpu=True, bf16=False, report_to=[]),
        train_dataset=Dataset.from_list(list(corpora.train)),
        processing_class=plan.trainer.processing_class,
    ).train_dataset
    ours = plan.trainer.train_dataset
    assert ours["input_ids"][:] == theirs["input_ids"][:]
    assert ours["labels"][:] == theirs["labels"][:]


def test_rows_that_are_cut_or_lost_are_counted(lab: Any, base: Any) -> None:
    rows = [
        {"prompt": "short", "completion": "x"},
        {"prompt": "short", "completion": "long " * 60},
        {"prompt": "long " * 60, "completion": "x"},
    ]
    plan = lab.build(lab.context("cut", spec(lab, rows, training={"maxLength": 32}), base))
    report = plan.data_report["train"]
    assert {name: report[name] for name in ("rows", "used", "truncated", "dropped")} == {
        "rows": 3,
        "used": 2,
        "truncated": 1,
        "dropped": 1,
    }
    with pytest.raises(
        DataError, match=r"none of the 1 rows to train on has a token to learn within training\.maxLength"
    ):
        lab.build(lab.context("lost", spec(lab, rows[2:], training={"maxLength": 32}), base))


def test_a_row_can_be_cut_at_its_beginning(lab: Any, base: Any) -> None:
    rows = [{"prompt": "long " * 60 + "?", "completion": "the answer"}]
    cut = spec(lab, rows, training={"maxLength": 16}, sft={"truncationSide": "left"})
    plan = lab.build(lab.context("left", cut, base))
    (seen, learnt), report = texts(plan)[0], plan.data_report["train"]
    assert learnt == "the answer<|endoftext|>"
    assert seen.endswith(learnt)
    assert len(plan.trainer.train_dataset[0]["input_ids"]) == 16
    assert (report["truncated"], report["dropped"]) == (1, 0)
    assert report["tokenLength"]["max"] > 60


MARKED = (
    "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] + '<|im_end|>' -}}{%- endif -%}{{- '\\n' -}}{%- endfor -%}"
)
UNMARKED = MARKED.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")
TURNS = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "First."},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "Second."},
]


@pytest.mark.parametrize("rows", [[{"messages": TURNS}], [{"prompt": TURNS[:3], "completion": TURNS[3:]}]])
def test_only_what_the_assistant_says_is_learnt(lab: Any, base: Any, model_folder: Any, rows: Any) -> None:
    (model_folder / "chat_template.jinja").write_text(MARKED, encoding="utf-8")
    undigested = base.model_copy(update={"digest": None})
    options = {"assistantOnlyLoss": True} | ({"completionOnlyLoss": False} if "prompt" in rows[0] else {})
    plan = lab.build(lab.context("said", spec(lab, rows, sft=options), undigested))
    (seen, learnt) = texts(plan)[0]
    assert learnt == "First.<|im_end|>Second.<|im_end|>"
    assert seen.startswith("<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nFirst.")
    assert 0 < plan.data_report["train"]["lossShare"] < 0.6


def test_only_the_last_turn_is_learnt_where_it_is_the_completion(lab: Any, base: Any, model_folder: Any) -> None:
    (model_folder / "chat_template.jinja").write_text(MARKED, encoding="utf-8")
    rows = [{"prompt": TURNS[:3], "completion": TURNS[3:]}]
    undigested = base.model_copy(update={"digest": None})
    plan = lab.build(lab.context("last", spec(lab, rows, sft={"assistantOnlyLoss": True}), undigested))
    assert texts(plan)[0][1] == "Second.<|im_end|>"


def test_a_template_that_marks_nothing_is_refused(lab: Any, base: Any, model_folder: Any) -> None:
    (model_folder / "chat_template.jinja").write_text(UNMARKED, encoding="utf-8")
    undigested = base.model_copy(update={"digest": None})
    with pytest.raises(
        InvalidSpec, match=r"spec\.sft\.assistantOnlyLoss: the model's chat template does not mark .*generation"
    ):
        lab.build(lab.context("unmarked", spec(lab, CHATS, sft={"assistantOnlyLoss": True}), undigested))


def test_a_loss_on_the_assistant_needs_chats(lab: Any, base: Any) -> None:
    with pytest.raises(
        InvalidSpec, match=r"spec.sft.assistantOnlyLoss: needs chats, and spec.datasets\[0\] has prompt-"
    ):
        lab.build(lab.context("plain", spec(lab, sft={"assistantOnlyLoss": True}), base))


def test_mixed_datasets_tell_the_drawn_share_in_rows_and_tokens(lab: Any, base: Any) -> None:
    short = lab.put("a.jsonl", [{"text": f"{number}"} for number in range(400)]) | {"weight": 0.7}
    long = lab.put("b.jsonl", [{"text": f"{number} " * 9} for number in range(400)]) | {"weight": 0.3}
    plan = lab.build(lab.context("mixed", spec(lab, datasets=[short, long]), base))
    drawn = plan.data_report["train"]["drawn"]
    assert drawn["spec.datasets[0]"]["rowShare"] == pytest.approx(0.7, abs=0.04)
    assert drawn["spec.datasets[1]"]["tokenShare"] > 0.6, "longer rows weigh more in tokens"
    assert sum(share["rows"] for share in drawn.values()) == len(plan.trainer.train_dataset)


def test_completions_are_needed_for_a_loss_on_completions(lab: Any, base: Any) -> None:
    with pytest.raises(InvalidSpec, match=r"spec.sft.completionOnlyLoss: true needs rows with a completion"):
        lab.build(lab.context("none", spec(lab, CHATS, sft={"completionOnlyLoss": True}), base))


def test_an_adapter_reloaded_with_plain_peft_gives_the_live_logits(lab: Any, base: Any, model_folder: Any) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    context = lab.context("reload", spec(lab) | LORA, base)
    plan = lab.build(context)
    saved = lab.finish(context, plan)
    folder = lab.path(saved.adapter.claim, saved.adapter.path)
    reloaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_folder), folder).eval()
    ids = plan.trainer.processing_class("3+2=", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        live = plan.trainer.model.eval()(input_ids=ids).logits
        assert torch.allclose(live, reloaded(input_ids=ids).logits, atol=1e-5)
        with reloaded.disable_adapter():
            assert not torch.allclose(live, reloaded(input_ids=ids).logits, atol=1e-3)


def test_an_adapter_names_its_base_as_pods_see_it(lab: Any, base: Any) -> None:
    import json

    context = lab.context("names", spec(lab) | LORA, base)
    saved = lab.finish(context, lab.build(context), train=False)
    folder = lab.path(saved.adapter.claim, saved.adapter.path)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == f"/tunesmith/claims/{base.base.claim}/{base.base.path}"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "generation_config.json",
        "manifest.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


@pytest.mark.slow
def test_an_earlier_adapter_is_trained_further(lab: Any, base: Any) -> None:
    first = lab.context("first", spec(lab) | LORA, base)
    adapter = lab.finish(first, lab.build(first))
    second = lab.context("second", spec(lab, model={"fromJob": {"name": "first"}}), adapter)
    plan = lab.build(second)
    assert plan.base_model == base.base
    assert plan.trainer.model.peft_config["default"].r == 4
    assert list(plan.trainer.model.peft_config) == ["default"]
    plan.trainer.train()
    losses = [entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry]
    fresh = lab.build(first).trainer
    fresh.train()
    assert losses[0] < fresh.state.log_history[0]["loss"], "it begins where the first job ended"


def test_a_merged_adapter_becomes_a_base_of_its_own(lab: Any, base: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    first = lab.context("first", spec(lab) | LORA, base)
    trained = lab.build(first)
    adapter = lab.finish(first, trained)
    merge = adapter.model_copy(update={"from_adapter": "merge"})
    second = lab.context(
        "second", spec(lab, model={"fromJob": {"name": "first", "fromAdapter": "merge"}}) | LORA, merge
    )
    plan = lab.build(second)
    folder = second.run_directory / "base"
    assert plan.base_model.path == f"{second.run.directory}/base"
    assert plan.base_model.claim == "second-ftj"
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        live = trained.trainer.model.eval()(input_ids=ids).logits
        merged = AutoModelForCausalLM.from_pretrained(folder).eval()(input_ids=ids).logits
    assert torch.allclose(live, merged, atol=1e-4)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    lab.build(second)
    assert (folder / "model.safetensors").stat().st_mtime_ns == written, "written once per run"


def test_several_datasets_of_different_shape(lab: Any, base: Any) -> None:
    datasets = [lab.put("a.jsonl", QUESTIONS[:2]), lab.put("b.jsonl", CHATS[:1]), lab.put("c.txt", "Some text.")]
    plan = lab.build(lab.context("mixed", spec(lab, datasets=datasets), base))
    learnt = [label for _, label in texts(plan)]
    assert learnt[0] == " 0<|endoftext|>"
    assert learnt[2].startswith("<|im_start|>user")
    assert learnt[3] == "Some text.<|endoftext|>"
    plan.trainer.train()


def test_a_model_without_a_chat_template_gets_chatml(lab: Any, base: Any, model_folder: Any) -> None:
    (model_folder / "chat_template.jinja").unlink()
    undigested = base.model_copy(update={"digest": None})
    plan = lab.build(lab.context("bare", spec(lab, CHATS) | LORA, undigested))
    assert plan.data_report["chatTemplateGiven"]
    assert texts(plan)[1][0].startswith("<|im_start|>user\n0+1=<|im_end|>\n")
    plan.save_output(lab.root / "output")
    assert (lab.root / "output/chat_template.jinja").exists()
    plain = lab.build(lab.context("plain", spec(lab) | LORA, undigested))
    assert plain.trainer.processing_class.chat_template is None, "not given where no chat is trained on"


def test_an_output_that_was_changed_is_refused(lab: Any, base: Any, model_folder: Any) -> None:
    with (model_folder / "generation_config.json").open("a", encoding="utf-8") as file:
        file.write("\n")
    with pytest.raises(
        ModelNotFound,
        match=r"the base model \(claim base-ftj.*was changed after .*: generation_config.json has .* bytes",
    ):
        lab.build(lab.context("changed", spec(lab), base))
    other = base.model_copy(update={"digest": "sha256:" + "0" * 64})
    with pytest.raises(ModelNotFound, match="it has the digest sha256:"):
        lab.build(lab.context("other", spec(lab), other))
