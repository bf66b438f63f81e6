"""Names, folders and patterns select the files that people expect."""

from pathlib import Path

import pytest

from pipeline.batch.input_files import find_input_files


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["."], ["a.png", "b.JPG", "deep/c.tif", "deep/d.npy", "deep/t10k-images-idx3-ubyte.gz"]),
        (["deep"], ["deep/c.tif", "deep/d.npy", "deep/t10k-images-idx3-ubyte.gz"]),
        (["*.png"], ["a.png"]),
        (["**/*.tif", "a.png"], ["deep/c.tif", "a.png"]),
        (["**/*.png"], ["a.png"]),
        (["__MACOSX/*.png", ".hidden.png"], ["__MACOSX/z.png", ".hidden.png"]),
        (["*"], ["a.png", "b.JPG", "notes.txt"]),
        (["odd[1].png"], ["odd[1].png"]),
        (["-", "missing.png"], ["-", "missing.png"]),
    ],
    ids=" ".join,
)
def test_files_are_found_by_name_folder_and_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str], found: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("deep", ".cache", "__MACOSX"):
        Path(folder).mkdir()
    names = ["a.png", "b.JPG", "notes.txt", "deep/c.tif", "deep/d.npy", "deep/labels.csv"]
    names += ["deep/t10k-images-idx3-ubyte.gz", "deep/t10k-labels-idx1-ubyte.gz"]
    names += [".hidden.png", "deep/._c.tif", ".cache/x.png", "__MACOSX/z.png"]
    for name in [*names, *(name for name in asked if name.startswith("odd"))]:
        Path(name).touch()
    assert find_input_files(asked).files == found


def test_ignored_files_of_a_folder_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.avif", "c.AVIF", "d.heic", "Makefile", ".DS_Store", "e.parquet"):
        (tmp_path / name).touch()
    find_input_files([str(tmp_path)]).report()
    said = "ignored: 2 .avif, 1 .heic, 1 .parquet, 1 without suffix\n"
    assert capsys.readouterr().err == said
    assert find_input_files([str(tmp_path)], tables=True).files[1:] == [str(tmp_path / "e.parquet")]


def test_only_the_most_frequent_ignored_kinds_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "1.h", "2.h", "1.g", "1.f", "1.e", "1.d", "1.c", "1.b", "1.a"):
        (tmp_path / name).touch()
    find_input_files([str(tmp_path)]).report()
    said = capsys.readouterr().err
    assert "2 .h, 1 .a, 1 .b, 1 .c, 1 .d, 1 .e, 2 " in said
    assert ".f" not in said


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    scans, elsewhere = tmp_path / "scans", tmp_path / "elsewhere"
    (scans / "a").mkdir(parents=True)
    elsewhere.mkdir()
    for path in (scans / "a/1.png", elsewhere / "2.png"):
        path.touch()
    (scans / "0-again").symlink_to("a")
    (scans / "itself").symlink_to(".")
    (scans / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(scans)
    assert find_input_files([str(scans)]).files == [f"{scans}/a/1.png", f"{scans}/linked/2.png"]
