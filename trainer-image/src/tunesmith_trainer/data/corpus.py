"""The rows of a list of datasets, read anew on every pass, and what was found in them."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith_trainer.data.hub import hub_files
from tunesmith_trainer.data.layout import Format, Layout, find_layout
from tunesmith_trainer.data.mixing import Mixing
from tunesmith_trainer.data.pairs import equal_pairs, prefers_nothing
from tunesmith_trainer.data.readers import read_file
from tunesmith_trainer.data.rows import Content, Row, is_chat, make_row
from tunesmith_trainer.data.sources import Mounts, SourceFile, digest_of, source_files
from tunesmith_trainer.data.uris import uri_files
from tunesmith_trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tunesmith_api.v1alpha1.datasets import Dataset
    from tunesmith_api.v1alpha1.model import TokenSecret
    from tunesmith_api.v1alpha1.spec import JobSpec
    from tunesmith_trainer.data.raw import RawRow


@dataclass(frozen=True)
class Source:
    """One dataset of the spec with its files and the layout of its rows.

    Attributes:
        field: Path of the dataset in the spec, for messages.
        dataset: The dataset of the spec.
        files: Its files, in reading order.
        layout: How its rows are read.
        chat: Whether its first row holds messages.
        unused: Columns of the first row that are not read.
        kept: Which rows count, when some are held out; None means all.
    """

    field: str
    dataset: Dataset
    files: tuple[SourceFile, ...]
    layout: Layout
    chat: bool
    unused: tuple[str, ...]
    kept: NDArray[np.bool_] | None = dataclasses.field(default=None, repr=False)

    def rows(self) -> Iterator[Row]:
        """Yield the rows, at most `maxSamples` of them less those that are held out.

        Raises:
            DataError: A file or a row is not what it should be; the first pair that is equal tells of all others too.
        """
        made = self._made_rows()
        for raw, row in made:
            if prefers_nothing(row):
                others = (other for other, answers in made if prefers_nothing(answers))
                raise equal_pairs(itertools.chain([raw], others), self.layout.columns)
            yield row

    def _made_rows(self) -> Iterator[tuple[RawRow, Row]]:
        """Yield the rows, each behind what its file has, equal pairs among them."""
        for number, raw in enumerate(self.raw_rows()):
            if self.kept is not None and not self.kept[number]:
                continue
            row = make_row(raw, self.layout)
            if is_chat(row) != self.chat:
                kinds = ("text", "messages")
                raise raw.error(
                    f"the row holds {kinds[not self.chat]} and the first row of {self.field} {kinds[self.chat]}",
                    "make all rows of a dataset alike",
                )
            yield raw, row

    def own_rows(self) -> Iterator[tuple[Source, Row]]:
        """Yield the rows, each with this source."""
        return ((self, row) for row in self.rows())

    def find(self, wanted: Row) -> RawRow | None:
        """Return what the files have of a row, or None: rows do not carry their places, as few are ever asked for.

        Args:
            wanted: A row of this source, or one of the two that were made of a pair.
        """
        parts = _contents(wanted)
        return next((raw for raw, row in self._made_rows() if all(part in _contents(row) for part in parts)), None)

    def raw_rows(self) -> Iterator[RawRow]:
        """Yield the rows as the files have them, at most `maxSamples`.

        Raises:
            DataError: A file is not what it should be.
        """
        return itertools.islice(_raw_rows(self.files), self.dataset.max_samples)

    def report(self) -> dict[str, Any]:
        """Return what was found, for the run's record."""
        return {
            "field": self.field,
            "files": [file.name for file in self.files],
            "format": self.layout.format,
            "columns": list(self.layout.used_columns or ()),
            "functions": [function.name for function in self.layout.functions],
            "unusedColumns": list(self.unused),
            "chat": self.chat,
        }


