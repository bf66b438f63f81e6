"""The workbook computes the same numbers as the network in every spreadsheet program."""

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import formulas
import openpyxl
import pytest
from openpyxl.utils import get_column_letter

from pipeline.backprop import equations
from pipeline.backprop.network import LIMITS, Training, gradient_without_parentheses, train
from pipeline.config import load_params
from pipeline.core.files import read_csv
from pipeline.core.reports import BackpropReport
from pipeline.core.workspace import Workspace
from pipeline.stages import backprop
from tests.checkout import with_params

Table = list[dict[str, Any]]

BACKPROP, HISTORY = Path("reports/backprop"), Path("reports/backprop/history.csv")
NAME = "BackPropagation.xlsx"
FIRST = 3  # row of iteration 0 in the sheets Training and Workings
FIRST_LOSS = 6  # row of iteration 0 in the sheet Learning rates
GIVEN = ["t1", "t2", "i1", "i2", *(f"w{n}" for n in range(1, 9))]
START = {"w1": -1.2, "t1": 0.9, "i2": 2.0}  # other initial values for the yellow cells
EXTREME = {"η": 100, "i1": -10, "i2": 10, "t1": 0.03, "t2": 0.04}  # h2 soon reaches -11,580
EXTREME |= zip(GIVEN[4:], (0.04, 0.39, -0.32, -0.35, -2.7, 8.4, -2.7, 9.6), strict=True)
CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"


