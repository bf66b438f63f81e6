"""The network as a live spreadsheet: every number except the yellow inputs is a formula.

Each formula is stored with its value, for viewers that do not calculate. The file contains no
creation time: the same inputs give the same bytes.
"""

import io
from collections.abc import Sequence
from datetime import datetime

from xlsxwriter import Workbook
from xlsxwriter.worksheet import Worksheet

from pipeline.backprop import equations
from pipeline.backprop.cells import (
    INPUT_ROWS,
    INPUTS,
    NAMES,
    NETWORK,
    RATES,
    RATES_TOP,
    TOP,
    TRAINING,
    WORKINGS,
    as_formula,
    input_cell,
    rate_cell,
    row_cells,
    table_left,
    training_formula,
)
from pipeline.backprop.charts import line_chart
from pipeline.backprop.equations import as_text
from pipeline.backprop.network import LIMITS, Iteration, Training, gradient_without_parentheses
from pipeline.backprop.printing import set_up_pages
from pipeline.backprop.rates import FLOOR

GRADIENT = "#FFF2CC"
GROUPS = {  # of columns in a table of iterations, by the first column: heading and colour
    "iteration": ("", "#FFFFFF"),
    "t1": ("targets", "#E2EFDA"),
    "i1": ("inputs", "#E2EFDA"),
    "w1": ("weights to the hidden layer", "#DDEBF7"),
    "h1": ("hidden layer", "#EDEDED"),
    "w5": ("weights to the output layer", "#DDEBF7"),
    "o1": ("output layer", "#EDEDED"),
    "E1": ("errors", "#FCE4D6"),
    "∂E/∂w1": ("gradient of E_total", GRADIENT),
}


def build(training: Training, comparison: Sequence[Training], picture: bytes) -> bytes:
    """The workbook, as the bytes of an xlsx file.

    `comparison`: trainings with other learning rates, as long as `training`. `picture`: a PNG of
    the network.
    """
    content = io.BytesIO()
    with Workbook(content, {"in_memory": True}) as book:
        book.set_properties({"title": "Back-propagation by hand", "created": datetime(2000, 1, 1)})
        book.define_name("eta", f"={input_cell('η')}")
        sheets = _Sheets(book)
        sheets.write_network(training, picture)
        sheets.write_training(sheets.training, training, "eta")
        sheets.write_rates(comparison)
        for block, other in enumerate(comparison):
            sheets.write_training(sheets.workings, other, rate_cell(block), block)
        set_up_pages(
            sheets.network, sheets.training, sheets.rates, sheets.workings, len(comparison)
        )
    return content.getvalue()


