"""`generate`: prompts from a file or the keyboard, completions to a file or the screen."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.messages import read_messages, read_text
from tunesmith_trainer.data.raw import RawRow
from tunesmith_trainer.data.readers import read_file
from tunesmith_trainer.data.sources import SourceFile
from tunesmith_trainer.errors import DataError, TrainerError
from tunesmith_trainer.generate.best_of import Asked, Written, best_of, load_rewards
from tunesmith_trainer.generate.loading import Writer, load_writer
from tunesmith_trainer.generate.options import Options, parse
from tunesmith_trainer.generation import complete

if TYPE_CHECKING:
    from tunesmith_trainer.data.rows import Content
    from tunesmith_trainer.rewards import Rewards

_INTERRUPTED = 130  # as a shell says it of SIGINT
_ASK = "> "


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    options = parse(arguments)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)  # what libraries tell those who call them
    try:
        return _generate(options)
    except TrainerError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("\nended\n")
        return _INTERRUPTED


def _generate(options: Options) -> int:
    # A wrong row is told before the minutes that a model takes to load.
    rows = None if options.input is None else list(_rows(options.input))
    _require_writable(options.output)
    import transformers

    transformers.utils.logging.disable_progress_bar()
    rewards = load_rewards(options) if options.rewards or options.reward_model else None
    writer = load_writer(options)
    transformers.set_seed(options.seed)
    if rows is None:
        _talk(writer, options)
    else:
        asked = (Asked(row, _asked(writer, content)) for row, content in rows)
        with options.output.open("w", encoding="utf-8") if options.output else nullcontext(sys.stdout) as sink:
            for results in _results(writer, rewards, asked, options):
                sink.writelines(json.dumps(result, ensure_ascii=False) + "\n" for result in results)
                sink.flush()  # what is done is on the disk when the rest is interrupted
    return 0


def _require_writable(output: Path | None) -> None:
    if output is not None and not output.absolute().parent.is_dir():
        raise DataError(f"--output: the folder {output.absolute().parent} does not exist")


def _rows(path: Path) -> Iterator[tuple[dict[str, Any], Content]]:
    """Yield the rows of a file, and what each asks."""
    if not path.is_file():
        raise DataError(f"--input: the file {path} does not exist")
    file = SourceFile(str(path), path)
    if not file.kind:
        raise DataError(f"--input: {path} must end as its type does, such as .jsonl, .json or .txt")
    for row in read_file(file):
        yield row.values, _content(row)


def _content(row: RawRow) -> Content:
    if "messages" in row.values:
        return read_messages(row, "messages")
    for column in ("prompt", "text"):
        if column in row.values:
            return read_text(row, column)
    raise row.error("there is no column 'prompt' or 'messages'", "add one")


def _results(
    writer: Writer, rewards: Rewards | None, asked: Iterator[Asked], options: Options
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows with their completions, a batch at a time."""
    while batch := list(itertools.islice(asked, max(1, options.batch_size // options.best_of))):
        written = _written(writer, batch, options)
        if rewards is None:
            found: Iterable[dict[str, Any]] = [{"completion": own[0].text} for own in written]
        else:
            found = best_of(rewards, batch, written)
        yield [each.row | result for each, result in zip(batch, found, strict=True)]


def _written(writer: Writer, batch: list[Asked], options: Options) -> list[list[Written]]:
    """Return as many completions of each row as are wanted, which may be more than are made at a time."""
    prompts = [_ids(writer, asked.content) for asked in batch for _ in range(options.best_of)]
    written = (
        Written(writer.tokenizer.decode(ids, skip_special_tokens=True), ids)
        for start in range(0, len(prompts), options.batch_size)
        for ids in complete(
            writer.model, writer.tokenizer, prompts[start : start + options.batch_size], options.sampling
        )
    )
    return [list(itertools.islice(written, options.best_of)) for _ in batch]


def _asked(writer: Writer, content: Content) -> Content:
    """Return a prompt as the model is asked it: a text becomes a chat where it was trained on chats."""
    if isinstance(content, str):
        return [{"role": "user", "content": content}] if writer.chat else content
    if not writer.tokenizer.chat_template:
        raise DataError("--input holds messages and the model's tokenizer has no chat template; use rows with a prompt")
    return content


def _ids(writer: Writer, content: Content) -> list[int]:
    """Return the token ids of a prompt, made as in training."""
    from tunesmith_trainer.data.encode import Encoder

    return Encoder(writer.tokenizer, max_length=0).encode([content], generation_prompt=True)[0]


def _talk(writer: Writer, options: Options) -> None:
    """Ask for prompts until there are no more; a chat goes on until an empty line."""
    from transformers import TextStreamer

    sys.stderr.write(f"{'chat' if writer.chat else 'raw prompts'}; Ctrl-D or Ctrl-C ends\n")
    streamer = TextStreamer(writer.tokenizer, skip_prompt=True, skip_special_tokens=True)
    said: list[dict[str, str]] = []
    while (line := _ask()) is not None:
        if not line.strip():
            said = []
            continue
        said.append({"role": "user", "content": line})
        prompt = _ids(writer, said if writer.chat else line)
        (ids,) = complete(writer.model, writer.tokenizer, [prompt], options.sampling, streamer=streamer)
        said.append({"role": "assistant", "content": writer.tokenizer.decode(ids, skip_special_tokens=True)})


def _ask() -> str | None:
    try:
        return input(_ASK)
    except EOFError:
        return None