def run_stage(folder: Path, **changes: Any) -> Path:
    """Run the stage without figures, with the project's params and changes; return the folder."""
    workspace = Workspace(with_params(folder, **changes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backprop, "save_figure", lambda *_: None)  # takes seconds
        backprop.explain(workspace, load_params(workspace.params).backprop)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the stage ran with the project's params."""
    return run_stage(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which it ran with fewer updates, one learning rate, and random weights."""
    changes = {"weights": "random", "seed": 7, "learning_rate": 3.0, "learning_rates": [0.3]}
    return run_stage(tmp_path_factory.mktemp("other"), updates=5, long_run=5, **changes)


def report(folder: Path) -> BackpropReport:
    return BackpropReport.read(Workspace(folder).backprop_summary)


def trained(folder: Path, **yellow: float) -> Training:
    """Train the network with a folder's params, except for the given yellow cells."""
    params = report(folder).params
    start = dict(
        zip(GIVEN, [*params["targets"], *params["inputs"], *params["weights"]], strict=True)
    )
    t1, t2, i1, i2, *weights = ((start | yellow)[name] for name in GIVEN)
    rate = yellow.get("η", params["learning_rate"])
    w1, w2, w3, w4, w5, w6, w7, w8 = weights
    return train((i1, i2), (t1, t2), (w1, w2, w3, w4, w5, w6, w7, w8), rate, params["updates"])


def tables(sheet: Any) -> list[Table]:
    """The side-by-side tables in a sheet, each of which starts with a column "iteration"."""
    lines = list(sheet.iter_rows(values_only=True))
    top = next(n for n, line in enumerate(lines) if "iteration" in line)
    found = []
    for left in (n for n, name in enumerate(lines[top]) if name == "iteration"):
        names = list(takewhile(bool, lines[top][left:]))
        found.append([dict(zip(names, line[left:], strict=False)) for line in lines[top + 1 :]])
    return found


def differences(found: Table, expected: list[dict[str, float]]) -> list[tuple[int, str]]:
    """The iteration and column of each number that differs from the expected one."""
    assert [list(row) for row in found] == [list(row) for row in expected]
    return [
        (number, name)
        for number, (row, right) in enumerate(zip(found, expected, strict=True))
        for name, value in right.items()
        if row[name] != pytest.approx(value, rel=1e-12, abs=1e-18)
    ]


def correction(book: Any) -> list[list[float]]:
    """The two rows on the first sheet that show the original's error."""
    lines = [list(line) for line in book["Network"].iter_rows(values_only=True)]
    top = next(n for n, line in enumerate(lines) if "∂E/∂w1" in line)
    left = lines[top].index("∂E/∂w1")
    assert lines[top][left : left + 4] == [f"∂E/∂w{n}" for n in range(1, 5)]
    return [line[left : left + 4] for line in lines[top + 1 : top + 3]]


def inputs(book: Any) -> dict[str, Any]:
    """The yellow cells of the first sheet, by name."""
    return {label.value.split(",")[0]: cell for label, cell in book["Network"]["A5:B17"]}


def fill(values: Mapping[str, float]) -> Callable[[Any], None]:
    """A function that writes these values into the yellow cells of a book."""

    def write(book: Any) -> None:
        for name, value in values.items():
            inputs(book)[name].value = value

    return write


def change_a_rate(book: Any) -> None:
    book["Learning rates"]["B4"] = 20  # brings the loss to 0 early


def save_variant(folder: Path, path: Path, change: Callable[[Any], None]) -> None:
    """Save a folder's workbook with a change; openpyxl drops the computed values."""
    book = openpyxl.load_workbook(folder / BACKPROP / NAME)
    change(book)
    book.save(path)


def libreoffice(folder: Path, kind: str) -> Path:
    """Convert all workbooks in a folder to xlsx or pdf with LibreOffice; return their folder."""
    if shutil.which("soffice") is None:
        pytest.skip("LibreOffice is not installed")
    profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    books = [str(path) for path in sorted(folder.glob("*.xlsx"))]
    subprocess.run(
        ["soffice", profile, "--headless", "--convert-to", kind, "--outdir", folder / kind, *books],
        env=os.environ | {"LC_ALL": "C.UTF-8"},  # decimal points
        check=True,
        capture_output=True,
    )
    return folder / kind


@pytest.fixture(scope="module")
def recomputed(made: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Workbooks saved without values, some with changes, recomputed by LibreOffice."""
    folder = tmp_path_factory.mktemp("recomputed")
    save_variant(other, folder / "other.xlsx", fill({}))
    for name, change in {
        "unchanged": fill({}),
        "eta": fill({"η": 0.5}),
        "start": fill(START),
        "extreme": fill(EXTREME),
        "rate": change_a_rate,
    }.items():
        save_variant(made, folder / f"{name}.xlsx", change)
    valueless = openpyxl.load_workbook(folder / "unchanged.xlsx", data_only=True)
    assert {value for row in tables(valueless["Training"])[0] for value in row.values()} == {None}
    return libreoffice(folder, "xlsx")


def opened(folder: Path, name: str = NAME) -> Any:
    """A workbook with the values it was saved with."""
    return openpyxl.load_workbook(folder / name, data_only=True)


def check_values(book: Any, folder: Path) -> None:
    """Check that every number in a book matches the tables that the stage wrote next to it."""
    (training,), (compared,) = tables(book["Training"]), tables(book["Learning rates"])
    assert differences(training, read_csv(folder / HISTORY)) == []
    expected = read_csv(folder / BACKPROP / "learning_rates.csv")
    assert differences(compared, expected) == []
    rates = report(folder).params["learning_rates"]
    for rate, workings in zip(rates, tables(book["Workings"]), strict=True):
        assert differences(workings, trained(folder, η=rate).rows()) == []
    right, wrong = correction(book)
    assert right == pytest.approx(report(folder).first_gradient[:4], rel=1e-12)
    assert wrong == pytest.approx(report(folder).first_gradient_without_parentheses, rel=1e-12)


def test_a_viewer_that_cannot_calculate_shows_the_right_numbers(made: Path) -> None:
    check_values(opened(made / BACKPROP), made)


def test_another_program_computes_the_same_numbers(made: Path, recomputed: Path) -> None:
    check_values(opened(recomputed, "unchanged.xlsx"), made)


@pytest.mark.parametrize(
    ("variant", "yellow"),
    [
        ("eta", {"η": 0.5}),
        ("start", START),
        ("extreme", EXTREME),
    ],
    ids=["learning rate", "other start values", "extreme"],
)
def test_a_changed_yellow_cell_changes_the_training(
    made: Path, recomputed: Path, variant: str, yellow: dict[str, float]
) -> None:
    book, expected = opened(recomputed, f"{variant}.xlsx"), trained(made, **yellow)
    (training,) = tables(book["Training"])
    assert differences(training, expected.rows()) == []
    right, wrong = correction(book)
    start = expected.iterations[0]
    assert right == pytest.approx(start.backward.gradient[:4], rel=1e-12)
    assert wrong == pytest.approx(gradient_without_parentheses(start), rel=1e-12)


def test_a_changed_rate_changes_only_its_column(made: Path, recomputed: Path) -> None:
    book = opened(recomputed, "rate.xlsx")
    (compared,), (training,) = tables(book["Learning rates"]), tables(book["Training"])
    before = read_csv(made / BACKPROP / "learning_rates.csv")
    _, _, *others = before[0]
    expected = [
        {
            "iteration": row["iteration"],
            "η = 20": max(loss, 1e-34),
            **{name: row[name] for name in others},
        }
        for row, loss in zip(before, trained(made, η=20).losses, strict=True)
    ]
    assert differences(compared, expected) == []
    assert differences(training, read_csv(made / HISTORY)) == []


def test_a_workbook_with_other_params_computes_the_same_numbers(
    other: Path, recomputed: Path
) -> None:
    for book in (opened(other / BACKPROP), opened(recomputed, "other.xlsx")):
        check_values(book, other)
        assert len(tables(book["Training"])[0]) == 6
        assert book["Training"]["A1"].value == "η = 3"
    check_charts(other)


def test_a_third_program_computes_the_same_training(made: Path, tmp_path: Path) -> None:
    def cut(book: Any) -> None:  # `formulas` takes half a minute for the whole book
        del book["Learning rates"], book["Workings"]

    save_variant(made, tmp_path / NAME, cut)
    model = formulas.ExcelModel().loads(str(tmp_path / NAME)).finish()
    for rate in (trained(made).learning_rate, 0.5):
        values = model.calculate(inputs={f"'[{NAME}]NETWORK'!B5": rate})
        expected = trained(made, η=rate).rows()
        found = [
            {
                name: values[f"'[{NAME}]TRAINING'!{get_column_letter(column)}{row}"].value[0, 0]
                for column, name in enumerate(expected[0], start=1)
            }
            for row in range(FIRST, FIRST + len(expected))
        ]
        assert differences(found, expected) == []


def test_every_number_outside_the_yellow_cells_is_a_formula(made: Path) -> None:
    book = openpyxl.load_workbook(made / BACKPROP / NAME)
    cells = {
        (sheet.title, cell.coordinate): cell for sheet in book for row in sheet for cell in row
    }
    yellow = {place for place, cell in cells.items() if cell.fill.fgColor.rgb == "FFFFFF00"}
    rates = report(made).params["learning_rates"]
    assert yellow == {
        *(("Network", f"B{row}") for row in range(5, 18)),
        *(("Learning rates", f"{get_column_letter(2 + n)}4") for n in range(len(rates))),
    }
    assert yellow == {place for place, cell in cells.items() if isinstance(cell.value, int | float)}
    for cell in cells.values():
        assert not re.search(r"^=.*\d\.\d", str(cell.value)), "a pasted number in a formula"


def test_each_iteration_is_computed_from_the_row_above(made: Path) -> None:
    book = openpyxl.load_workbook(made / BACKPROP / NAME)
    (training,), workings = tables(book["Training"]), tables(book["Workings"])
    rates = [f"'Learning rates'!${get_column_letter(2 + n)}$4" for n in range(len(workings))]
    for rate, table in zip(["eta", *rates], [training, *workings], strict=True):
        given = {name: f"=Network!$B${cell.row}" for name, cell in inputs(book).items()}
        assert {name: table[0][name] for name in GIVEN} == {name: given[name] for name in GIVEN}
        for number, row in enumerate(table, start=FIRST):
            for name, formula in row.items():
                assert formula[0] == "="
                rows = {int(digits) for digits in re.findall(r"\b[A-Z]+(\d+)", formula)}
                if name not in [*GIVEN, "iteration"]:
                    assert rows == {number}
                elif number > FIRST:
                    assert rows == {number - 1}
                assert (rate in formula) is (name[0] == "w" and number > FIRST)
    for cells in book["Learning rates"].iter_rows(min_row=FIRST_LOSS, min_col=2, values_only=True):
        assert all(formula.startswith("=MAX(Workings!") for formula in cells)


def test_table_headings_stay_visible_on_screen_and_in_print(made: Path) -> None:
    book = openpyxl.load_workbook(made / BACKPROP / NAME)
    assert book.sheetnames == ["Network", "Training", "Learning rates", "Workings"]
    assert [sheet.freeze_panes for sheet in book] == [None, "B3", "B6", "A3"]
    for sheet in book:
        assert sheet.page_setup.orientation == "landscape"
        assert sheet.print_area
    assert book["Training"].print_title_rows == book["Workings"].print_title_rows == "$1:$2"
    assert book["Training"].print_title_cols == "$A:$A"
    assert all(book[name].page_setup.scale >= 70 for name in ("Training", "Workings"))


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="poppler is not installed")
def test_no_number_is_wider_than_its_column(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / BACKPROP / NAME, tmp_path / "whole.xlsx")
    limits = dict.fromkeys(GIVEN[4:], -10) | dict.fromkeys(("i1", "i2", "w1", "w2"), 10)
    save_variant(made, tmp_path / "limits.xlsx", fill(limits))
    shown = {
        path.stem: subprocess.check_output(["pdftotext", "-layout", path, "-"], text=True)
        for path in libreoffice(tmp_path, "pdf").iterdir()
    }
    assert f"{trained(made).losses[-1]:.10f}" in shown["whole"]
    assert "-200.000000" in shown["limits"]
    assert not [name for name, text in shown.items() if "###" in text]


def check_charts(folder: Path) -> None:
    """Check that three native line charts show every row, the last on a logarithmic axis."""
    with zipfile.ZipFile(folder / BACKPROP / NAME) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("xl/charts/chart"))
        charts = [ElementTree.fromstring(archive.read(name)) for name in names]
    shown = [
        [
            tuple(
                reference.text
                for kind in ("cat", "val")
                for reference in line.iterfind(f"{CHART}{kind}//{CHART}f")
            )
            for line in chart.iterfind(f".//{CHART}lineChart/{CHART}ser")
        ]
        for chart in charts
    ]
    history = read_csv(folder / HISTORY)
    rates = read_csv(folder / BACKPROP / "learning_rates.csv")

    def column(sheet: str, number: int, first: int) -> str:
        letter, last = get_column_letter(number), first + len(history) - 1
        return f"{sheet}!${letter}${first}:${letter}${last}"

    loss = column("Training", 1 + list(history[0]).index("E_total"), FIRST)
    lines = [
        (column("'Learning rates'", 1, FIRST_LOSS), column("'Learning rates'", number, FIRST_LOSS))
        for number in range(2, 1 + len(rates[0]))
    ]
    assert shown == [[(column("Training", 1, FIRST), loss)], lines, lines]
    logarithmic = [chart.find(f".//{CHART}valAx//{CHART}logBase") is not None for chart in charts]
    assert logarithmic == [False, False, True]


def test_native_charts_show_every_row(made: Path) -> None:
    check_charts(made)


def test_the_first_sheet_shows_the_network_and_all_equations(made: Path) -> None:
    """In cells, since screen readers and most programs other than Excel ignore drawings."""
    with zipfile.ZipFile(made / BACKPROP / NAME) as archive:
        related = archive.read("xl/drawings/_rels/drawing1.xml.rels").decode()
        assert archive.read("xl/media/image1.png").startswith(b"\x89PNG")
    assert "../media/image1.png" in related
    sheet = openpyxl.load_workbook(made / BACKPROP / NAME)["Network"]
    lines = {cell.value for row in sheet.iter_rows() for cell in row if isinstance(cell.value, str)}
    assert "h1 = w1·i1 + w2·i2" in lines
    assert "∂E_total/∂w1 = ∂E_total/∂a_h1 · a_h1·(1 − a_h1)·i1" in lines
    explained = {re.split(" [=←] ", line)[0].replace("E_total/", "E/") for line in lines}
    assert explained >= {
        *(*equations.FORWARD, *equations.OUTPUT_LAYER, *equations.HIDDEN_ACTIVATIONS),
        *(*equations.HIDDEN_LAYER, *equations.UPDATE),
    }


def test_a_yellow_cell_has_the_limits_of_its_parameter(made: Path) -> None:
    book = openpyxl.load_workbook(made / BACKPROP / NAME)
    limits = {
        (sheet.title, str(rule.sqref)): (rule.type, float(rule.formula1), float(rule.formula2))
        for sheet in book
        for rule in sheet.data_validations.dataValidation
    }
    yellow = {("Network", cell.coordinate): name for name, cell in inputs(book).items()}
    rates = book["Learning rates"][4][1:]
    yellow |= {("Learning rates", cell.coordinate): "η" for cell in rates if cell.value}
    assert limits == {place: ("decimal", *LIMITS[name[0]]) for place, name in yellow.items()}
    assert book.defined_names["eta"].attr_text == "Network!$B$5"


def test_the_file_is_small_and_contains_no_time_stamp(made: Path) -> None:
    path = made / BACKPROP / NAME
    assert path.stat().st_size < 1_000_000
    with zipfile.ZipFile(path) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        properties = archive.read("docProps/core.xml").decode()
    assert set(re.findall(r"\d{4}-\d\d-\d\dT[^<]*", properties)) == {"2000-01-01T00:00:00Z"}