class _Sheets:
    """The four sheets of the workbook, and the formats of their cells."""

    def __init__(self, book: Workbook) -> None:
        self.book = book
        self.network: Worksheet = book.add_worksheet(NETWORK)
        self.training: Worksheet = book.add_worksheet(TRAINING)
        self.rates: Worksheet = book.add_worksheet(RATES)
        self.workings: Worksheet = book.add_worksheet(WORKINGS)
        self.title = book.add_format({"bold": True, "font_size": 16})
        self.bold = book.add_format({"bold": True})
        self.input = book.add_format({"bg_color": "#FFFF00", "border": 1})
        self.count = book.add_format({"align": "center"})
        self.number = book.add_format({"num_format": "0.000000"})
        self.error = book.add_format({"num_format": "[<0.0000001]0.00000E+00;0.0000000000"})
        self.derivative = book.add_format({"num_format": "0.0000000000"})
        self.style = {"E": self.error, "∂": self.derivative}  # by first letter; else self.number
        heading = {"bold": True, "align": "center", "border": 1}
        self.column = {
            colour: book.add_format({**heading, "bg_color": colour})
            for _, colour in GROUPS.values()
        }

    def write_network(self, training: Training, picture: bytes) -> None:
        """Write the first sheet: inputs, network, loss, equations as text, and a correction."""
        sheet, start = self.network, training.iterations[0]
        sheet.set_column("A:A", 28)
        sheet.set_column("B:O", 11)
        sheet.set_column("C:C", 3)
        sheet.write("A1", "Back-propagation by hand", self.title)
        sheet.write("A2", "Change a yellow cell, and the training and its chart update.")
        for cell, heading in {"A4": "Inputs", "D4": "The network", "K4": "The loss"}.items():
            sheet.write(cell, heading, self.bold)
        values = {"η": training.learning_rate, **start.row()}
        for name, row in INPUT_ROWS.items():
            sheet.write(row, 0, f"{name}, {INPUTS[name]}")
            self.write_input(sheet, row, 1, values[name], name[0])
        image = {"image_data": io.BytesIO(picture), "x_scale": 0.8, "y_scale": 0.8}
        sheet.insert_image("D5", "network.png", image)
        loss = NAMES.index("E_total")
        chart = line_chart(self.book, TRAINING, TOP, len(training.iterations), [loss])
        chart.set_size({"width": 410, "height": 270})
        sheet.insert_chart("K5", chart)

        for top, column, heading, lines in (
            (18, 0, "Forward pass", equations.FORWARD),
            (18, 3, "Backward pass: output layer", equations.OUTPUT_LAYER),
            (25, 3, "Backward pass: hidden activations", equations.HIDDEN_ACTIVATIONS),
            (18, 10, "Backward pass: hidden layer", equations.HIDDEN_LAYER),
            (25, 10, "Update: all weights at once", equations.UPDATE),
        ):
            sheet.write(top, column, heading, self.bold)
            for row, (name, equation) in enumerate(lines.items(), start=top + 1):
                sheet.write_string(row, column, as_text(name, equation))
        self.write_correction(start, 36)

    def write_correction(self, start: Iteration, top: int) -> None:
        """Compare the gradients of w1 to w4 with those of the original's incorrect formulas."""
        note = (
            "The original omits the parentheses around ∂E1/∂a_h + ∂E2/∂a_h in the formulas for w1 "
            "to w4, so that a_h·(1 − a_h)·i multiplies only the second term. The values in the "
            "first iteration:"
        )
        self.network.write(top, 0, "A correction to the original", self.bold)
        self.network.write(top + 1, 0, note)
        self.network.write(top + 3, 0, "with parentheses: correct")
        self.network.write(top + 4, 0, "without: incorrect")
        row = start.row()
        cells = {name: f"{TRAINING}!{cell}" for name, cell in row_cells(row, TOP, 1).items()}
        wrong = gradient_without_parentheses(start)
        for n, (name, equation) in enumerate(equations.WITHOUT_PARENTHESES.items()):
            correct, original = f"={cells[name]}", as_formula(equation, cells)
            self.network.write(top + 2, 3 + n, name, self.column[GRADIENT])
            self.network.write_formula(top + 3, 3 + n, correct, self.number, row[name])
            self.network.write_formula(top + 4, 3 + n, original, self.number, wrong[n])

    def write_training(
        self, sheet: Worksheet, training: Training, rate: str, block: int = 0
    ) -> None:
        """Write a table of iterations, each computed from the row above.

        `rate`: a reference to the learning rate. `block`: the number of the table on its sheet.
        """
        left = table_left(block)
        starts = [n for n, name in enumerate(NAMES) if name in GROUPS]
        for first, end in zip(starts, [*starts[1:], len(NAMES)], strict=True):
            heading, colour = GROUPS[NAMES[first]]
            if heading:
                sheet.merge_range(0, left + first, 0, left + end - 1, heading, self.column[colour])
            for column in range(first, end):
                sheet.write(1, left + column, NAMES[column], self.column[colour])
        sheet.write_formula(0, left, f'="η = "&{rate}', self.bold, training.label)
        sheet.set_column(left, left + NAMES.index("E1") - 1, 11)
        sheet.set_column(left + NAMES.index("E1"), left + len(NAMES) - 1, 14)

        above: dict[str, str] = {}
        for number, row in enumerate(training.rows(), start=TOP):
            here = row_cells(NAMES, number, left)
            for column, (name, value) in enumerate(row.items(), start=left):
                formula = training_formula(name, here, above, rate)
                style = self.style.get(name[0], self.number)
                style = self.count if name == "iteration" else style
                sheet.write_formula(number, column, formula, style, value)
            above = here

    def write_rates(self, comparison: Sequence[Training]) -> None:
        """Write the losses, one column per learning rate, and their charts."""
        sheet, rows = self.rates, len(comparison[0].iterations)
        sheet.write("A1", "The same network with other learning rates", self.title)
        note = "Change a yellow rate, and its column and the charts update."
        sheet.write("A2", f"{note} A loss of 0 appears as {FLOOR:.0E} for the logarithmic chart.")
        sheet.write(RATES_TOP - 2, 0, "learning rate", self.bold)
        sheet.write(RATES_TOP - 1, 0, "iteration", self.column["#FFFFFF"])
        sheet.set_column(0, len(comparison), 15)
        for block, training in enumerate(comparison):
            column = 1 + block
            self.write_input(sheet, RATES_TOP - 2, column, training.learning_rate, "η")
            formula, style = f'="η = "&{rate_cell(block)}', self.column["#FCE4D6"]
            sheet.write_formula(RATES_TOP - 1, column, formula, style, training.label)
            for number, loss in enumerate(training.losses):
                row = RATES_TOP + number
                cells = row_cells(NAMES, TOP + number, table_left(block))
                formula = f"=MAX({WORKINGS}!{cells['E_total']},{FLOOR:.0E})"
                sheet.write_formula(row, column, formula, self.error, max(loss, FLOOR))
                if block == 0:
                    formula = f"={WORKINGS}!{cells['iteration']}"
                    sheet.write_formula(row, 0, formula, self.count, number)
        columns = range(1, 1 + len(comparison))
        for cell, title in (("J4", "Loss, linear axis"), ("J30", "Loss, logarithmic axis")):
            log = "logarithmic" in title
            chart = line_chart(self.book, RATES, RATES_TOP, rows, columns, title=title, log=log)
            chart.set_size({"width": 820, "height": 480})
            sheet.insert_chart(cell, chart)

    def write_input(self, sheet: Worksheet, row: int, column: int, value: float, kind: str) -> None:
        """Write a yellow cell, which accepts the same range of values as params.yaml."""
        low, high = LIMITS[kind]
        limits = {"validate": "decimal", "criteria": "between", "minimum": low, "maximum": high}
        message = {"error_message": f"Enter a number from {low:g} to {high:g}."}
        sheet.write(row, column, value, self.input)
        sheet.data_validation(row, column, row, column, limits | message)
