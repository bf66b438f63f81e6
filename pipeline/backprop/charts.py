"""The workbook's native charts, which update with its cells."""

from collections.abc import Sequence

from xlsxwriter import Workbook
from xlsxwriter.chart import Chart

GRID = "#D9D9D9"


def line_chart(
    book: Workbook,
    sheet: str,
    top: int,
    rows: int,
    columns: Sequence[int],
    *,
    title: str = "",
    log: bool = False,
) -> Chart:
    """A line chart of columns of a sheet, from row `top`, against the iterations in column A.

    Without a title, it has no legend either.
    """
    chart = book.add_chart({"type": "line"})
    bottom = top + rows - 1
    for column in columns:
        chart.add_series(
            {
                "name": [sheet, top - 1, column],
                "categories": [sheet, top, 0, bottom, 0],
                "values": [sheet, top, column, bottom, column],
                "line": {"width": 2},
            }
        )
    interval = max(1, (rows - 1) // 6)
    labels = {"interval_unit": interval, "label_position": "low", "major_tick_mark": "none"}
    chart.set_x_axis({"name": "iteration", **labels})
    y_axis = {"name": "E_total", "major_gridlines": {"visible": True, "line": {"color": GRID}}}
    scale = {"log_base": 10, "num_format": "0E+00"} if log else {"num_format": "0.000"}
    chart.set_y_axis(y_axis | scale)
    if title:
        chart.set_title({"name": title, "name_font": {"size": 12}})
    else:
        chart.set_title({"none": True})
        chart.set_legend({"none": True})
    return chart