@dataclass(frozen=True)
class Corpus:
    """Rows of several sources; every pass reads the files again, so that none of it stays in memory.

    Attributes:
        sources: Where the rows come from.
        mixing: How they are drawn from the sources; None means one source after the other.
    """

    sources: tuple[Source, ...]
    mixing: Mixing | None = None

    @property
    def chat(self) -> bool:
        """Whether any source holds messages, which need a chat template."""
        return any(source.chat for source in self.sources)

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows of the first pass."""
        return (row for _, row in self.drawn())

    def drawn(self, number: int = 0) -> Iterator[tuple[Source, Row]]:
        """Yield the rows of one pass, each with its source.

        Args:
            number: Number of the pass, from 0 on; every pass draws anew.
        """
        if self.mixing is None:
            return itertools.chain.from_iterable(source.own_rows() for source in self.sources)
        mixing = dataclasses.replace(self.mixing, seed=self.mixing.seed + number)
        return mixing.draw([source.own_rows for source in self.sources])


@dataclass(frozen=True)
class Corpora:
    """The rows to train on and to evaluate on.

    Attributes:
        train: The rows to train on.
        evaluation: The held-out rows, None without evaluation.
        digest: `sha256:` over the data and over how it is read.
        report: What was found, for the run's record.
    """

    train: Corpus
    evaluation: Corpus | None
    digest: str
    report: dict[str, Any]

    @property
    def chat(self) -> bool:
        """Whether any source holds messages, which need a chat template."""
        return self.train.chat or (self.evaluation is not None and self.evaluation.chat)


def open_corpora(spec: JobSpec, mounts: Mounts, accepted: tuple[Format, ...]) -> Corpora:
    """Return the rows that a spec names, with the first row of each dataset looked at.

    Args:
        spec: The resolved spec.
        mounts: Where claims and ConfigMaps are.
        accepted: The formats that the method trains on.

    Raises:
        DataError: Data is missing or not what it should be.
        InvalidSpec: The spec asks for something the data can not be read by.
    """
    mixing = mixing_of(spec)
    token = spec.model.token_secret_ref
    train = Corpus(_open_all(spec.datasets, mounts, accepted, field="spec.datasets", token=token), mixing)
    evaluation = spec.evaluation
    held_out: Corpus | None = None
    how = [] if mixing is None else [f"mixing {mixing.stopping} {mixing.seed}"]
    if evaluation is not None and evaluation.datasets is not None:
        field = "spec.evaluation.datasets"
        held_out = Corpus(_open_all(evaluation.datasets, mounts, accepted, field=field, token=token))
    elif evaluation is not None and evaluation.split_ratio is not None:
        how.append(f"split {evaluation.split_ratio} {spec.training.seed}")
        train, held_out = split_corpus(train, evaluation.split_ratio, spec.training.seed)
    own = () if held_out is None or held_out.sources[0].kept is not None else held_out.sources
    sources = train.sources + own
    return Corpora(
        train=train,
        evaluation=held_out,
        digest=digest_of([(source.dataset, source.files + source.layout.code_files) for source in sources], *how),
        report={"sources": [source.report() for source in sources]},
    )


def mixing_of(spec: JobSpec) -> Mixing | None:
    """Return how a spec's datasets are mixed; None when they have no weights and follow each other."""
    weights = tuple(dataset.weight for dataset in spec.datasets if dataset.weight is not None)
    if not weights:
        return None
    return Mixing(weights, spec.data_processing.stopping_strategy, spec.training.seed)


def split_corpus(corpus: Corpus, ratio: float, seed: int) -> tuple[Corpus, Corpus]:
    """Return a share of the rows and the rest, drawn by a seed: the same on every process and attempt.

    Args:
        corpus: The rows to split; they are counted first.
        ratio: Share of the rows in the first part.
        seed: Seed of the draw.

    Raises:
        DataError: There are fewer than two rows, or a dataset that is mixed in has none left to train on.
    """
    counts = [sum(1 for _ in source.raw_rows()) for source in corpus.sources]
    count = sum(counts)
    if count < 2:  # noqa: PLR2004 - a row for each side
        raise DataError(f"spec.evaluation.splitRatio needs at least 2 rows and the datasets have {count}; add rows")
    first = min(max(round(count * ratio), 1), count - 1)
    kept = np.zeros(count, dtype=np.bool_)
    kept[np.random.default_rng(seed).permutation(count)[:first]] = True
    parts = np.split(kept, np.cumsum(counts)[:-1])
    for source, part in zip(corpus.sources, parts, strict=True):
        if corpus.mixing is not None and not part.any():
            raise DataError(f"spec.evaluation.splitRatio leaves no row of {source.field} to train on; add rows to it")
    train = tuple(dataclasses.replace(source, kept=part) for source, part in zip(corpus.sources, parts, strict=True))
    rest = tuple(dataclasses.replace(source, kept=~part) for source, part in zip(corpus.sources, parts, strict=True))
    return Corpus(train, corpus.mixing), Corpus(rest)


def _open_all(
    datasets: tuple[Dataset, ...],
    mounts: Mounts,
    accepted: tuple[Format, ...],
    *,
    field: str,
    token: TokenSecret | None,
) -> tuple[Source, ...]:
    """Look at the first row of each dataset; `token` is where the Hub's comes from."""
    sources = []
    for place, dataset in enumerate(datasets):
        own = f"{field}[{place}]"
        if dataset.hub is not None:
            files = hub_files(dataset.hub, dataset.split, field=own, token=token, mounts=mounts)
        elif dataset.uri is not None:
            files = uri_files(dataset.uri, dataset.split, field=own, mounts=mounts)
        else:
            files = source_files(dataset, mounts)
        first = next(_raw_rows(files))
        layout = find_layout(dataset, first, accepted, field=own, mounts=mounts)
        chat = is_chat(make_row(first, layout))
        used = layout.used_columns
        unused = () if used is None else tuple(name for name in first.values if name not in used)
        sources.append(Source(own, dataset, files, layout, chat, unused))
    return tuple(sources)


def _contents(row: Row) -> list[Content]:
    return [value for value in row.values() if isinstance(value, str | list)]


def _raw_rows(files: tuple[SourceFile, ...]) -> Iterator[RawRow]:
    return itertools.chain.from_iterable(map(read_file, files))
