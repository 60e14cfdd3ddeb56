"""What the Hub's refusals and failures mean to a user: what is wrong, with which token, and what to do."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_trainer.errors import GatedModel, HubUnreachable, ModelNotFound, TrainerError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunesmith_api.v1alpha1.model import TokenSecret
    from tunesmith_api.v1alpha1.status import HubModel

_TRANSPORTS = ("httpx", "httpcore", "requests", "urllib3")  # huggingface_hub 1 uses httpx or httpx2, 0.x requests
_REFUSALS = frozenset({401, 403})


@dataclass(frozen=True)
class Repository:
    """A repository of the Hub as a user knows it.

    Attributes:
        model: Id and revision.
        role: What it is to the job.
        token: Where its token comes from, None without one.
        weights: Whether it is used as a model; otherwise its tokenizer alone is.
    """

    model: HubModel
    role: str
    token: TokenSecret | None
    weights: bool

    @property
    def field(self) -> str:
        """The field of the spec that names it."""
        return "spec.model" if self.weights else "spec.model.tokenizer"

    @property
    def name(self) -> str:
        """The repository, for messages."""
        return f"{self.role} ({self.model.name}@{self.model.revision})"

    @property
    def secret(self) -> str:
        """The token, for messages."""
        return f"the token of Secret {self.token.name}, key {self.token.key}," if self.token else "no token"

    @property
    def remedy(self) -> str:
        """What to do when the Hub can not be reached."""
        from huggingface_hub import constants

        return (
            f"see whether pods may reach {constants.ENDPOINT}, or set HF_ENDPOINT to a mirror in podTemplate.env;"
            " without a network fill model.cache beforehand and set HF_HUB_OFFLINE to 1"
        )


@contextmanager
def explained(repository: Repository) -> Iterator[None]:
    """Turn what huggingface_hub raises into errors that say what to do.

    Raises:
        ModelNotFound: There is no such repository or revision.
        GatedModel: The token does not open it.
        HubUnreachable: The Hub does not answer, or not sensibly.
    """
    try:
        yield
    except Exception as error:
        told = _told(error, repository)
        if told is None:
            raise
        raise told from error


def _told(error: BaseException, repository: Repository) -> TrainerError | None:
    """Return what an error means; None when it is none of the Hub's or the network's."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        return _told(error.__cause__, repository)
    for kind, meaning, text in (
        # The more special kinds first: a gated repository's error is one of a missing one.
        (errors.GatedRepoError, GatedModel, _gated),
        (errors.RepositoryNotFoundError, ModelNotFound, _missing),
        (errors.RevisionNotFoundError, ModelNotFound, _unknown_revision),
    ):
        if isinstance(error, kind):
            return meaning(text(repository))
    if getattr(getattr(error, "response", None), "status_code", None) in _REFUSALS:
        return GatedModel(
            f"{repository.name}: the Hub refuses {repository.secret} ({first_line(error)}); make a token that may read"
            " this repository, and put it into the Secret of spec.model.tokenSecretRef"
        )
    network = isinstance(error, (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError))
    if network or type(error).__module__.startswith(_TRANSPORTS):
        return HubUnreachable(f"{repository.name} can not be fetched: {first_line(error)}; {repository.remedy}")
    return None


def _unknown_revision(repository: Repository) -> str:
    return f"{repository.name}: the repository has no such branch, tag or commit; correct {repository.field}.revision"


def _gated(repository: Repository) -> str:
    from huggingface_hub import constants

    accept = f"accept its conditions at {constants.ENDPOINT}/{repository.model.name}"
    if repository.token is None:
        return (
            f"{repository.name} is gated, and the job has no token: {accept}, put a token of that account into a"
            " Secret, and name it in spec.model.tokenSecretRef"
        )
    return f"{repository.name} is gated, and {repository.secret} is of an account without access: {accept} with it"


def _missing(repository: Repository) -> str:
    if repository.token is None:
        return (
            f"{repository.name} does not exist on the Hub, or is private; correct {repository.field}.name, or name the"
            " Secret of a token that may read it in spec.model.tokenSecretRef"
        )
    return (
        f"{repository.name} does not exist on the Hub, or {repository.secret} may not read it; correct"
        f" {repository.field}.name, or the token"
    )
