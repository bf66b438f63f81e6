"""predict in its own process: streams, pipes, terminals, locales, imports, and leftovers."""

import json
import os
import re
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.inference.session import OnnxModel
from tests.checkout import MODEL, PROJECT, UNTRACKED, needs_model, python
from tests.digits import Images, make_digits

pytestmark = needs_model


def predict(
    folder: Path, *arguments: str | Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m pipeline predict` with the released model in a folder."""
    words = ["predict", "--model", *map(str, [MODEL, *arguments])]
    return python(folder, "-m", "pipeline", *words, **variables)


def bash(folder: Path, words: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run `predict` in bash with these words, which may include redirections."""
    command = f"{sys.executable} -m pipeline predict --model {MODEL} {words}"
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=UNTRACKED,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
    )


def write_pictures(folder: Path, images: Images, kind: str) -> list[str]:
    names = [f"{number}.{kind}" for number in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / name)
    return names


def test_a_picture_is_read_from_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "predict", "--format=jsonl", "-"]
    image = make_digits(1, seed=1)[0][0]
    Image.fromarray(image).save(tmp_path / "digit.png")
    with (tmp_path / "digit.png").open("rb") as picture:
        answer = subprocess.run(command, cwd=PROJECT, stdin=picture, capture_output=True)
    assert json.loads(answer.stdout)["image"] == "-"
    assert json.loads(answer.stdout)["digit"] == OnnxModel(MODEL).run(image[None])[0].argmax()
    broken = subprocess.run(command, cwd=PROJECT, input=b"no picture", capture_output=True)
    assert broken.returncode == 2
    assert broken.stderr.startswith(b"error: - cannot be read as images")


@pytest.mark.parametrize("form", ["table", "jsonl", "csv"])
def test_file_names_of_any_bytes_are_printed_in_any_locale(
    tmp_path: Path, ten: Images, form: str
) -> None:
    for name in (b"\xff.png", "\xe9.png".encode()):
        Image.fromarray(ten[4]).save(io := tmp_path / "a.png")
        io.rename(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    (tmp_path / os.fsdecode(b"\xfe.png")).write_bytes(b"no picture")
    strict = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = predict(tmp_path, "--format", form, ".", **strict)
    assert result.returncode == 2
    assert r"\udcff.png" in result.stdout.replace(r"\\", "\\")
    assert len(re.findall(r"\.png\W+(?:label\W+)?4", result.stdout)) == 2
    assert "cannot be read as images: " in result.stderr


@pytest.mark.timeout(60)
def test_a_pipe_is_read_if_named_but_not_as_part_of_a_folder(tmp_path: Path, ten: Images) -> None:
    write_pictures(tmp_path, ten[4:5], "png")
    os.mkfifo(tmp_path / "pipe.png")
    result = predict(tmp_path, "--format=csv", ".")
    assert result.returncode == 2
    assert result.stderr == "error: pipe.png is a pipe or a device, not a file\n"
    assert result.stdout.splitlines()[1].startswith("0.png,4,")
    piped = bash(tmp_path, "--format=csv <(cat 0.png)")
    assert re.search(r"^/dev/fd/\d+,4,", piped.stdout, re.MULTILINE)


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_closed_stream_is_an_error(tmp_path: Path, closed: str) -> None:
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(tmp_path / "a.png")
    result = bash(tmp_path, f"- a.png {closed}", stdin=subprocess.DEVNULL)
    assert result.returncode == 2
    assert re.fullmatch(r"error: standard (in|out)put is closed.*\n", result.stderr)


def test_predictions_are_printed_even_if_standard_error_is_closed(tmp_path: Path) -> None:
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(tmp_path / "a.png")
    result = bash(tmp_path, "--format=csv missing.png a.png 2>&-")
    assert (result.returncode, result.stdout.splitlines()[1][:8]) == (2, "a.png,0,")


def test_predict_ends_quietly_when_its_reader_stops_early(tmp_path: Path, ten: Images) -> None:
    np.save(tmp_path / "many.npy", np.tile(ten, (500, 1, 1)))
    result = bash(tmp_path, "--format jsonl many.npy | head -n 1")
    assert json.loads(result.stdout)["image"] == "many.npy[0]"
    assert result.stderr == ""


def test_many_files_show_a_progress_bar_on_a_terminal(tmp_path: Path, ten: Images) -> None:
    write_pictures(tmp_path, np.tile(ten, (20, 1, 1)), "png")
    main, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    bash(tmp_path, "--format csv .", stderr=terminal).check_returncode()
    shown = os.read(main, 10_000).decode()
    os.close(terminal)
    os.close(main)
    assert re.search(r"\d+%\|.*/200 \[.* files/s\]", shown)


def test_onnx_runtime_keeps_no_identifier_of_the_machine(tmp_path: Path) -> None:
    """Its telemetry would store one if enabled, except where CI is set."""
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(tmp_path / "digit.png")
    home = tmp_path / "home"
    home.mkdir()
    answer = predict(tmp_path, "digit.png", HOME=str(home), CI="", XDG_CACHE_HOME=str(home))
    assert answer.returncode == 0
    assert list(home.rglob("*")) == []


def test_predict_imports_no_torch(tmp_path: Path) -> None:
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(tmp_path / "digit.png")
    program = (
        f"import sys; sys.argv = ['pipeline', 'predict', '--model', {str(MODEL)!r}, 'digit.png']\n"
        "from pipeline.__main__ import main\n"
        "try: main()\n"
        "finally: print('loaded:', *sorted({'torch', 'mlflow', 'onnx'} & {*sys.modules}))"
    )
    result = python(tmp_path, "-c", program)
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1].split() == ["loaded:"]
