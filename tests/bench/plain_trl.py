"""What a user of TRL would write: `plain_trl.py SETTINGS.json`, the script that the trainer is measured against."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main() -> None:
    """Train with the settings of the file."""
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(settings["model"]),
        args=SFTConfig(
            output_dir=settings["output"],
            per_device_train_batch_size=settings["batch"],
            max_length=settings["max_length"],
            max_steps=settings["steps"],
            learning_rate=settings["learning_rate"],
            logging_steps=1,
            seed=settings["seed"],
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            # What TRL would turn on by itself, on a CPU too, and the contenders do not.
            bf16=False,
            activation_checkpointing=False,
            packing=settings["packing"],
        ),
        train_dataset=load_dataset("json", data_files=settings["data"], split="train"),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=settings["rank"],
            lora_alpha=2 * settings["rank"],
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    trainer.train()


if __name__ == "__main__":
    main()
