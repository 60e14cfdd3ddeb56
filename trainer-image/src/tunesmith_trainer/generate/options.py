"""The command line of `generate`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tunesmith_trainer.generation import Sampling

_Number = TypeVar("_Number", int, float)

_EPILOG = """\
Rows of --input are {"prompt": "..."} or {"messages": [{"role": "user", "content": "..."}]}; rows of --output are the
same with a column "completion"; with --rewards or --reward-model also "reward", their weighted sum, and "rewards".
Without --input you are asked for prompts: an empty line begins a new chat, Ctrl-D or Ctrl-C ends."""


@dataclass(frozen=True)
class Options:
    """What to generate with, from what, and how.

    Attributes:
        model: Folder of the model; None for the base that the adapter names.
        adapter: Folder of an adapter.
        input: File of prompts; None to ask for them.
        output: File of completions; None for standard output.
        sampling: How tokens are chosen.
        seed: Seed of the draw.
        batch_size: Completions at a time.
        chat: Whether prompts go through the chat template; None to decide by what the model was trained on.
        best_of: Completions of each prompt, of which the best is kept.
        rewards: File of rewards, which say what is best.
        reward_model: Folder of a classifier that says so.
    """

    model: Path | None
    adapter: Path | None
    input: Path | None
    output: Path | None
    sampling: Sampling
    seed: int
    batch_size: int
    chat: bool | None
    best_of: int
    rewards: Path | None
    reward_model: Path | None


def parse(arguments: Sequence[str]) -> Options:
    """Return the options; a command line that is wrong ends the process with its usage and code 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.model is None and given.adapter is None:
        parser.error("name a --model, an --adapter, or both")
    if given.output is not None and given.input is None:
        parser.error("--output needs --input: without it you are asked for prompts")
    scored = given.rewards is not None or given.reward_model is not None
    if scored and given.input is None:
        parser.error("--rewards and --reward-model need --input: without it you are asked for prompts")
    if given.best_of > 1 and not scored:
        parser.error("--best-of needs --rewards or --reward-model, which say what is best")
    if given.best_of > 1 and given.temperature == 0:
        parser.error("--best-of needs a --temperature above 0: all completions of a prompt would be the same")
    return Options(
        model=given.model,
        adapter=given.adapter,
        input=given.input,
        output=given.output,
        sampling=Sampling(given.max_new_tokens, given.temperature, given.top_k, given.top_p),
        seed=given.seed,
        batch_size=given.batch_size,
        chat=given.chat,
        best_of=given.best_of,
        rewards=given.rewards,
        reward_model=given.reward_model,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tunesmith_trainer generate",
        description="Let a model write: prompts from a file, or typed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", type=Path, metavar="FOLDER", help="model folder; default: the base that the adapter names")
    add("--adapter", type=Path, metavar="FOLDER", help="adapter to put on the model")
    add("--input", type=Path, metavar="FILE", help="prompts: .jsonl, .json or .txt (a paragraph each)")
    add("--output", type=Path, metavar="FILE", help="completions as JSON lines; default: standard output")
    add(
        "--temperature",
        type=_number(float, 0, 100),
        default=0.7,
        help="0 takes the likeliest token; default: %(default)s",
    )
    add("--top-k", type=_number(int, 0, 10**9), default=0, help="likeliest tokens to draw from; default: 0, all")
    add("--top-p", type=_number(float, 1e-6, 1), default=0.9, help="probability to draw from; default: %(default)s")
    add("--max-new-tokens", type=_number(int, 1, 10**6), default=256, help="default: %(default)s")
    add("--seed", type=_number(int, 0, 2**32 - 1), default=42, help="seed of the draw; default: %(default)s")
    add("--batch-size", type=_number(int, 1, 4096), default=8, help="completions at a time; default: %(default)s")
    add("--best-of", type=_number(int, 1, 1024), default=1, metavar="N", help="keep the best of N; default: 1")
    add("--rewards", type=Path, metavar="FILE", help="what is good: YAML list as spec.rewards, or run-record.json")
    add("--reward-model", type=Path, metavar="FOLDER", help="what is good: a classifier with one score, or its adapter")
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--chat",
        action="store_true",
        default=None,
        help="put prompts through the chat template; default: when the model was trained on chats",
    )
    way.add_argument("--raw", dest="chat", action="store_false", help="take prompts as they are")
    return parser


def _number(kind: Callable[[str], _Number], low: float, high: float) -> Callable[[str], _Number]:
    """Return a parser of numbers of a range."""

    def parse_number(text: str) -> _Number:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number of the kind that is needed") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    return parse_number
