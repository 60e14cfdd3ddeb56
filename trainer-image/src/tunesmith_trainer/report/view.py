"""What the report page shows, section by section, from the facts of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.report.history import ACCURACY, LOSS, PAIR_ACCURACY, PERPLEXITY, REWARD, curve
from tunesmith_trainer.report.numerals import duration, numeral, words

if TYPE_CHECKING:
    from tunesmith_trainer.report.facts import Facts, Sample

Rows = list[tuple[str, str]]

# Of the spec only what shaped the training: a pod template may hold what is nobody's business.
_SHAPING = ("model", "referenceModel", "peft", "training", "evaluation", "checkpoint", "rewards")
_HELD_OUT = {
    REWARD: "Held-out reward",
    PAIR_ACCURACY: "Held-out pairs told apart",
    ACCURACY: "Held-out pairs told apart",
    LOSS: "Held-out loss",
    PERPLEXITY: "Perplexity",
}
_KL = "KL from the reference"
_TRAINED = {"reward": "Reward", "kl": _KL, "objective/kl": _KL, "loss": "Training loss"}
_MEANINGLESS = frozenset({LOSS, "loss"})
"""For a policy that is trained for its reward: the loss of a policy gradient does not fall as it learns."""
_DRAWN, _ANSWERS = "drawn", "answers"
_OF_ANSWERS = {
    "count": "answers",
    "mean": "tokens, mean",
    "p50": "half at most",
    "p99": "99 % at most",
    "max": "longest",
}
_UNSHOWN_SOURCE = ("field", "files", "format", "columns", "unusedColumns", "chat")


@dataclass(frozen=True)
class Tile:
    """One key figure."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Settings of one block of the spec."""

    title: str
    rows: Rows


@dataclass(frozen=True)
class Share:
    """A part of the time."""

    name: str
    text: str
    percent: float


@dataclass(frozen=True)
class Trial:
    """What the model made of one prompt: first, last and in between."""

    prompt: str
    expected: str | None
    first: Sample
    last: Sample
    between: tuple[Sample, ...]


def tiles(facts: Facts) -> list[Tile]:
    """Return the key figures."""
    record, entries = facts.record, facts.entries
    unsaid = _MEANINGLESS if curve(entries, "reward") else frozenset()
    shown = [_moved(label, facts, name) for name, label in _HELD_OUT.items() if name not in unsaid]
    shown += [_followed(label, facts, name) for name, label in _TRAINED.items() if name not in unsaid]
    shown.append(_steps(facts))
    rates = [rate for _, rate in curve(entries, "tokens_per_second")]
    if rates:
        shown.append(Tile("Throughput", f"{numeral(sum(rates) / len(rates))}/s", "tokens, mean over the logs"))
    parameters, trained = record["model"]["parameters"], record["model"]["trainedParameters"]
    shown.append(Tile("Parameters", numeral(parameters), f"{100 * trained / max(parameters, 1):.3g} % trained"))
    return [tile for tile in shown if tile is not None]


def _steps(facts: Facts) -> Tile:
    done, planned = facts.record["steps"], facts.record["plannedSteps"]
    if done < planned:
        return Tile("Steps", numeral(done), f"stopped early, of {numeral(planned)}")
    epochs = curve(facts.entries, "epoch")
    return Tile("Steps", numeral(done), f"{epochs[-1][1]:.3g} epochs" if epochs else "")


def _moved(label: str, facts: Facts, name: str) -> Tile | None:
    before, after = (facts.record[moment].get(name) for moment in ("initialEvaluation", "finalEvaluation"))
    if after is None:
        return None
    return Tile(label, _figure(after), "" if before is None else f"{_figure(before)} before training")


def _followed(label: str, facts: Facts, name: str) -> Tile | None:
    points = curve(facts.entries, name)
    if not points:
        return None
    (first, before), (_, now) = points[0], points[-1]
    return Tile(label, numeral(now), f"{numeral(before)} at step {first:g}")


def before_after(facts: Facts) -> list[tuple[str, str, str]]:
    """Return the held-out figures before the first step and after the last."""
    initial, final = facts.record["initialEvaluation"], facts.record["finalEvaluation"]
    untold = ("_runtime", "_per_second", "_preparation_time", "epoch", "_num_tokens")
    return [
        (name.removeprefix("eval_"), _figure(initial.get(name)), _figure(value))
        for name, value in final.items()
        if not name.endswith(untold)
    ]


def _figure(value: Any) -> str:
    return numeral(value) if isinstance(value, int | float) else str(value or "–")


def settings(facts: Facts) -> list[Group]:
    """Return the settings that shaped the training, every default made explicit."""
    blocks = (*_SHAPING, facts.method)
    shown = [Group(block, _flat(facts.spec[block])) for block in blocks if facts.spec.get(block)]
    machine: Rows = [
        ("accelerator", facts.spec["accelerator"]),
        ("device", facts.run["profile"]["device"]),
        ("processes", str(facts.record["worldSize"])),
    ]
    return [*shown, Group("machine", machine)]


