"""The model to try: a folder of weights, an adapter on it, or an adapter on the base that it names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tunesmith_api.v1alpha1.model import ModelSource
from tunesmith_api.v1alpha1.status import VolumePath
from tunesmith_trainer.errors import InvalidSpec, ModelNotFound, first_line
from tunesmith_trainer.models.adapters.saved import read_config
from tunesmith_trainer.models.causal import is_classifier, read_model_config
from tunesmith_trainer.models.classifier import Classifier, load_classifier
from tunesmith_trainer.models.folders import ADAPTER_CONFIG, MODEL_CONFIG, Folder
from tunesmith_trainer.models.tokenizers import has_tokenizer, load_tokenizer
from tunesmith_trainer.models.vocabulary import make_room
from tunesmith_trainer.outputs import RECORD_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.generate.options import Options


@dataclass(frozen=True)
class Writer:
    """A model that is ready to write.

    Attributes:
        model: The model, with its adapter.
        tokenizer: Its tokenizer.
        chat: Whether prompts go through the chat template.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    chat: bool


def load_writer(options: Options) -> Writer:
    """Return the model of a command line.

    Raises:
        ModelNotFound: A folder is missing or is not what it should be.
        InvalidSpec: `--chat` is asked of a model without a chat template.
    """
    if options.adapter is not None:
        _require(options.adapter, "--adapter", ADAPTER_CONFIG, "an adapter as peft writes it")
    base = options.model or _named_base(options.adapter, "--adapter", "name it with --model")
    _require(base, "--model", MODEL_CONFIG, "a model as save_pretrained writes it")
    _refuse_classifier(base, options.adapter)
    folder = options.adapter if options.adapter is not None and has_tokenizer(options.adapter) else base
    tokenizer = load_tokenizer(folder, str(folder))
    chat = _is_chat(options.adapter or base, tokenizer) if options.chat is None else options.chat
    if chat and not tokenizer.chat_template:
        raise InvalidSpec(f"--chat: the tokenizer of {folder} has no chat template; use --raw")
    return Writer(_load(base, options.adapter), tokenizer, chat)


def load_judge(folder: Path) -> Classifier:
    """Return the reward model in a folder: a classifier, or an adapter on the base that it names.

    Raises:
        ModelNotFound: The folder is missing or is not what it should be.
        InvalidSpec: The model has no score head.
    """
    option = "--reward-model"
    if not folder.is_dir():
        raise ModelNotFound(f"{option}: the folder {folder} does not exist")
    adapter = folder if (folder / ADAPTER_CONFIG).is_file() else None
    base = folder if adapter is None else _named_base(adapter, option, "mount it there")
    put_on = None if adapter is None else _LocalFolder.at(adapter)
    return load_classifier(_LocalFolder.at(base), put_on, "float32", ModelSource())


class _LocalFolder(Folder):
    """A folder that a command line names, on no claim that would be known."""

    @classmethod
    def at(cls, path: Path, role: str = "the reward model") -> _LocalFolder:
        """Return the folder at a path."""
        return cls(VolumePath(claim="", path=str(path)), path, role)

    @property
    @override
    def name(self) -> str:
        return f"{self.role} {self.path}"


def _require(folder: Path, option: str, file: str, what: str) -> None:
    if not folder.is_dir():
        raise ModelNotFound(f"{option}: the folder {folder} does not exist")
    if (folder / file).is_file():
        return
    if file == MODEL_CONFIG and (folder / ADAPTER_CONFIG).is_file():
        raise ModelNotFound(f"{option}: {folder} is an adapter; name it with --adapter, and its base with --model")
    raise ModelNotFound(f"{option}: {folder} has no {file}, so it is not {what}")


def _refuse_classifier(base: Path, adapter: Path | None) -> None:
    """Refuse a reward model: loaded all the same, it would write by a head that was never trained."""
    option, folder = "--model", base
    scores = is_classifier(read_model_config(_LocalFolder.at(base, "the model")))
    if adapter is not None and not scores:
        option, folder = "--adapter", adapter
        scores = read_config(_LocalFolder.at(adapter, "the adapter")).task_type == "SEQ_CLS"
    if scores:
        raise InvalidSpec(
            f"{option}: {folder} is a classifier, which scores texts and writes none; use it as --reward-model"
        )


def _named_base(adapter: Path | None, option: str, remedy: str) -> Path:
    """Return the folder of the base model that an adapter names."""
    if adapter is None:
        raise ValueError("neither a model nor an adapter was named")
    name = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    base = Path(str(name))
    if not base.is_dir():
        raise ModelNotFound(f"{option}: {adapter} belongs to the model {name}, which is not here; {remedy}")
    return base


def _is_chat(folder: Path, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a model was trained on chats: by its run record, without one by its having a chat template."""
    record = folder / RECORD_FILE
    if not record.is_file():
        return bool(tokenizer.chat_template)
    sources = json.loads(record.read_text(encoding="utf-8"))["data"]["sources"]
    return any(source.get("chat") for source in sources)


def _load(base: Path, adapter: Path | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from tunesmith_trainer.models.architectures.registration import register

    register()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype="auto", local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
        if adapter is not None:
            from peft import PeftConfig, PeftModel

            make_room(model, PeftConfig.from_pretrained(adapter, local_files_only=True))
            model = PeftModel.from_pretrained(model, adapter, local_files_only=True)
    # What a damaged folder raises is the business of three libraries.
    except Exception as error:
        place = f"{base} with the adapter {adapter}" if adapter else str(base)
        raise ModelNotFound(f"{place} can not be loaded: {first_line(error)}") from error
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
