"""Datasets of the Hugging Face Hub: pinned to one commit per run, fetched once per cache, then read like any files."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter
from typing_extensions import override

from tunesmith_api.base import ApiModel
from tunesmith_api.v1alpha1.data_sources import HubSource
from tunesmith_api.v1alpha1.status import HubModel
from tunesmith_trainer.collectives import together
from tunesmith_trainer.data.cards import files_of
from tunesmith_trainer.data.sources import SourceFile
from tunesmith_trainer.errors import DataError, HubUnreachable, ModelNotFound
from tunesmith_trainer.manifests import write_atomically
from tunesmith_trainer.models.hub_errors import Repository, explained

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.model import TokenSecret
    from tunesmith_trainer.data.sources import Mounts

_PINS_FILE = "hub-datasets.json"
_CARD = "README.md"
_DEFAULT_SPLIT = "train"
_SHORT = 12  # characters of a commit that people read
_log = logging.getLogger(__name__)


class DatasetPin(ApiModel):
    """What a run reads of a dataset.

    Attributes:
        source: The dataset, as the spec names it.
        split: Its split.
        commit: What its revision was when the run first asked.
        files: The files to read, in reading order, relative to the repository's root.
    """

    source: HubSource
    split: str
    commit: str
    files: tuple[str, ...]


_PINS = TypeAdapter(tuple[DatasetPin, ...])


@dataclass(frozen=True)
class DatasetRepository(Repository):
    """A dataset's repository as a user knows it.

    Attributes:
        place: The dataset in the spec.
    """

    place: str = ""

    @property
    @override
    def field(self) -> str:
        return f"{self.place}.hub"


def hub_files(
    source: HubSource, split: str | None, *, field: str, token: TokenSecret | None, mounts: Mounts
) -> tuple[SourceFile, ...]:
    """Return the files of a dataset's split in reading order, fetched unless they are in the cache.

    Args:
        source: The dataset.
        split: The split; `train` when there is none.
        field: Path of the dataset in the spec, for messages.
        token: Where the Hub token comes from, for messages.
        mounts: The run's folder, and which process this is.

    Raises:
        DataError: There is no such dataset, configuration or split.
        GatedModel: The Hub does not let the job have it.
        HubUnreachable: The Hub does not answer.
    """
    model = HubModel(name=source.name, revision=source.revision)
    repository = DatasetRepository(model, f"the dataset of {field}", token, weights=True, place=field)
    wanted = split or _DEFAULT_SPLIT
    pin = together((lambda: _pinned(source, wanted, repository, mounts)) if mounts.rank == 0 else None)[0]
    if pin is None:
        raise ValueError("rank 0 pins a dataset or fails")
    # One after the other: where all nodes share a cache, the second round finds everything there.
    together((lambda: _fetch(pin, repository)) if mounts.rank == 0 else None)
    together((lambda: _fetch(pin, repository)) if mounts.rank > 0 and mounts.local_rank == 0 else None)
    where = f"of the Hub dataset {pin.source.name} at commit {pin.commit[:_SHORT]}"
    return tuple(SourceFile(f"file {name} {where}", _snapshot(pin) / name) for name in pin.files)


def _pinned(source: HubSource, split: str, repository: DatasetRepository, mounts: Mounts) -> DatasetPin:
    """Return the run's pin of a dataset; the first attempt makes it, the later ones ask no more."""
    path = mounts.run_directory / _PINS_FILE
    known = _PINS.validate_json(path.read_bytes()) if path.is_file() else ()
    for pin in known:
        if (pin.source, pin.split) == (source, split):
            return pin
    commit, names, card = _ask(repository)
    files = files_of(names, card, config_name=source.config_name, split=split, where=repository.name)
    pin = DatasetPin(source=source, split=split, commit=commit, files=files)
    write_atomically(path, json.dumps([each.to_wire() for each in (*known, pin)], indent=1))
    return pin


def _ask(repository: DatasetRepository) -> tuple[str, list[str], Path | None]:
    """Return the commit of a repository, the names of its files, and its card where it has one."""
    from huggingface_hub import HfApi, constants, hf_hub_download

    name, revision = repository.model.name, repository.model.revision
    if constants.HF_HUB_OFFLINE:
        return _cached(repository)
    with _explained(repository):
        info = HfApi().dataset_info(name, revision=revision)
        commit, names = str(info.sha), [sibling.rfilename for sibling in info.siblings or ()]
        if _CARD not in names:
            return commit, names, None
        return commit, names, Path(hf_hub_download(name, _CARD, repo_type="dataset", revision=commit))


def _cached(repository: DatasetRepository) -> tuple[str, list[str], Path | None]:
    """Return the same about a repository that was put into the cache before.

    Raises:
        DataError: It was not.
    """
    storage, revision = _storage(repository.model.name), repository.model.revision
    reference = storage / "refs" / revision
    commit = reference.read_text(encoding="ascii").strip() if reference.is_file() else revision
    folder = storage / "snapshots" / commit
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    if not names:
        raise DataError(f"{repository.name} is not in the cache, and HF_HUB_OFFLINE is set; {repository.remedy}")
    return commit, names, folder / _CARD if _CARD in names else None


def _fetch(pin: DatasetPin, repository: DatasetRepository) -> None:
    """Fetch what the cache lacks; what an earlier attempt left half is gone on with."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    if _lacking(pin):
        _log.info("fetching %s at commit %s: %d files", pin.source.name, pin.commit, len(pin.files))
        disable_progress_bars()
        with _explained(repository):
            snapshot_download(pin.source.name, repo_type="dataset", revision=pin.commit, allow_patterns=list(pin.files))
    if lacking := _lacking(pin):
        # Without a network huggingface_hub returns the folder as it is.
        raise HubUnreachable(f"{repository.name}: {lacking[0]} could not be fetched; {repository.remedy}")


def _lacking(pin: DatasetPin) -> list[str]:
    return [name for name in pin.files if not (_snapshot(pin) / name).is_file()]


def _snapshot(pin: DatasetPin) -> Path:
    return _storage(pin.source.name) / "snapshots" / pin.commit


def _storage(name: str) -> Path:
    """Return where huggingface_hub keeps a repository."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type="dataset"))


@contextlib.contextmanager
def _explained(repository: DatasetRepository) -> Iterator[None]:
    """Tell what the Hub refuses, as `explained` does, but for data.

    Raises:
        DataError: There is no such dataset or revision.
    """
    try:
        with explained(repository):
            yield
    except ModelNotFound as error:
        raise DataError(str(error)) from error
