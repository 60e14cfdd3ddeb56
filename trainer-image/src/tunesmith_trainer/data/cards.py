"""Which files of a Hub dataset make a split of a configuration: told by its card, else by the names of its files.

Source: huggingface.co/docs/hub/datasets-manual-configuration and datasets-file-names-and-splits.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.sources import METADATA, SourceFile
from tunesmith_trainer.data.splits import belongs_to, names_of, splits_of
from tunesmith_trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN = 8
_WILDCARDS = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def files_of(
    names: Iterable[str], card: Path | None, *, config_name: str | None, split: str, where: str
) -> tuple[str, ...]:
    """Return the files of one split, in reading order.

    Args:
        names: All files of the repository.
        card: Its README.md; None without one.
        config_name: The configuration that the spec names.
        split: The split.
        where: The dataset as the user knows it, for messages.

    Raises:
        DataError: There is no such configuration or split, or several to choose from.
    """
    data = sorted(name for name in names if SourceFile(name, Path(name)).kind and Path(name).name not in METADATA)
    config = _config(_configs(card, where), config_name, where)
    if config is None:
        inside = [name for name in data if config_name is None or name.startswith(f"{config_name}/")]
        chosen = _by_name(inside, split)
    else:
        patterns = _patterns(config, split)
        folder = config.get("data_dir")
        inside = [name for name in data if folder is None or name.startswith(f"{str(folder).strip('/')}/")]
        chosen = _by_name(inside, split) if patterns is None else _matching(data, patterns)
    if not chosen:
        found = ", ".join(inside[:_SHOWN]) or "no data file"
        raise DataError(f"{where} has no file of split {split} (found: {found}); correct split or hub.configName")
    return tuple(chosen)


def _configs(card: Path | None, where: str) -> list[dict[str, Any]]:
    """Return the configurations that the card lists."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    try:
        metadata = metadata_load(card) if card is not None else None
    except (YAMLError, ValueError) as error:
        raise DataError(
            f"{where}: its card README.md can not be read ({' '.join(str(error).split())}); choose another revision, or"
            " name the files in a dataset of your own"
        ) from error
    configs = (metadata or {}).get("configs") or []
    return [config for config in configs if isinstance(config, dict)] if isinstance(configs, list) else []


def _config(configs: list[dict[str, Any]], wanted: str | None, where: str) -> dict[str, Any] | None:
    """Return the configuration to use; None when the card lists none."""
    if not configs:
        return None
    names = [str(config.get("config_name", "default")) for config in configs]
    if wanted is not None:
        if wanted not in names:
            raise DataError(f"{where} has no configuration {wanted}; its card lists {', '.join(names)}")
        return configs[names.index(wanted)]
    default = [
        config for config, name in zip(configs, names, strict=True) if config.get("default") or name == "default"
    ]
    if default or len(configs) == 1:
        return (default or configs)[0]
    raise DataError(f"{where} has several configurations; name one of {', '.join(names)} in hub.configName")


def _patterns(config: dict[str, Any], split: str) -> list[str] | None:
    """Return the patterns of a configuration's files for a split; None when their names are to tell."""
    files = config.get("data_files")
    if isinstance(files, (str, list)) and not any(isinstance(entry, dict) for entry in files):
        return _listed(files) if split in names_of("train") else []
    if isinstance(files, list):
        files = {str(entry.get("split")): entry.get("path") for entry in files if isinstance(entry, dict)}
    if not isinstance(files, dict):
        return None
    return next((_listed(files[name]) for name in (split, *names_of(split)) if name in files), [])


def _listed(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _matching(names: list[str], patterns: list[str]) -> list[str]:
    expressions = [re.compile(_expression(pattern)) for pattern in patterns]
    return [name for name in names if any(expression.fullmatch(name) for expression in expressions)]


def _expression(pattern: str) -> str:
    """Return a path pattern as a regular expression: `*` stays within a folder, `**` does not."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.removeprefix("./"))
    return "".join(_WILDCARDS.get(part, re.escape(part)) for part in parts)


def _by_name(names: list[str], split: str) -> list[str]:
    """Return the files whose names tell the split; all, for the training split, when none tells any."""
    paths = {name: PurePosixPath(name) for name in names}
    chosen = [name for name, path in paths.items() if belongs_to(path, split)]
    if not chosen and split in names_of("train") and not any(splits_of(path) for path in paths.values()):
        return names
    return chosen
