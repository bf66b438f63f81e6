"""The page setup of the workbook's sheets, and the headings that stay in view on a screen."""

from xlsxwriter.worksheet import Worksheet

from pipeline.backprop.cells import NAMES, RATES_TOP, TOP, table_left

A3, A4 = 8, 9  # Excel's numbers of paper sizes


def set_up_pages(
    network: Worksheet, training: Worksheet, rates: Worksheet, workings: Worksheet, blocks: int
) -> None:
    """Freeze headings and set up the pages; `workings` has `blocks` tables side by side."""
    for sheet in (network, training, rates, workings):
        sheet.set_landscape()
        sheet.set_paper(A4 if sheet is network else A3)
        sheet.set_footer("&L&F, &A&RPage &P of &N")
        sheet.set_margins(0.4, 0.4, 0.5, 0.6)
    for sheet in (training, workings):
        sheet.freeze_panes(TOP, 1 if sheet is training else 0)
        sheet.repeat_rows(0, TOP - 1)
        sheet.print_area(0, 0, sheet.dim_rowmax, sheet.dim_colmax)
    network.print_area("A1:P42")
    network.fit_to_pages(1, 1)
    training.repeat_columns(0)
    training.set_print_scale(70)
    training.set_v_pagebreaks([NAMES.index("o1")])
    workings.set_print_scale(70)
    middle = NAMES.index("o1")  # a table on two pages
    breaks = [table_left(block) + column for block in range(blocks) for column in (0, middle)]
    workings.set_v_pagebreaks(breaks[1:])
    rates.freeze_panes(RATES_TOP, 1)
    rates.print_area(0, 0, max(rates.dim_rowmax, 54), 22)  # with the charts
    rates.fit_to_pages(1, 0)
