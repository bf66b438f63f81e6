"""The environment recorded with a result: machine, versions, flow run and addresses."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pipeline.core import environment


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
        ("https://user:secret@host/mlflow/", "https://host/mlflow"),
        ("https://user:sec@ret@host", "https://host"),
        ("https://token@host:8443/", "https://host:8443"),
        ("postgresql+psycopg2://user:secret@host/mlflow", "postgresql+psycopg2://host/mlflow"),
        ("http://user:secret@[bad", "http://[bad"),
        ("http://host/@name", "http://host/@name"),
        ("mlruns", "mlruns"),
    ],
)
def test_addresses_are_shown_without_credentials(address: str, shown: str) -> None:
    assert environment.without_password(address) == shown


def test_an_experiment_in_a_copy_finds_the_permanent_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = tmp_path / "main"
    copy = main / ".dvc/tmp/exps/tmp1"
    for place in (main / ".dvc", copy / ".dvc", copy / "sub", main / "sub"):
        place.mkdir(parents=True, exist_ok=True)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(main))  # `dvc repro` sets it as well
    assert environment.lasting_folder(copy) == copy
    monkeypatch.setenv("DVC_EXP_NAME", "sour-kiln")
    assert environment.experiment() == "sour-kiln"
    assert environment.lasting_folder(copy) == main
    assert environment.lasting_folder(copy / "sub") == main / "sub"
    assert environment.lasting_folder(main) == main  # `dvc exp run` without a copy
    monkeypatch.chdir(copy / "sub")
    assert environment.lasting_folder(Path("..")) == main


def test_the_hardware_of_the_machine_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=15.6 * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    found = environment.hardware()
    assert (found["cores"], found["memory_gib"]) == (os.cpu_count(), 16)
    assert found["system"] == f"{platform.system()} {platform.machine()}"
    monkeypatch.setattr(psutil, "cpu_count", lambda: None)  # as in some sandboxes
    assert environment.hardware()["cores"] == 1


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel name\t: Fast: 3 GHz \nmodel name\t: Slow\n", "Fast: 3 GHz"),
        ("processor\t: 0\n", platform.processor() or platform.machine()),  # as on ARM
        (None, platform.processor() or platform.machine()),  # as on macOS
    ],
)
def test_the_processor_name_comes_from_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, name: str
) -> None:
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    monkeypatch.setattr(environment, "Path", lambda _: path)
    assert environment.hardware()["processor"] == name


def test_versions_of_installed_libraries_are_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "LIBRARIES", ["numpy", "no-such-library", "torch"])
    assert environment.versions() == {
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "torch": version("torch"),
    }


def test_a_flow_run_requires_id_and_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_FLOW_RUN_ID", raising=False)
    monkeypatch.delenv("PIPELINE_FLOW_RUN_URL", raising=False)
    assert environment.flow_run() is None
    monkeypatch.setenv("PIPELINE_FLOW_RUN_ID", "1234")
    assert environment.flow_run() is None
    monkeypatch.setenv("PIPELINE_FLOW_RUN_URL", "http://prefect/runs/1234")
    assert environment.flow_run() == {"id": "1234", "url": "http://prefect/runs/1234"}
