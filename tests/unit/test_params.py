"""params.yaml: every key is known, and every invalid value is reported in one line."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.backprop.network import random_weights
from pipeline.config import load_params
from pipeline.core.errors import UserError
from tests.checkout import PROJECT

DEFAULTS: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text())
SECTIONS = [name for name in DEFAULTS if name != "task"]
KNOBS = [(section, key) for section in SECTIONS for key in DEFAULTS[section]]
STAGES: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]


def complaint(folder: Path, text: str | bytes) -> str:
    """The error of load_params for a params.yaml with this text."""
    path = folder / "params.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError) as raised:
        load_params(path)
    message = str(raised.value)
    assert message.startswith(f"{path}")
    assert "\n" not in message
    return message.removeprefix(f"{path}")


def changed(section: str, key: str, value: Any) -> str:
    """The project's params.yaml with another value for one key."""
    params = deepcopy(DEFAULTS)
    params[section][key] = value
    return yaml.safe_dump(params)


def as_written(section: str, key: str, text: str) -> str:
    """The same, with the value written exactly so."""
    return changed(section, key, "THIS").replace("THIS", text)


def test_every_value_is_loaded_as_written() -> None:
    assert load_params(PROJECT / "params.yaml").model_dump(mode="json") == DEFAULTS


def test_sections_stages_and_modules_have_the_same_names() -> None:
    modules = {path.stem for path in (PROJECT / "pipeline" / "stages").glob("[a-z]*.py")}
    assert list(DEFAULTS) == ["task", *STAGES, "flow", "loop"]
    assert modules == STAGES.keys()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_own_section(stage: str) -> None:
    # release records all params of the model; backprop is not part of it
    made_with = [section for section in STAGES if section != "backprop"]
    sections = [name for name in STAGES[stage]["params"] if name in SECTIONS]
    others = {"release": made_with, "detect": ["train", "detect"]}  # one augmentation for both
    assert sections == others.get(stage, [stage])


def test_changing_flow_settings_reruns_no_stage() -> None:
    depended_on = {
        name
        for stage in STAGES.values()
        for names in (stage["params"], stage["deps"])
        for name in names
        if isinstance(name, str)
    }
    assert "train" in depended_on
    assert depended_on & {"flow", "loop", "params.yaml"} == set()