def _flat(block: Any, prefix: str = "") -> Rows:
    if isinstance(block, Mapping):
        return [row for key, value in block.items() for row in _flat(value, f"{prefix}.{key}" if prefix else key)]
    if isinstance(block, list | tuple) and any(isinstance(each, Mapping) for each in block):
        return [row for place, each in enumerate(block) for row in _flat(each, f"{prefix}[{place}]")]
    return [(prefix, _plain(block))]


def _plain(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return ", ".join(map(_plain, value))
        case None:
            return "–"
    return str(value)


def sources(facts: Facts) -> list[Group]:
    """Return where the rows came from and how they were read."""
    return [
        Group(
            str(source["field"]),
            [
                ("files", ", ".join(source["files"])),
                ("format", f"{source['format']}, chats" if source.get("chat") else str(source["format"])),
                ("columns", ", ".join(source["columns"]) or "all"),
                ("unused columns", ", ".join(source["unusedColumns"]) or "none"),
                *_flat({words(key): value for key, value in _drawn(facts, source["field"]).items()}),
                *_flat({words(key): value for key, value in source.items() if value and key not in _UNSHOWN_SOURCE}),
            ],
        )
        for source in facts.record["data"]["sources"]
    ]


def _drawn(facts: Facts, field: str) -> Mapping[str, Any]:
    """Return how much of a dataset is trained on."""
    train = facts.record["data"].get("train") or {}
    drawn: Mapping[str, Any] = train.get(_DRAWN, {}).get(field, {})
    return drawn


def row_counts(facts: Facts) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return what became of the rows as a table: its columns, and each count with a value a column."""
    data = facts.record["data"]
    parts = {name: data[name] for name in ("train", "evaluation") if data.get(name)}
    # What was drawn of each dataset is told with the dataset, and answers have a table of their own.
    flat = {
        name: dict(_flat({key: value for key, value in part.items() if key not in {_DRAWN, _ANSWERS}}))
        for name, part in parts.items()
    }
    counts = dict.fromkeys(count for part in flat.values() for count in part)
    rows = [(words(count), [_thousands(part.get(count, "–")) for part in flat.values()]) for count in counts]
    return ["to train on" if name == "train" else "held out" for name in parts], rows


def answers(facts: Facts) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the answers to train on as a table: its columns, their kinds, and each figure with a value a column."""
    kinds: Mapping[str, Mapping[str, float]] = (facts.record["data"].get("train") or {}).get(_ANSWERS, {})
    rows = [
        (told, [_thousands(_plain(each.get(name, "–"))) for each in kinds.values()])
        for name, told in _OF_ANSWERS.items()
    ]
    return list(kinds), rows if kinds else []


def _thousands(text: str) -> str:
    return f"{int(text):,}" if text.isdecimal() else text


def spent(facts: Facts) -> list[Share]:
    """Return where the time of the last attempt went."""
    seconds: Mapping[str, float] = facts.record["seconds"]
    total = sum(seconds.values()) or 1.0
    return [Share(name, duration(value), 100 * value / total) for name, value in seconds.items() if value]


def trials(facts: Facts) -> list[Trial]:
    """Return the samples by prompt."""
    ordered = sorted(facts.samples, key=lambda sample: (sample["number"], sample["step"]))
    shown = []
    for _, group in groupby(ordered, key=lambda sample: sample["number"]):
        each = list(group)
        shown.append(Trial(each[0]["prompt"], each[0].get("expected"), each[0], each[-1], tuple(each[1:-1])))
    return shown


def attempts(facts: Facts) -> list[list[str]]:
    """Return the attempts: number, when it began, the step it went on from, pod."""
    told = ("number", "created", "resumedFromStep", "podUid")
    return [[str(attempt.get(name, "–")) for name in told] for attempt in facts.record["attempts"]]


def provenance(facts: Facts) -> Rows:
    """Return what identifies the run."""
    run, record = facts.run, facts.record
    base, model = facts.base_model or "random weights", record["model"]
    return [
        ("job", f"{run['kind']} {run['namespace']}/{run['name']}"),
        ("run", f"{run['uid']}-{run['runId']}, generation {run['generation']}"),
        ("output", facts.place),
        ("model", f"{model['class']}: {model['chosenBecause']}" if model["chosenBecause"] else model["class"]),
        ("trained from", base),
        *((("digest of that output", run["model"]["digest"]),) if run["model"].get("digest") else ()),
        ("data", record["dataDigest"]),
        ("seed", str(record["seed"])),
        ("image", run["profile"]["image"]),
        ("software", ", ".join(f"{name} {version}" for name, version in record["versions"].items())),
    ]
