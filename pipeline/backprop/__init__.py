"""A network of two inputs, two hidden and two output neurons, trained by hand-derived gradients.

`network` has the equations as code, `equations` as text; `rates` tries learning rates; `diagram`
and `figures` draw; `workbook` is the network as a live spreadsheet, with `cells` for its formulas.
No torch here.
"""
