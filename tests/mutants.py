"""python -m tests.mutants: do the tests notice small faults in changed code?

    python -m tests.mutants                             # 40 mutants of the changes since main
    python -m tests.mutants --count 10 pipeline/training/recipe.py

Creates mutants, one at a time, in a copy of the checkout: a comparison, operator or number is
replaced, a `not`, keyword argument or statement is dropped, or None is returned. In modules that
differ from the base, only changed lines are mutated; in modules given, every line. Runs the tests
of the module until one fails: unit tests that import it, then tests named after it or its package.
An unnoticed mutant means a missing test or a change without effect: inspect each. Exit status 1:
fewer than 95 % were noticed. Run it in the folder of the checkout.
"""

import argparse
import ast
import difflib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

KINDS = ["unit", "integration"]  # of tests, fast ones first
CODE = ["pipeline", "benchmarks"]
NOTICED = 0.95
SECONDS = 300  # time limit per mutant; a timeout counts as noticed

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip


class Mutant(NamedTuple):
    """A module with one fault."""

    path: Path
    line: int
    source: str


class Mutator(ast.NodeTransformer):
    """Count the possible faults of a module, and insert the chosen one."""

    def __init__(self, chosen: int = -1) -> None:
        self.chosen = chosen
        self.lines: list[int] = []  # of each fault

    def put_in(self, node: ast.expr | ast.stmt) -> bool:
        """Count a fault; returns whether it is the chosen one."""
        self.lines.append(node.lineno)
        return len(self.lines) - 1 == self.chosen

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        for position, operator in enumerate(node.ops):
            if self.put_in(node):
                node.ops[position] = COMPARISONS[type(operator)]()
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        text = isinstance(node.left, ast.Constant | ast.JoinedStr) and not _is_number(node.left)
        if type(node.op) in OPERATORS and not text and self.put_in(node):
            node.op = OPERATORS[type(node.op)]()
        return self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        if self.put_in(node):
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if isinstance(node.op, ast.Not) and self.put_in(node):
            return node.operand
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool | int | float) and self.put_in(node):
            other = (not node.value) if isinstance(node.value, bool) else 2 * node.value + 1
            return ast.copy_location(ast.Constant(other), node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        for keyword in list(node.keywords):
            if keyword.arg not in (None, "strict") and self.put_in(keyword.value):
                node.keywords.remove(keyword)
        return self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> ast.AST:
        if node.value is not None and self.put_in(node):
            node.value = ast.Constant(None)
        return self.generic_visit(node)

    def drop(self, node: ast.stmt) -> ast.AST:
        """Replace a statement by `pass`, except a docstring."""
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return node
        return (
            ast.copy_location(ast.Pass(), node) if self.put_in(node) else self.generic_visit(node)
        )

    visit_Expr = visit_AugAssign = visit_Raise = drop  # noqa: N815

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)  # a type has no effect
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        arguments = node.args
        arguments.defaults = [self.visit(each) for each in arguments.defaults]
        arguments.kw_defaults = [each and self.visit(each) for each in arguments.kw_defaults]
        node.body = [self.visit(each) for each in node.body]
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [self.visit(each) for each in node.body]  # not `@dataclass(frozen=True)`
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        return node if ast.unparse(node.test).startswith("__name__") else self.generic_visit(node)


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def mutants_of(path: Path, source: str, lines: set[int] | None) -> list[Mutant]:
    """Every mutant of a module in these lines (None: all lines)."""
    counter = Mutator()
    counter.visit(ast.parse(source))
    found = []
    for number, line in enumerate(counter.lines):
        if lines is None or line in lines:
            tree = ast.fix_missing_locations(Mutator(number).visit(ast.parse(source)))
            found.append(Mutant(path, line, ast.unparse(tree)))
    return found


def difference(mutant: Mutant, source: str) -> str:
    """The diff of a mutant, without comments."""
    whole = ast.unparse(ast.parse(source)).splitlines()
    changes = list(difflib.unified_diff(whole, mutant.source.splitlines(), n=0, lineterm=""))[2:]
    return "\n".join(f"    {line}" for line in changes if not line.startswith("@@"))


