"""The reference pages generated from the code."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from docs.generated import commands, environment, files, make, parameters, reports
from docs.generated.markdown import attribute_comments, sentence, table
from docs.generated.schema import describe
from pipeline.config import Params
from pipeline.core.report_file import Report
from pipeline.core.variables import all_variables
from pipeline.core.workspace import Workspace
from pipeline.service import limits


def rows(page: str) -> dict[str, list[str]]:
    """The cells of each row, keyed by the first."""
    split = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells for cells in split}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "number", "minimum": 0.0, "maximum": 1e-06}, "number, 0 to 0.000001"),
        ({"type": "integer", "exclusiveMinimum": 0}, "integer, greater than 0"),
        ({"type": "integer", "minimum": 2, "maximum": 60000}, "integer, 2 to 60,000"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or `null`"),
        ({"type": "array", "items": {"type": "number"}}, "list of numbers"),
        (
            {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"const": "auto"}]},
            "integer, 0 to 9, or `auto`",
        ),
        (
            {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
            "list of lists of integers",
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "list of at least 1 string",
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "list of at least 2 strings",
        ),
        ({"type": "array", "minItems": 1, "maxItems": 8}, "list of 1 to 8 values"),
        ({"type": "array", "prefixItems": [{"type": "number"}] * 2}, "list of 2 numbers"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "mapping to integers"),
        ({"enum": ["a", "b"]}, "`a`, `b`"),
        ({"$ref": "#/components/schemas/Answer"}, "Answer"),
    ],
)
def test_schemas_are_described_in_words(schema: dict[str, object], words: str) -> None:
    assert describe(schema) == words


def test_tables_drop_empty_columns_and_escape_cells() -> None:
    made = table(["A", "B", "C"], [["a|b", "", "two\nlines"], ["c", "", ""]])
    assert made.splitlines() == ["| A | C |", "| --- | --- |", "| a\\|b | two lines |", "| c |  |"]


@pytest.mark.parametrize(
    ("text", "whole"),
    [("of pixels", "Of pixels."), ("w1 to w8", "w1 to w8."), ("Is it?", "Is it?"), ("", "")],
)
def test_comments_become_sentences(text: str, whole: str) -> None:
    assert sentence(text) == whole


def test_every_parameter_is_documented() -> None:
    found = rows(parameters.page())
    for section in Params.model_fields:
        for key in getattr(Params.model_fields[section].annotation, "model_fields", {}):
            assert len(found[key]) == 4
    assert found["dropout"][1] == "`[0.0, 0.0, 0.0, 0.0]`"
    assert found["dropout"][2] == "list of numbers, 0 to 0.99"
    assert found["epochs"][2] == "integer, 1 to 10,000"
    assert all(cells[3] for cells in found.values())


def test_every_visible_command_and_option_is_documented() -> None:
    page = commands.page()
    for name in ("predict", "score", "serve", "train", "release", "track"):
        assert f"### {name}\n" in page
    assert rows(page)["--port"][1:3] == ["`PORT`", "`8000`"]
    assert "FILE... --output FILE [--model" in page  # what is required has no brackets
    assert "flow [STAGE...] [--force]" in page  # any number of stages
    assert "--wait" not in page  # hidden


def test_every_variable_is_documented() -> None:
    assert rows(environment.page()).keys() == {variable.name for variable in all_variables()}


def test_every_report_field_and_limit_is_documented() -> None:
    comments = reports.all_comments()
    models: list[type[BaseModel]] = [*reports.FILES, *reports.PARTS]
    for model in models:
        for field in set(model.model_fields) - {"schema_version"}:
            assert comments.get((model.__name__, field)), f"{model.__name__}.{field}"
    assert attribute_comments(limits.__name__).keys() == {
        ("Limits", name) for name in limits.Limits.__dataclass_fields__
    }
    assert set(reports.FILES) == set(Report.__subclasses__())


def test_every_workspace_path_is_documented_with_writers_and_readers() -> None:
    found = rows(files.page().partition("## Outputs")[0])
    here = Workspace(Path())
    names = [
        name for name, value in vars(Workspace).items() if type(value).__name__ == "WorkspacePath"
    ]
    assert found.keys() == {here.name(getattr(here, name)) for name in names}
    assert found["artifacts/model.onnx"][2:] == ["`export`", "`evaluate`, `release`"]


def test_make_help_is_rendered_as_tables() -> None:
    shown = "  make help  list\n\nThe pipeline\n  make repro  run it\n  make fast  run less\n"
    page = make.from_help(shown)
    titles = [line for line in page.splitlines() if line.startswith("#")]
    assert titles == ["## Help", "## The pipeline"]
    assert rows(page)["make fast"][1] == "Run less."
