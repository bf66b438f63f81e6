"""Overrides reach params.yaml exactly as given, and nothing else changes."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config import load_params, parse_params
from pipeline.core.errors import UserError
from pipeline.orchestration.overrides import merged, overridden
from tests.checkout import PROJECT

PARAMS = PROJECT / "params.yaml"
ORIGINAL = PARAMS.read_text()
DEFAULTS = load_params(PARAMS).model_dump()
LONG = [1 / 3] * 8
SHA256 = "0123456789" * 6 + "0123"
ADDRESS = "http://127.0.0.1:8080/mnist/?a=b&c=%20#d"


def lines_changed(*overrides: str) -> list[tuple[str, str]]:
    """The lines that these values change, before and after, ignoring alignment."""
    before, after = ORIGINAL.split("\n"), overridden(overrides, PARAMS).split("\n")
    pairs = [
        (" ".join(old.split()), " ".join(new.split()))
        for old, new in zip(before, after, strict=True)
        if old != new
    ]
    return [(old, new) for old, new in pairs if old != new]


def value_of(key: str, *overrides: str) -> Any:
    """The value that the pipeline then reads for a key; all other keys must be unchanged."""
    section, name = key.split(".")
    params = parse_params(overridden(overrides, PARAMS), PARAMS).model_dump()
    assert params == DEFAULTS | {section: DEFAULTS[section] | {name: params[section][name]}}
    return params[section][name]


def complaint(*overrides: str, path: Path = PARAMS) -> str:
    with pytest.raises(UserError) as raised:
        overridden(overrides, path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_unchanged_values_leave_every_byte_of_the_file() -> None:
    for overrides in ([], ["train.epochs=32", "train.device=auto"]):
        assert overridden(overrides, PARAMS) == ORIGINAL


@pytest.mark.parametrize(
    ("override", "before", "after"),
    [
        ("train.epochs=2", "epochs: 32", "epochs: 2"),
        ("train.rotation=1.5", "rotation: 12.0", "rotation: 1.5"),
        (
            "train.dropout=[0.1,0,0,0]",
            "dropout: [0.0, 0.0, 0.0, 0.0]",
            "dropout: [0.1, 0, 0, 0]",
        ),
        (
            f"backprop.weights={LONG}",
            "weights: [0.15, 0.2, 0.25, 0.3, 0.4, 0.45, 0.5, 0.55]",
            f"weights: {LONG}",
        ),
        (
            "backprop.weights=random",
            "weights: [0.15, 0.2, 0.25, 0.3, 0.4, 0.45, 0.5, 0.55]",
            "weights: random",
        ),
        ("release.margin=0.01", "margin: 0.003", "margin: 0.01"),
        ("flow.retries.fetch=5", "retries: {fetch: 2}", "retries: {fetch: 5}"),
    ],
)
def test_a_value_changes_only_its_line_and_keeps_the_comment(
    override: str, before: str, after: str
) -> None:
    ((old, new),) = lines_changed(override)
    (old_value, old_comment), (new_value, new_comment) = old.split(" # "), new.split(" # ")
    assert (old_value, new_value) == (before, after)
    assert old_comment == new_comment


def test_values_are_validated_together() -> None:
    changed = lines_changed("backprop.long_run=50", "train.seed=7", "backprop.updates=50")
    assert [new.partition(" #")[0] for _, new in changed] == [
        "updates: 50",
        "long_run: 50",
        "seed: 7",
    ]


def test_the_last_value_of_a_key_wins() -> None:
    assert value_of("train.epochs", "train.epochs=2", "train.epochs=3") == 3


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("train.weight_decay", "0.00001", 1e-5),
        ("train.weight_decay", "1e-05", 1e-5),
        ("train.rotation", "3", 3.0),
        ("train.seed", "1_000", 1000),
        ("train.dropout", "[0.1, 0, 5e-1, 0.0]", (0.1, 0, 0.5, 0)),
        ("train.device", "cuda:1", "cuda:1"),
        ("train.device", "'cuda:1'", "cuda:1"),
        ("train.device", '"cuda:1"', "cuda:1"),
        ("train.device", "", ""),
        ("train.device", "''", ""),
        ("train.device", "'null'", "null"),
        ("train.device", "'1'", "1"),
        ("train.device", "' # a: {b} \\'c\\' \"d\" - \\e'", " # a: {b} 'c' \"d\" - \\e"),
        ("fetch.mirrors", "[here]", ["here"]),
        ("fetch.mirrors", f"['{ADDRESS}', ../a folder]", [ADDRESS, "../a folder"]),
        ("fetch.mirrors", "[https://127.0.0.1/mnist/]", ["https://127.0.0.1/mnist/"]),
        ("fetch.mirrors", "['true', 'no', '1.5', '~', '2024-01-01', '1:30']", None),
        ("fetch.files", f"{{a.gz: '{SHA256}'}}", {"a.gz": SHA256}),
        ("gate.test_sha256", f"'{SHA256}'", SHA256),
        ("flow.timeouts", "{}", {}),
        ("flow.retries", "{train: 1, fetch: 0}", {"train": 1, "fetch": 0}),
    ],
)
def test_the_pipeline_reads_the_given_value(key: str, written: str, value: Any) -> None:
    if value is None:  # texts that YAML could read as another type
        value = [text.strip(" '") for text in written[1:-1].split(",")]
    assert value_of(key, f"{key}={written}") == value


TEXT = st.text(st.characters(exclude_categories=["C"], exclude_characters="'\\"), max_size=50)


@given(
    epochs=st.integers(1, 10_000),
    rotation=st.floats(0, 180),
    dropout=st.tuples(*[st.floats(0, 0.99)] * 4),
    device=TEXT,
    mirrors=st.lists(TEXT.filter(bool), min_size=1, max_size=5),
)
@settings(deadline=None, max_examples=20)
def test_valid_values_round_trip(mirrors: list[str], **train: Any) -> None:
    quoted = ", ".join(f"'{mirror}'" for mirror in mirrors)
    overrides = [
        f"train.epochs={train['epochs']}",
        f"train.rotation={train['rotation']}",
        f"train.dropout={list(train['dropout'])}",
        f"train.device='{train['device']}'",
        f"fetch.mirrors=[{quoted}]",
    ]
    read = parse_params(overridden(overrides, PARAMS), PARAMS).model_dump()
    assert read["train"] == DEFAULTS["train"] | train
    assert read["fetch"] == DEFAULTS["fetch"] | {"mirrors": mirrors}


@pytest.mark.parametrize("mirror", [ADDRESS, "../a folder", "a: b", "# c", "null", "1"])
def test_other_yaml_parsers_read_lists_of_texts_the_same_way(mirror: str) -> None:
    text = overridden([f"fetch.mirrors=['{mirror}', ../mnist]"], PARAMS)
    assert yaml.safe_load(text)["fetch"]["mirrors"] == [mirror, "../mnist"]


def test_the_result_is_a_valid_params_file_and_the_original_is_unchanged(tmp_path: Path) -> None:
    before, after = tmp_path / "params.yaml", tmp_path / "changed.yaml"
    before.write_text(re.sub("seed: 1 #.*", "seed: 4 # mine", ORIGINAL))
    kept = before.read_bytes()
    after.write_text(overridden(["train.epochs=2"], before))
    assert before.read_bytes() == kept
    train = load_params(after).train
    assert (train.seed, train.epochs) == (4, 2)
    assert "seed: 4 # mine\n" in after.read_text()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epohcs=2", "params.yaml has no train.epohcs"),
        ("trian.epochs=2", "params.yaml has no trian.epochs"),
        ("epochs=2", "params.yaml has no epochs"),
        ("train.epochs.first=2", "params.yaml has no train.epochs.first"),
        ("train.dropout.0=0.1", "params.yaml has no train.dropout.0"),
        ("flow.retries.train=2", "params.yaml has no flow.retries.train"),
        ("hydra.verbose=true", "params.yaml has no hydra.verbose"),
        ("", "not of the form KEY=VALUE"),
        ("train.epochs", "not of the form KEY=VALUE"),
        ("train.epochs 2", "not of the form KEY=VALUE"),
        ("train.epochs = 2", "not of the form KEY=VALUE"),
        ("train.dropout=[0.1, 0", "not of the form KEY=VALUE"),
        ("--train.epochs=2", "not of the form KEY=VALUE"),
        ("train.epochs=2\ntrain.seed=3", "not of the form KEY=VALUE"),
        ("+train.epochs=2", "give one value for one key"),
        ("++train.epochs=2", "give one value for one key"),
        ("~train.epochs", "give one value for one key"),
        ("~train.epochs=32", "give one value for one key"),
        ("train.epochs=1,2", "give one value for one key"),
        ("train.epochs=range(1,3)", "give one value for one key"),
        ("train.epochs=choice(1,2)", "give one value for one key"),
        ("train.epochs=glob(*)", "give one value for one key"),
        ("train.epochs@here=1", "give one value for one key"),
        ("train@here=1", "give one value for one key"),
        ("train.epochs=", "params.yaml: train.epochs: "),
        ("train.epochs=null", "params.yaml: train.epochs: "),
        ("train.epochs=two", "params.yaml: train.epochs: "),
        ("train.epochs='2'", "params.yaml: train.epochs: "),
        ("train.epochs=2.5", "params.yaml: train.epochs: "),
        ("train.epochs=[2]", "params.yaml: train.epochs: "),
        ("train.epochs=0", "params.yaml: train: epochs is 0"),
        ("train.rotation=nan", "params.yaml: train.rotation: "),
        ("train.rotation=inf", "params.yaml: train.rotation: "),
        ("train.rotation=1e400", "params.yaml: train.rotation: "),
        ("train.dropout=[0.1,1]", "params.yaml: train: dropout is 1.0"),
        ("fetch.mirrors=[]", "params.yaml: fetch.mirrors: "),
        ("fetch.mirrors=[null]", "params.yaml: fetch.mirrors.0: "),
        ("gate.min_accuracy=99.4", "params.yaml: gate.min_accuracy: "),
        ("release.margin=yes", "params.yaml: release.margin: "),
        ("task=pipeline/letters", "task: pipeline/letters is "),
        ("task=pipeline/core", "task: pipeline/core is "),
        ("task='a b'", "params.yaml: task: "),
        ("task.name=a", "params.yaml has no task.name"),
        ("train=3", "params.yaml: train: "),
        ("train={epochs: 3}", "params.yaml: train.seed: "),
    ],
)
def test_an_invalid_override_is_reported_in_one_line(override: str, said: str) -> None:
    message = complaint("train.seed=3", override)
    assert said.replace("params.yaml", str(PARAMS)) in message
    assert override.replace("\n", r"\n") in message


def test_all_invalid_values_are_reported_together() -> None:
    message = complaint("train.epochs=0", "gate.min_accuracy=2.0", "export.opset=17")
    for named in ("train: epochs is 0", "gate.min_accuracy: ", "export.opset: "):
        assert named in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, " is missing"),
        ("train: [", " is not valid YAML"),
        (b"train: \xff", " is not valid YAML"),
        ("", ": "),
        ("- train\n", ": "),
        (ORIGINAL.replace("epochs: 32", "epochs: 0"), ": train: epochs is 0"),
    ],
)
@pytest.mark.parametrize("overrides", [[], ["train.epochs=2"]])
def test_a_missing_or_invalid_file_is_reported(
    overrides: list[str], text: str | bytes | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    message = complaint(*overrides, path=path)
    assert message.startswith(f"{path}{said}")


def test_the_fast_recipe_changes_training_and_not_the_gate() -> None:
    params = parse_params(merged(PROJECT / "params.fast.yaml", PARAMS), PARAMS)
    assert params.train.epochs < DEFAULTS["train"]["epochs"]
    committed = load_params(PARAMS)
    same = params.model_copy(update={"train": committed.train})
    assert same.model_dump() == DEFAULTS


@pytest.fixture
def letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a package of another task."""
    (tmp_path / "params.yaml").write_text(ORIGINAL)
    (tmp_path / "own_letters").mkdir()
    (tmp_path / "own_letters/__init__.py").write_text(
        "from dataclasses import replace\n"
        "from pipeline.mnist import TASK\n"
        "TASK = replace(TASK, package='own_letters', noun='letter')\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_an_override_of_the_task_changes_the_top_level_key(letters: Path) -> None:
    (letters / "mine.yaml").write_text("task: own_letters\ntrain: {epochs: 3}\n")
    params = letters / "params.yaml"
    expected = overridden(["task=own_letters", "train.epochs=3"], params)
    assert merged(letters / "mine.yaml", params) == expected
    assert parse_params(expected, params).task == "own_letters"
    assert "\ntask: own_letters # " in re.sub(" +", " ", expected)


def use(folder: Path) -> None:
    """Run `python -m pipeline use` in a workspace with its mine.yaml."""
    arguments = ["--workspace", str(folder), "use", str(folder / "mine.yaml")]
    CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_use_writes_the_values_of_a_file_into_params(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(ORIGINAL)
    (tmp_path / "mine.yaml").write_text("train: {epochs: 3}\ngate:\n  min_accuracy: 0.9\n")
    use(tmp_path)
    expected = overridden(["train.epochs=3", "gate.min_accuracy=0.9"], PARAMS)
    assert (tmp_path / "params.yaml").read_text() == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("train: [", "YAML file of sections and keys"),
        ("", "YAML file of sections and keys"),
        ("- train", "YAML file of sections and keys"),
        ("train: 3", "train: "),
        ("task: nothing", "task: nothing is "),
        ("train: {epoch: 3}", "params.yaml has no train.epoch"),
        ("training: {epochs: 3}", "params.yaml has no training.epochs"),
        ("train: {epochs: 0}", "train: epochs is 0"),
        ("train: {epochs: two}", "train.epochs: "),
    ],
)
def test_an_invalid_file_of_values_changes_nothing(
    text: str | None, said: str, tmp_path: Path
) -> None:
    (tmp_path / "params.yaml").write_text(ORIGINAL)
    if text is not None:
        (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as raised:
        use(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / 'mine.yaml'}")
    assert said in str(raised.value)
    assert (tmp_path / "params.yaml").read_text() == ORIGINAL