def named(said: str, keys: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of the keys that an error names."""
    return [(s, key) for s, key in keys if re.search(rf" {s}(\.|: ){key}\b", said)]


def everywhere(value: Any, keys: list[tuple[str, str]]) -> str:
    """The project's params.yaml with this value for each of these keys."""
    params = deepcopy(DEFAULTS)
    for section, key in keys:
        params[section][key] = value
    return yaml.safe_dump(params)


def test_every_missing_key_is_reported(tmp_path: Path) -> None:
    empty = yaml.safe_dump({"task": DEFAULTS["task"]} | {section: {} for section in SECTIONS})
    assert named(complaint(tmp_path, empty), KNOBS) == KNOBS


@pytest.mark.parametrize("content", ["absent", None, [], "all", 3])
def test_every_missing_or_invalid_section_is_reported(content: Any, tmp_path: Path) -> None:
    sections = {} if content == "absent" else dict.fromkeys(SECTIONS, content)
    said = complaint(tmp_path, yaml.safe_dump({"task": DEFAULTS["task"], **sections}))
    assert [section for section in SECTIONS if f" {section}: " in said] == SECTIONS


def test_unknown_keys_and_sections_are_reported(tmp_path: Path) -> None:
    unknown = [(section, "colour") for section in SECTIONS]
    assert named(complaint(tmp_path, everywhere(1, unknown)), unknown) == unknown
    assert " deploy: " in complaint(tmp_path, yaml.safe_dump(DEFAULTS | {"deploy": {"to": "moon"}}))


@pytest.mark.parametrize("value", [None, [[]], {"of": []}])
def test_every_value_of_the_wrong_type_is_reported(value: Any, tmp_path: Path) -> None:
    optional = [("collect", "journal"), ("loop", "service")]
    knobs = [knob for knob in KNOBS if value is not None or knob not in optional]
    assert named(complaint(tmp_path, everywhere(value, knobs)), knobs) == knobs


@pytest.mark.parametrize("value", ["1", True, -1, float("nan"), float("inf"), -float("inf")])
def test_numbers_must_be_finite_and_not_negative(value: Any, tmp_path: Path) -> None:
    numbers = [(s, k) for s, k in KNOBS if type(DEFAULTS[s][k]) in (int, float)]
    together = [(section, key) for section, key in numbers if section != "train"]
    assert named(complaint(tmp_path, everywhere(value, together)), together) == together
    for alone in numbers:  # the recipe reports one number at a time
        if alone[0] == "train":
            assert named(complaint(tmp_path, everywhere(value, [alone])), [alone]) == [alone]


def each(values: dict[str, list[Any]]) -> list[tuple[Any, ...]]:
    """Section, key and value of each case of a table."""
    return [(*key.split("."), value) for key, those in values.items() for value in those]


OUT_OF_RANGE: dict[str, list[Any]] = {
    "backprop.inputs": [[0.05], [0.05, 0.1, 0.2], [0.05, -10.1], ["0.05", 0.1]],
    "backprop.targets": [[0.5, 1.5], [-0.1, 0.5], [float("nan"), 0.5]],
    "backprop.weights": [
        *([0.1] * 7 + last for last in ([], [0.1] * 2, [float("nan")], [10.1], [True])),
        *("Random", 0.1),
    ],
    "backprop.seed": [1.5],
    "backprop.learning_rate": [0, 1e-7, 100.1],
    "backprop.updates": [0, 1001, 1.5],
    "backprop.long_run": [0, 10_001, 66],  # fewer than updates
    "backprop.learning_rates": [
        *([0.1] * 2, [1, 1.0], [0.1, 0], [0.1, float("inf")], [1, 2, 3, 4, 5, 6, 7, 8, 9], 0.1),
        [1.0, 1.0000000000000002],  # both print as η = 1
    ],
    "fetch.mirrors": [[1], [""]],
    "fetch.timeout": [0],
    "fetch.retries": [1.5],
    "fetch.files": [
        {},
        *({"a.gz": digest} for digest in ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "0" * 65)),
        {"a.gz": "0" * 64 + "\n"},
    ],
    "fetch.time_limit": [0],
    "prepare.training_images": [0],
    "prepare.test_images": [0],
    "collect.journal": ["", 1],
    "collect.votes": [0, 1.5],
    "collect.cap_per_client": [0],
    "collect.near": [65, 1.5],
    "collect.live_share": [1],
    "collect.weight": [0, 1.5, 101],
    "train.epochs": [0, 1.5],
    "train.momentum": [0.0, 1.0],
    "train.dropout": [0.1, [0.1, 1.0]],
    "train.device": [0],
    "train.precision": ["float16"],
    "export.opset": [17, 99],
    "export.parity_images": [0],
    "evaluate.providers": ["CPUExecutionProvider", [], ["cpu"]],
    "evaluate.batch_size": [0],
    "evaluate.latency_calls": [0],
    "evaluate.live_minimum": [0],
    "gate.min_accuracy": [99.4],
    "gate.min_distorted_accuracy": [{"shift": 0.9}, {"shifted": 99.0}, 0.9],
    "gate.max_changed_predictions": [{"shifted": 0.1}],
    "gate.test_sha256": ["unknown"],
    "release.margin": [0, 1, "no"],
    "release.live_margin": [0, 1],
    "release.alpha": [0, 0.5, 5],
    "release.looks": [0, 2.5],
    "flow.retries": [
        *(2, {"fetch": 2, "train": None}),
        *({"fetch": count} for count in (-1, 21, 1.5, "2", True)),
    ],
    "flow.timeouts": [
        60.0,
        *({"train": seconds} for seconds in (0, -1.0, float("nan"), float("inf"), "12h")),
    ],
    "flow.timeout": [0],
    "loop.approval": ["nobody"],
    "loop.labels": [0, 1.5],
    "loop.service": ["", "127.0.0.1:8000"],
    "loop.compared": [0],
    "loop.patience": [0],
}


@pytest.mark.parametrize(("section", "key", "value"), each(OUT_OF_RANGE))
def test_a_value_out_of_range_is_reported(
    section: str, key: str, value: Any, tmp_path: Path
) -> None:
    assert named(complaint(tmp_path, changed(section, key, value)), [(section, key)])


