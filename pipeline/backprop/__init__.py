"""A network of two inputs, two hidden and two output neurons, trained by hand-derived gradients.

`network` has the equations as code, `equations` as text; `rates` compares learning rates; `diagram`
and `figures` draw; `workbook` writes the network as a live spreadsheet, with `cells`, `charts` and
`printing`. Nothing here uses PyTorch.
"""