def changed_lines(base: str) -> dict[Path, set[int] | None]:
    """The modules that differ from the base, with the changed lines (None: a new module)."""
    start = git("merge-base", base, "HEAD").strip()
    found: dict[Path, set[int] | None] = {}
    for name in git("ls-files", "--others", "--exclude-standard", "--", *CODE).splitlines():
        found[Path(name)] = None
    diff = git("diff", "--unified=0", "--diff-filter=d", start, "--", *CODE)
    for part in diff.split("\n+++ b/")[1:]:
        hunks = re.findall(r"^@@ \S+ \+(\d+)(?:,(\d+))? @@", part, re.MULTILINE)
        found[Path(part.partition("\n")[0])] = {
            line
            for first, count in hunks
            for line in range(int(first), int(first) + int(count or 1))
        }
    return {path: lines for path, lines in found.items() if path.suffix == ".py"}


def git(*arguments: str) -> str:
    """Run git; returns its output, or raises SystemExit with its error."""
    result = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"error: {result.stderr.strip()}")
    return result.stdout


def tests_of(path: Path) -> list[str]:
    """The test files of a module, fast ones first.

    If it has none, those of the modules that import it.
    """
    importing = importers(path, sorted(Path("tests/unit").rglob("test_*.py")))
    named = [Path(f"tests/{kind}/test_{name}.py") for kind in KINDS for name in names_of(path)]
    found = [str(test) for test in [*importing, *named] if test.exists()]
    if not found:
        users = importers(path, sorted(Path(path.parts[0]).rglob("*.py")))
        found = [test for user in users for test in tests_of(user)]
    return list(dict.fromkeys(found))


def importers(path: Path, files: list[Path]) -> list[Path]:
    """The files that import a module."""
    module = ".".join(path.with_suffix("").parts)
    return [file for file in files if module in imports_of(file)]


def names_of(path: Path) -> list[str]:
    """The names that tests of a module can have: its own, or those of its packages."""
    return [path.stem, *reversed(path.parent.parts[1:])]


def imports_of(file: Path) -> set[str]:
    """The modules that a file imports, and the names that it imports from modules."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def copy_checkout(scratch: Path) -> Path:
    """Copy the checkout, and link the mirror that params.yaml expects next to it."""
    target = scratch / "checkout"
    for name in git("ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if Path(name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, target / name)
    if (mirror := Path("../shared").absolute()).is_dir():
        (scratch / "shared").symlink_to(mirror.resolve())
    return target


def notice(checkout: Path, tests: list[str]) -> bool:
    """Whether a test fails in the copy, or the tests time out."""
    options = ["--numprocesses=0", "-x", "-q", "-p", "no:cacheprovider"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=checkout,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # of the previous mutant
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(SECONDS) != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(modules: list[Path], base: str, count: int, seed: int) -> bool:
    """Try a sample of the mutants; returns whether enough were noticed."""
    touched = dict.fromkeys(modules) if modules else changed_lines(base)
    sources = {path: path.read_text(encoding="utf-8") for path in touched}
    every = [m for path, lines in touched.items() for m in mutants_of(path, sources[path], lines)]
    sample = random.Random(seed).sample(every, min(count, len(every)))
    print(f"{len(sample)} of {len(every)} mutants in {len(touched)} modules")
    survivors = []
    with tempfile.TemporaryDirectory() as scratch:
        checkout = copy_checkout(Path(scratch))
        for tests in {tuple(tests_of(mutant.path)) for mutant in sample} - {()}:
            if notice(checkout, list(tests)):
                sys.exit(f"error: {' '.join(tests)} fail without any mutant")
        for mutant in sample:
            place, tests_here = checkout / mutant.path, tests_of(mutant.path)
            place.write_text(mutant.source, encoding="utf-8")
            noticed = bool(tests_here) and notice(checkout, tests_here)
            place.write_text(sources[mutant.path], encoding="utf-8")
            what = (
                "noticed" if noticed else "SURVIVED" if tests_here else "SURVIVED, no tests known"
            )
            print(f"{what}: {mutant.path}:{mutant.line}", flush=True)
            if not noticed:
                survivors.append(mutant)
    for mutant in survivors:
        print(f"\n{mutant.path}:{mutant.line}\n{difference(mutant, sources[mutant.path])}")
    share = 1 - len(survivors) / len(sample) if sample else 1.0
    print(f"\n{share:.0%} noticed")
    return share >= NOTICED


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", type=Path, help="instead of changed code")
    parser.add_argument("--base", default="main", help="revision to compare with (main)")
    parser.add_argument("--count", type=int, default=40, help="mutants to draw at random (40)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the draw (1)")
    sys.exit(0 if main(**vars(parser.parse_args())) else 1)