ENDS_OF_RANGE: dict[str, list[Any]] = {
    "backprop.inputs": [[10, -10]],
    "backprop.targets": [[0, 1]],
    "backprop.weights": [[-10, 10, 0, 1, 0.5, 1e-300, -1, 2], "random"],
    "backprop.learning_rate": [1e-6, 100],
    "backprop.learning_rates": [[100], [0.1234567, 0.1234568]],
    "backprop.updates": [1000],
    "backprop.long_run": [67, 10_000],
    "collect.journal": ["journal", None],
    "collect.live_share": [0],
    "gate.min_distorted_accuracy": [{}, {"noisy": 1}],
    "gate.min_refused_negatives": [{}, {"noise": 0}],
    "flow.retries": [{}, {"fetch": 0, "train": 20}],
    "flow.retry_delay": [0],
    "loop.approval": ["human", "rule"],
    "loop.cooldown": [0],
    "loop.service": [None, "http://127.0.0.1:8000"],
    "flow.timeouts": [{}, {"backprop": 0.5, "train": 604_800}],
}


@pytest.mark.parametrize(("section", "key", "value"), each(ENDS_OF_RANGE))
def test_range_limits_are_inclusive(section: str, key: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(changed(section, key, value))
    assert load_params(path).model_dump(mode="json")[section][key] == value


def test_the_gate_judges_no_coverage_that_is_not_stated(tmp_path: Path) -> None:
    said = complaint(tmp_path, changed("calibrate", "coverage", [0.9, 0.999]))
    assert "gate.min_coverage has 0.99," in said


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    params = deepcopy(DEFAULTS)
    params["fetch"]["retries"] = -1
    params["gate"]["min_acuracy"] = params["gate"].pop("min_accuracy")
    said = complaint(tmp_path, yaml.safe_dump(params))
    for key in ("fetch.retries", "gate.min_acuracy", "gate.min_accuracy"):
        assert f" {key}: " in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", r"\w.*", id="empty"),
        pytest.param("# all commented out\n", r"\w.*", id="only a comment"),
        pytest.param("- fetch\n- prepare\n", r"\w.*", id="list"),
        pytest.param("hello", r"\w.*", id="text"),
        pytest.param("fetch: {retries: [1, 2\n", "not valid YAML.*line 2", id="open bracket"),
        pytest.param("fetch:\n\tretries: 3\n", "not valid YAML.*line 2", id="tab"),
        pytest.param("fetch: !!python/object:os.system {}", "not valid YAML", id="object"),
        pytest.param(b"fetch: \xff\xfe", "not valid YAML", id="not UTF-8"),
        pytest.param("fetch: &fetch\n  files: *fetch\n", "not valid YAML", id="self-reference"),
        pytest.param("backprop: !!binary aGVsbG8=", ".*backprop: Input should be", id="binary"),
        pytest.param(as_written("train", "seed", "2024-01-01"), r"train\.seed: ", id="date"),
        pytest.param(
            as_written("train", "seed", "2024-13-45"), "not valid YAML", id="invalid date"
        ),
    ],
)
def test_an_invalid_file_is_reported_in_one_line(
    text: str | bytes, said: str, tmp_path: Path
) -> None:
    assert re.match(rf"(:| is) {said}", complaint(tmp_path, text))


@pytest.mark.parametrize("written", ["1e-05", "5E-4", "1.0e-05", "0.00001", "1"])
def test_numbers_in_dvcs_notation_are_read(written: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"  # `dvc exp run --set-param train.weight_decay=0.00001`
    path.write_text(as_written("train", "weight_decay", written))
    assert load_params(path).train.weight_decay == float(written)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{tmp_path}/params\.yaml is missing$"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("task", ["", "pipeline.mnist", "pipeline/", "/mnist", "../mnist", 3, None])
def test_an_invalid_task_name_is_reported(task: Any, tmp_path: Path) -> None:
    assert complaint(tmp_path, yaml.safe_dump(DEFAULTS | {"task": task})).startswith(": task: ")


def test_backprop_starts_from_given_or_random_weights() -> None:
    backprop = load_params(PROJECT / "params.yaml").backprop
    written = backprop.model_copy(update={"weights": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)})
    assert written.start() == (backprop.inputs, backprop.targets, written.weights)
    drawn = backprop.model_copy(update={"weights": "random", "seed": 7})
    assert drawn.start() == (backprop.inputs, backprop.targets, random_weights(7))
