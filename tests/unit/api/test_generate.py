from pathlib import Path

import pytest
import yaml

from tunesmith_api import generate
from tunesmith_api.base import ApiModel
from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.meta import ConditionType, Reason, State
from tunesmith_api.v1alpha1 import FineTuneJobSpec


@pytest.fixture
def checkout(tmp_path: Path, generated: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which nothing has been generated yet."""
    (tmp_path / "crds" / "src").mkdir(parents=True)
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "files", lambda: generated)
    return tmp_path


def test_it_writes_what_is_missing_and_then_has_nothing_to_do(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main([]) == 0
    assert "written: crds/finetunejobs.yaml" in capsys.readouterr().out
    assert (checkout / "charts/tunesmith/templates/crd/alignmentjobs.yaml").is_file()
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    assert not capsys.readouterr().out


def test_check_names_the_file_that_differs_and_the_command(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate.main([])
    capsys.readouterr()
    page = checkout / "crds" / "README.md"
    page.write_text("edited by hand", encoding="utf-8")
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().out == (
        "crds/README.md differs from the models in crds/src/tunesmith_api: run `make generate`\n"
    )
    assert page.read_text(encoding="utf-8") == "edited by hand"


def test_outside_a_checkout_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    with pytest.raises(SystemExit):
        generate.main(["--check"])
    assert "is no checkout of the repository" in capsys.readouterr().err


@pytest.fixture
def page(generated: dict[str, str]) -> str:
    """The page of the reference."""
    return generated["crds/README.md"]


def test_the_reference_names_every_word_of_the_api(page: str) -> None:
    for word in (*ConditionType, *Reason, *State):
        assert f"| `{word.value}` | {word.meaning} |" in page
    for code in ExitCode:
        assert f"| {code.value} | `{code.reason}` |" in page


def test_the_reference_has_a_table_for_every_block(page: str) -> None:
    for block in _blocks(FineTuneJobSpec):
        assert f"### {block.__name__}\n" in page
        for name, field in block.model_fields.items():
            assert f"| `{field.alias or name}` |" in page


def test_the_example_of_the_reference_is_valid(page: str) -> None:
    text = page.partition("```yaml\n")[2].partition("```")[0]
    FineTuneJobSpec.model_validate(yaml.safe_load(text)["spec"])


def _blocks(model: type[ApiModel]) -> set[type[ApiModel]]:
    found = {model}
    for field in model.model_fields.values():
        for part in _types(field.annotation):
            found |= _blocks(part)
    return found


def _types(annotation: object) -> list[type[ApiModel]]:
    parts = getattr(annotation, "__args__", ())
    if isinstance(annotation, type) and not parts:
        return [annotation] if issubclass(annotation, ApiModel) else []
    return [found for part in parts for found in _types(part)]
