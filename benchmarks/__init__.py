"""Measurements of the project next to other ways of doing the same work.

Each subject has a folder. `python -m benchmarks` lists the benchmarks; `python -m benchmarks NAME`
calls `main` of the benchmark's module and writes reports/benchmarks/NAME.json for programs and
NAME.md for people.
"""
