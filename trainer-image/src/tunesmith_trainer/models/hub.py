"""Models of the Hugging Face Hub: pinned to one commit per run, fetched once per cache, then used like any folder."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from tunesmith_api.base import ApiModel
from tunesmith_api.v1alpha1.status import HubModel
from tunesmith_trainer.collectives import together
from tunesmith_trainer.errors import HubUnreachable, ModelNotFound
from tunesmith_trainer.manifests import write_atomically
from tunesmith_trainer.models.folders import ADAPTER_CONFIG, MODEL_CONFIG, Folder
from tunesmith_trainer.models.hub_errors import Repository, explained

if TYPE_CHECKING:
    from tunesmith_trainer.context import RunContext

_PINS_FILE = "hub.json"
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
_FOREIGN_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".onnx")
_SMALL_FILES = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_LOG = logging.getLogger(__name__)


class Pin(ApiModel):
    """What a run uses of a repository.

    Attributes:
        name: Id of the repository.
        revision: The branch, tag or commit that the spec names.
        commit: What that was when the run first asked.
        weights: Whether it is used as a model; otherwise its tokenizer alone is.
        files: The files that are used, relative to the repository's root.
    """

    name: str
    revision: str
    commit: str
    weights: bool
    files: tuple[str, ...]


_PINS = TypeAdapter(tuple[Pin, ...])


def pins(run_directory: Path) -> tuple[Pin, ...]:
    """Return what a run uses of the Hub, as its first attempt wrote it down in the run's folder."""
    path = run_directory / _PINS_FILE
    return _PINS.validate_json(path.read_bytes()) if path.is_file() else ()


def hub_folder(
    context: RunContext, model: HubModel, role: str, *, weights: bool = True, outlined: bool = False
) -> Folder:
    """Return the files of a Hub model, fetched unless they are in the cache; the same commit on all ranks.

    Args:
        context: The run.
        model: Repository and revision.
        role: What it is to the job, for messages.
        weights: Whether a model is wanted, with its weights, or its tokenizer alone.
        outlined: Whether the weights stay on the Hub all the same: they are only known to be there.

    Raises:
        ModelNotFound: There is no such repository or revision, or no model in it that can be loaded.
        GatedModel: The Hub does not let the job have it.
        HubUnreachable: The Hub does not answer.
    """
    source = context.run.spec.model
    repository = Repository(model, role, source.token_secret_ref, weights=weights)
    pin = together((lambda: _pinned(context, repository)) if context.rank == 0 else None)[0]
    if pin is None:
        raise ValueError("rank 0 pins a model or fails")
    # One after the other: where all nodes share a cache, the second round finds everything there.
    files = tuple(name for name in pin.files if not (outlined and _WEIGHTS.fullmatch(name)))
    fetched = pin.model_copy(update={"files": files})
    together((lambda: _fetch(fetched, repository)) if context.rank == 0 else None)
    together((lambda: _fetch(fetched, repository)) if context.rank > 0 and context.local_rank == 0 else None)
    return Folder(HubModel(name=pin.name, revision=pin.commit), _snapshot(pin), role)


def _pinned(context: RunContext, repository: Repository) -> Pin:
    """Return the run's pin of a repository; the first attempt makes it, the later ones ask no more."""
    known, model = pins(context.run_directory), repository.model
    for pin in known:
        if (pin.name, pin.revision, pin.weights) == (model.name, model.revision, repository.weights):
            return pin
    pin = _ask(repository)
    text = json.dumps([each.to_wire() for each in (*known, pin)], indent=1)
    write_atomically(context.run_directory / _PINS_FILE, text)
    return pin


def _ask(repository: Repository) -> Pin:
    from huggingface_hub import HfApi, constants

    model = repository.model
    if constants.HF_HUB_OFFLINE:
        commit, names = _cached(repository)
    else:
        with explained(repository):
            info = HfApi().model_info(model.name, revision=model.revision)
        commit, names = info.sha, [sibling.rfilename for sibling in info.siblings or ()]
    root = [name for name in names if "/" not in name]
    files = {name for name in root if name.endswith((*_SMALL_FILES, ".py")) and not name.endswith(".index.json")}
    if repository.weights:
        files |= _weights(root, repository)
    return Pin(
        name=model.name,
        revision=model.revision,
        commit=commit,
        weights=repository.weights,
        files=tuple(sorted(files)),
    )


def _cached(repository: Repository) -> tuple[str, list[str]]:
    """Return commit and files of a repository that was put into the cache before.

    Raises:
        ModelNotFound: It was not.
    """
    storage, revision = _storage(repository.model.name), repository.model.revision
    reference = storage / "refs" / revision
    commit = reference.read_text(encoding="ascii").strip() if reference.is_file() else revision
    names = [path.name for path in (storage / "snapshots" / commit).glob("*")]
    if not names:
        raise ModelNotFound(f"{repository.name} is not in the cache, and HF_HUB_OFFLINE is set; {repository.remedy}")
    return commit, names


def _weights(root: list[str], repository: Repository) -> set[str]:
    """Return the safetensors of a repository and their index, all at its root.

    Raises:
        ModelNotFound: There is no model, or none whose weights are safe to load.
    """
    if MODEL_CONFIG not in root:
        what = "is an adapter: name its base model" if ADAPTER_CONFIG in root else f"has no {MODEL_CONFIG}"
        raise ModelNotFound(f"{repository.name} {what}; choose a model that transformers can load")
    if not any(_WEIGHTS.fullmatch(name) for name in root):
        foreign = sorted(name for name in root if name.endswith(_FOREIGN_WEIGHTS))
        found = f"; of weights it has {foreign[0]}, which is not loaded: a pickle can run code" if foreign else ""
        raise ModelNotFound(
            f"{repository.name} has no model.safetensors{found}. Choose a revision with safetensors, or convert it once"
            " with save_pretrained and use model.path"
        )
    return set(filter(_WEIGHTS.fullmatch, root))


def _fetch(pin: Pin, repository: Repository) -> None:
    """Fetch what the cache lacks; what an earlier attempt left half is gone on with."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    if _lacking(pin):
        _LOG.info("fetching %s at commit %s: %d files", pin.name, pin.commit, len(pin.files))
        disable_progress_bars()
        with explained(repository):
            snapshot_download(pin.name, revision=pin.commit, allow_patterns=list(pin.files))
    if lacking := _lacking(pin):
        # Without a network huggingface_hub returns the folder as it is.
        raise HubUnreachable(f"{repository.name}: {lacking[0]} could not be fetched; {repository.remedy}")


def _lacking(pin: Pin) -> list[str]:
    return [name for name in pin.files if not (_snapshot(pin) / name).is_file()]


def _snapshot(pin: Pin) -> Path:
    return _storage(pin.name) / "snapshots" / pin.commit


def _storage(name: str) -> Path:
    """Return where huggingface_hub keeps a repository."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type="model"))
