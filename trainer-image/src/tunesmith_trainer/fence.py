"""The fencing token: of all pods that ever ran an attempt, only the newest may write into the run's folder.

Attempt n is `attempts/<n>.json`, created exclusively and naming its pod. A pod that finds another pod's token, or the
token of a later attempt, has been replaced and ends without writing. The operator starts an attempt only when the
pods of the last are gone; the token holds where it can not know, such as on a node that lost its network.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from tunesmith_trainer.errors import Fenced, InvalidSpec
from tunesmith_trainer.manifests import utc_now, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from tunesmith_trainer.context import RunContext


class Fence:
    """The token of one attempt or preparation; rank 0 takes it, and asks before it makes anything count."""

    def __init__(self, context: RunContext, kind: Literal["attempts", "preparations"] = "attempts") -> None:
        """Make one that has not taken its token.

        Args:
            context: The run.
            kind: Whose numbers the tokens bear; the two do not shut each other out.
        """
        self._folder = context.run_directory / kind
        self._what = kind.removesuffix("s").capitalize()
        self._attempt = context.attempt
        self._pod_uid = context.pod_uid
        self._claim = context.run.output.claim

    def take(self) -> None:
        """Create the token.

        Raises:
            Fenced: Another pod has it, or a later attempt has begun.
            InvalidSpec: The output claim can not be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._token.open("x", encoding="utf-8") as file:
                json.dump({"podUid": self._pod_uid, "created": utc_now()}, file)
        except FileExistsError:
            pass  # our own, when the container started twice; else `check` refuses it
        except PermissionError as error:
            raise InvalidSpec(
                f"The output claim {self._claim} can not be written by this pod: {error}; use a volume that any user"
                " may write, or set fsGroup in the accelerator profile's securityContext"
            ) from error
        self.check()

    def check(self) -> None:
        """Refuse to go on when the run belongs to another pod.

        Raises:
            Fenced: Another pod has the token, or a later attempt has begun.
        """
        owner = self._owner()
        if owner != self._pod_uid:
            raise Fenced(
                f"{self._what} {self._attempt} of this run belongs to pod {owner}; this pod ({self._pod_uid}) ends"
            )
        later = [number for number in map(_number, self._folder.glob("*.json")) if number > self._attempt]
        if later:
            raise Fenced(f"{self._what} {max(later)} of this run has begun; {self._what.lower()} {self._attempt} ends")

    def note(self, *, resumed_from_step: int) -> None:
        """Add to the token the step that the attempt went on from; only after the fence was taken."""
        write_atomically(self._token, json.dumps(_content(self._token) | {"resumedFromStep": resumed_from_step}))

    def attempts(self) -> list[dict[str, object]]:
        """Return the attempts of the run so far: number, pod, when it began, and the step it went on from."""
        tokens = sorted((path for path in self._folder.glob("*.json") if _number(path)), key=_number)
        return [{"number": _number(path), **_content(path)} for path in tokens]

    @property
    def _token(self) -> Path:
        return self._folder / f"{self._attempt}.json"

    def _owner(self) -> str:
        try:
            return str(json.loads(self._token.read_text(encoding="utf-8"))["podUid"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            # An empty token is one whose writer died or writes just now: not ours either way.
            return f"unknown ({type(error).__name__})"


def _content(path: Path) -> dict[str, object]:
    try:
        content: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # its writer died in the middle
    return content


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdigit() else 0
