"""`generate`: prompts from a file or the keyboard, completions to a file or the screen."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tunesmith_trainer.data.messages import read_messages, read_text
from tunesmith_trainer.data.raw import RawRow
from tunesmith_trainer.data.readers import read_file
from tunesmith_trainer.data.sources import SourceFile
from tunesmith_trainer.errors import DataError, TrainerError
from tunesmith_trainer.generate.loading import Writer, load_writer
from tunesmith_trainer.generate.options import Options, parse
from tunesmith_trainer.generation import complete

if TYPE_CHECKING:
    from tunesmith_trainer.data.rows import Content

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
    writer = load_writer(options)
    transformers.set_seed(options.seed)
    if rows is None:
        _talk(writer, options)
    else:
        with options.output.open("w", encoding="utf-8") if options.output else nullcontext(sys.stdout) as sink:
            _write_all(writer, rows, options, sink)
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


def _write_all(writer: Writer, rows: list[tuple[dict[str, Any], Content]], options: Options, sink: TextIO) -> None:
    """Complete a batch at a time; what is done is on the disk when the rest is interrupted."""
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, options.batch_size)):
        prompts = [_ids(writer, content) for _, content in batch]
        completions = complete(writer.model, writer.tokenizer, prompts, options.sampling)
        for (row, _), ids in zip(batch, completions, strict=True):
            text = writer.tokenizer.decode(ids, skip_special_tokens=True)
            sink.write(json.dumps(row | {"completion": text}, ensure_ascii=False) + "\n")
        sink.flush()


def _ids(writer: Writer, content: Content) -> list[int]:
    """Return the token ids of a prompt, made as in training."""
    from tunesmith_trainer.data.encode import Encoder

    if isinstance(content, str) and writer.chat:
        content = [{"role": "user", "content": content}]
    elif not isinstance(content, str) and not writer.tokenizer.chat_template:
        raise DataError("--input holds messages and the model's tokenizer has no chat template; use rows with a prompt")
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
