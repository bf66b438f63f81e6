"""A network of two inputs, two hidden and two output neurons, trained by hand-derived gradients.

`network` holds the equations, `rates` compares learning rates, `workbook` is the same network as a
live spreadsheet, `figures` draws it. No torch here.
"""
