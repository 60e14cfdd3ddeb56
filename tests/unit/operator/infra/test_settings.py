from pathlib import Path

import pytest

from tunesmith_operator.settings import SettingsError, load

PROFILE = "accelerators: {cpu: {device: cpu, image: example.com/trainer}}"


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""))
    assert (settings.poll_seconds, settings.status_seconds, settings.resync_seconds) == (10, 15, 300)
    assert settings.accelerators == {}


def test_profiles_are_named_by_their_key(tmp_path: Path) -> None:
    settings = load(write(tmp_path, f"{PROFILE}\nwatchNamespaces: [a, b]\nleaseName: x"))
    assert settings.accelerators["cpu"].name == "cpu"
    assert settings.watch_namespaces == ("a", "b")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("worker: 3", "worker: is not a setting"),
        ("workers: 0", "workers: Input should be greater than or equal to 1"),
        ("workers: many", "workers: Input should be a valid integer"),
        ("logFormat: xml", "logFormat: Input should be 'text' or 'json'"),
        ("canarySeconds: 10", "canarySeconds: Input should be greater than or equal to 75"),
        ("leaseDurationSeconds: 5", "leaseDurationSeconds must be at least 2.5 times leaseRenewSeconds"),
        (
            "accelerators: {gpu: {device: cuda, image: x}}",
            "accelerators.gpu: Value error, profile gpu: device cuda",
        ),
        ("accelerators: {cpu: {device: cpu}}", "accelerators.cpu.image: Field required"),
        ("accelerators: {cpu: {device: cpu, image: x, gpus: 3}}", "accelerators.cpu.gpus: is not a setting"),
        ("accelerators: [cpu]", "accelerators: Input should be a valid dictionary"),
        ("- a", "must hold a mapping of settings, not list"),
        ("a: b: c", "is not valid YAML"),
    ],
)
def test_errors_name_the_file_and_the_field(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, "workers: 0\nqps: -1\nnonsense: 1"))
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file or directory; name the file with --config"):
        load(tmp_path / "nothing.yaml")
