"""The DAG as a flow run sees it: DVC's plan, DVC's output, and errors in dvc.yaml."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.core.errors import UserError
from pipeline.orchestration import dag
from tests.checkout import PROJECT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
DVC = [sys.executable, "-m", "dvc"]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC repository without stages."""
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([*DVC, "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    config = (PROJECT / ".dvc/config").read_text()
    (folder / ".dvc/config").write_text(f"{config}    no_scm = true\n")
    return folder


@pytest.fixture
def folder(empty: Path, tmp_path: Path) -> Path:
    """A copy of the empty repository."""
    return Path(shutil.copytree(empty, tmp_path / "folder"))


def lines_of(command: list[str], folder: Path) -> tuple[int, list[str]]:
    """The exit status and output lines of a command, stderr included, as a flow sees them."""
    result = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return result.returncode, result.stdout.splitlines()


def write_stages(folder: Path, **stages: object) -> None:
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))


def copying(source: str, target: str) -> dict[str, object]:
    """A stage that copies a file."""
    return {"cmd": f"cp {source} {target}", "deps": [source], "outs": [target]}


def test_a_frozen_stage_has_no_dependencies_as_in_dvc(folder: Path) -> None:
    (folder / "given").touch()
    c, b, a = copying("given", "c"), copying("c", "b"), copying("b", "a")
    write_stages(folder, a=a, b=b, c=c)
    subprocess.run([*DVC, "repro", "--quiet"], cwd=folder, check=True)
    write_stages(folder, a=a, b=b | {"frozen": True}, c=c)
    _, said = lines_of([*DVC, "repro", "--dry", "--force", "a"], folder)
    assert not dag.ran("c", said)
    assert dag.ran("a", said)
    plan = dag.plan(dag.read_dag(folder), ["a"])
    assert [(stage.name, stage.needs) for stage in plan] == [("b", ()), ("a", ("b",))]
    assert {stage.name for stage in dag.plan(dag.read_dag(folder))} == {"a", "b", "c"}


def test_a_custom_stage_shows_its_reports_without_extra_code(folder: Path) -> None:
    write_stages(
        folder,
        summary={
            "cmd": "python summary.py",
            "outs": ["text.md", "notes.txt", "other.json", "other.png"],
            "metrics": ["metrics.json", "metrics.toml"],
            "plots": ["plot.png", "curve.csv"],
        },
    )
    (stage,) = dag.plan(dag.read_dag(folder))
    assert stage.texts == (Path("text.md"),)
    assert stage.metrics == (Path("metrics.json"),)
    assert stage.images == (Path("plot.png"),)


@pytest.mark.parametrize(
    ("text", "targets", "said"),
    [
        (None, [], "missing"),
        (None, ["a"], "missing"),
        ("stages: {a: {cmd: echo}}", ["trian"], "'trian'"),
        ("stages: {a: {cmd: echo}}", ["a", "trian"], "'trian'"),
        ("stages: {a: {cmd: [", [], "corrupt"),
        (b"stages: \xff", [], "utf-8"),
        ("stages: 3", [], "validation failed"),
        ("stages: {a: {outs: [b]}}", [], "validation failed"),
        ("stages: {a: {cmd: echo, colour: red}}", [], "validation failed"),
        ("stages: {a: {cmd: x, deps: [p], outs: [q]}, b: {cmd: x, deps: [q], outs: [p]}}", [], "b"),
    ],
)
def test_a_missing_or_invalid_dag_is_a_clear_error(
    text: str | bytes | None, targets: list[str], said: str, folder: Path
) -> None:
    if text is not None:
        (folder / "dvc.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError, match=rf"^dvc\.yaml\b.*{said}"):
        dag.plan(dag.read_dag(folder), targets)


def test_a_folder_outside_a_dvc_repository_is_an_error(tmp_path: Path) -> None:
    write_stages(tmp_path, a={"cmd": "echo"})
    with pytest.raises(UserError, match="DVC repository"):
        dag.plan(dag.read_dag(tmp_path))


def test_a_flow_distinguishes_a_stage_that_ran_from_one_that_is_up_to_date(folder: Path) -> None:
    (folder / "a").write_text("first")
    write_stages(folder, ab=copying("a", "b"), b=copying("b", "c"))

    def runs(stage: str, *, force: bool = False) -> bool:
        status, said = lines_of(dag.repro_command(stage, force=force), folder)
        assert status == 0, said
        assert dag.exit_status(said) is None
        return dag.ran(stage, said)

    subprocess.run([*DVC, "repro", "--quiet"], cwd=folder, check=True)
    assert not runs("ab")
    assert runs("ab", force=True)
    (folder / "a").write_text("second")
    assert not runs("b")  # runs alone, without its dependencies
    assert runs("ab")
    assert runs("b")
    assert (folder / "c").read_text() == "second"


def test_a_flow_skips_exactly_what_dvc_would_skip(folder: Path) -> None:
    (folder / "a").write_text("first")
    chain = {"ab": copying("a", "b"), "bc": copying("b", "c")}
    write_stages(folder, **chain, always={"cmd": "true"})
    assert dag.up_to_date(folder) == set()
    subprocess.run([*DVC, "repro", "--quiet"], cwd=folder, check=True)
    assert dag.up_to_date(folder) == {"ab", "bc"}
    (folder / "a").write_text("second")
    assert dag.up_to_date(folder) == {"bc"}  # until `ab` has run
    subprocess.run(dag.repro_command("ab", force=False), cwd=folder, check=True)
    assert dag.up_to_date(folder) == {"ab"}
    subprocess.run([*DVC, "repro", "--quiet"], cwd=folder, check=True)
    (folder / "c").unlink()
    assert dag.up_to_date(folder) == {"ab"}
    write_stages(folder, **chain | {"ab": copying("a", "b") | {"cmd": "cp -p a b"}})
    assert dag.up_to_date(folder) == set()


def test_a_flow_leaves_all_stages_to_dvc_while_another_dvc_is_running(folder: Path) -> None:
    from dvc.repo import Repo

    (folder / "a").touch()
    write_stages(folder, ab=copying("a", "b"))
    subprocess.run([*DVC, "repro", "--quiet"], cwd=folder, check=True)
    with Repo(str(folder)) as other, other.lock:
        assert dag.up_to_date(folder) == set()


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("exit 3", 3),
        ("echo done, exited with 4; exit 1", 1),
        ("kill -KILL $$", None),
        ("command-that-is-not-there", 127),
    ],
)
def test_a_flow_gets_the_exit_status_of_a_failed_stage(
    command: str, status: int | None, folder: Path
) -> None:
    write_stages(folder, fails={"cmd": command})
    returncode, said = lines_of(dag.repro_command("fails", force=False), folder)
    assert returncode != 0
    assert dag.ran("fails", said)
    assert dag.exit_status(said) == status


def test_empty_output_has_no_exit_status_and_an_unknown_stage_did_not_run(folder: Path) -> None:
    assert dag.exit_status([]) is None
    write_stages(folder, a={"cmd": "exit 3"})
    returncode, said = lines_of(dag.repro_command("trian", force=False), folder)
    assert returncode != 0
    assert not dag.ran("trian", said)
    assert dag.exit_status(said) is None
