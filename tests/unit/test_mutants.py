"""Mutants: the faults inserted into a module, and the tests selected to detect them."""

import ast
from pathlib import Path

import pytest

from tests import mutants

MODULE = '''"""Prices."""

LIMIT = 10


def price(count: int, *, each: float = 1.5, member: bool = False) -> float:
    """What so many cost."""
    total = count * each
    if count >= LIMIT and not member:
        total -= round(total, ndigits=1) / 10
    return total


if __name__ == "__main__":
    print(price(3))
'''


def test_each_kind_of_fault_is_generated_once() -> None:
    made = mutants.mutants_of(Path("price.py"), MODULE, None)
    differences = [mutants.difference(mutant, MODULE) for mutant in made]
    added = {
        line.strip("+ ") for text in differences for line in text.splitlines() if "    +" in line
    }
    assert added == {
        "LIMIT = 21",
        "def price(count: int, *, each: float=4.0, member: bool=False) -> float:",
        "def price(count: int, *, each: float=1.5, member: bool=True) -> float:",
        "total = count / each",
        "if count > LIMIT and (not member):",
        "if count >= LIMIT or not member:",
        "if count >= LIMIT and member:",
        "pass",
        "total -= round(total) / 10",
        "total -= round(total, ndigits=3) / 10",
        "total -= round(total, ndigits=1) * 10",
        "total -= round(total, ndigits=1) / 21",
        "return None",
    }
    assert len(made) == len(added)
    assert all(ast.parse(mutant.source) for mutant in made)


def test_tests_are_selected_by_import_module_or_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "unit/test_prices.py": "from pipeline.shop import price, stock",
        "unit/test_stock.py": "import pipeline.shop.stock",
        "unit/test_till.py": "from pipeline.shop.price import total",
        "integration/test_price.py": "",
        "integration/test_shop.py": "",
        "integration/test_till.py": "from pipeline.shop.price import total",
    }
    for name, text in files.items():
        (tmp_path / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / name).write_text(text)
    assert mutants.tests_of(Path("pipeline/shop/price.py")) == [
        "tests/unit/test_prices.py",
        "tests/unit/test_till.py",
        "tests/integration/test_price.py",
        "tests/integration/test_shop.py",
    ]
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/front.py").write_text("from pipeline.tax import rate")
    (tmp_path / "tests/integration/test_front.py").touch()
    assert mutants.tests_of(Path("pipeline/tax.py")) == ["tests/integration/test_front.py"]
