"""Runs in a pod of its own: loads what the three jobs made with plain peft and transformers, and nothing of Tunesmith.

Prints the held-out loss before and after each job, generations, and the files with their digests. Ends with 1 when a
loss has not fallen or a file is not what its manifest says. Reads its paths from check.json beside it.
"""

import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

_ROWS = 64
_BETA = 0.1
_MAX_LENGTH = 256


def main() -> int:
    """Check everything and return the exit status."""
    torch.manual_seed(0)
    torch.set_num_threads(2)
    paths = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model_path, sft_path, dpo_path = (Path(paths[name]) for name in ("pretrain", "sft", "dpo"))
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    untrained = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_path))
    base = AutoModelForCausalLM.from_pretrained(model_path)
    sft = AutoPeftModelForCausalLM.from_pretrained(sft_path)
    dpo = AutoPeftModelForCausalLM.from_pretrained(dpo_path)

    texts = [("", row["text"]) for row in read(paths["texts"])]
    answers = [(row["prompt"], row["completion"]) for row in read(paths["questions"])]
    pairs = read(paths["preferences"])
    figures = (
        ("pretrain: loss of held-out text", loss(untrained, tokenizer, texts), loss(base, tokenizer, texts)),
        ("sft: loss of held-out answers", loss(base, tokenizer, answers), loss(sft, tokenizer, answers)),
        ("dpo: loss of held-out preferences", *preference_losses(sft, dpo, tokenizer, pairs)),
    )
    print("Held-out loss, before and after:")
    for name, before, after in figures:
        print(f"  {name:36} {before:7.4f} -> {after:7.4f}  {'fell' if after < before else 'DID NOT FALL'}")
    print("\nGenerations, greedy:")
    for prompt, _ in answers[:2]:
        print(f"  {prompt.strip()}")
        for name, model in (("pretrained", base), ("fine-tuned", sft), ("aligned", dpo)):
            print(f"    {name:10} | {generate(model, tokenizer, prompt)}")
    whole = [files(path) for path in (model_path, sft_path, dpo_path)]
    return 0 if all(whole) and all(after < before for _, before, after in figures) else 1


def read(path: str) -> list[dict[str, str]]:
    """Return the first rows of a `.jsonl` file."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()[:_ROWS]]


def log_probability(model: Any, tokenizer: Any, prompt: str, completion: str) -> tuple[float, int]:
    """Return the log-probability of a completion after its prompt, and its number of tokens."""
    skipped = max(len(tokenizer(prompt)["input_ids"]) if prompt else 0, 1)
    ids = tokenizer(prompt + completion, return_tensors="pt")["input_ids"][:, :_MAX_LENGTH]
    with torch.no_grad():
        logits = model(input_ids=ids).logits[:, :-1]
    scores = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[0, skipped - 1 :, 0]
    return float(scores.sum()), scores.numel()


def loss(model: Any, tokenizer: Any, rows: list[tuple[str, str]]) -> float:
    """Return the mean negative log-probability per completion token."""
    model.eval()
    scored = [log_probability(model, tokenizer, prompt, completion) for prompt, completion in rows]
    return -math.fsum(score for score, _ in scored) / sum(count for _, count in scored)


def preference_losses(reference: Any, policy: Any, tokenizer: Any, rows: list[dict[str, str]]) -> tuple[float, float]:
    """Return the mean DPO loss of the reference itself (always ln 2) and of the policy."""
    margins = []
    for row in rows:
        margin = [
            log_probability(model, tokenizer, row["prompt"], row["chosen"])[0]
            - log_probability(model, tokenizer, row["prompt"], row["rejected"])[0]
            for model in (reference.eval(), policy.eval())
        ]
        margins.append(margin[1] - margin[0])
    losses = -torch.nn.functional.logsigmoid(_BETA * torch.tensor([[0.0] * len(margins), margins]))
    return float(losses[0].mean()), float(losses[1].mean())


def generate(model: Any, tokenizer: Any, prompt: str) -> str:
    """Return what the model answers."""
    inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    tokens = model.generate(
        **inputs, max_new_tokens=32, do_sample=False, pad_token_id=tokenizer.eos_token_id, repetition_penalty=1.2
    )
    text: str = tokenizer.decode(tokens[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return " ".join(text.split())


def files(folder: Path) -> bool:
    """Print a folder's files with their digests; whether they are what the manifest says."""
    print(f"\n{folder}")
    whole = True
    for entry in json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]:
        data = (folder / entry["path"]).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        same = digest == entry["sha256"] and len(data) == entry["size"]
        whole = whole and same
        print(f"  {len(data):9}  sha256:{digest[:16]}…  {entry['path']}{'' if same else '  DIFFERS FROM THE MANIFEST'}")
    return whole


if __name__ == "__main__":
    sys.exit(main())
