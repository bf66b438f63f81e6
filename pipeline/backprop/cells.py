"""The position of each number in the workbook, and the formula that computes it."""

import re
from collections.abc import Iterable, Mapping

from xlsxwriter.utility import xl_rowcol_to_cell

from pipeline.backprop import equations
from pipeline.backprop.equations import expand, substitute
from pipeline.backprop.network import COLUMNS

NETWORK, TRAINING, RATES, WORKINGS = "Network", "Training", "Learning rates", "Workings"
INPUTS = {  # the yellow cells, from top to bottom
    "η": "learning rate",
    "i1": "first input",
    "i2": "second input",
    "t1": "first target",
    "t2": "second target",
    "w1": "weight of i1 in h1",
    "w2": "weight of i2 in h1",
    "w3": "weight of i1 in h2",
    "w4": "weight of i2 in h2",
    "w5": "weight of a_h1 in o1",
    "w6": "weight of a_h2 in o1",
    "w7": "weight of a_h1 in o2",
    "w8": "weight of a_h2 in o2",
}
INPUT_ROWS = {name: row for row, name in enumerate(INPUTS, start=4)}
COMPUTED = equations.FORWARD | equations.OUTPUT_LAYER | equations.HIDDEN_LAYER
NAMES = ("iteration", *COLUMNS)  # of the columns of a table of iterations
TOP = 2  # row of the first iteration, below two rows of headings
RATES_TOP = 5  # row of the first losses in the sheet of learning rates, two below the rates


def training_formula(
    name: str, here: Mapping[str, str], above: Mapping[str, str], rate: str
) -> str:
    """The formula of a column in a table of iterations; `above` is empty for the first row."""
    if name in COMPUTED:
        return as_formula(COMPUTED[name], here)
    if not above:
        return "=0" if name == "iteration" else f"={input_cell(name)}"
    if name == "iteration":
        return f"={above[name]}+1"
    return as_formula(equations.UPDATE.get(name, name), {**above, "η": rate})


def as_formula(equation: str, cells: Mapping[str, str]) -> str:
    """An equation as a spreadsheet formula; limits the argument of exp, which overflows at 710."""
    formula = "=" + substitute(expand(equation), lambda name: cells[name])
    return re.sub(r"exp\((.+?)\)", r"EXP(MIN(709,\1))", formula)


def row_cells(names: Iterable[str], row: int, left: int) -> dict[str, str]:
    """References to the cells of a row, by column name; `left` is the first column."""
    return {name: xl_rowcol_to_cell(row, column) for column, name in enumerate(names, left)}


def input_cell(name: str) -> str:
    """An absolute reference to an input cell."""
    return f"{NETWORK}!{xl_rowcol_to_cell(INPUT_ROWS[name], 1, row_abs=True, col_abs=True)}"


def table_left(block: int) -> int:
    """The first column of a table of iterations; tables are side by side, one column apart."""
    return block * (len(NAMES) + 1)


def rate_cell(block: int) -> str:
    """An absolute reference to a learning rate in the comparison."""
    return f"'{RATES}'!{xl_rowcol_to_cell(RATES_TOP - 2, 1 + block, row_abs=True, col_abs=True)}"
