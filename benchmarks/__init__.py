"""Measurements, beside other ways of doing the same work; `python -m benchmarks` lists them.

A folder for each subject. `python -m benchmarks NAME` calls `main` of the benchmark's module and
writes reports/benchmarks/NAME.json for programs and NAME.md for people.
"""
