"""Keys and signed releases on the command line: made, used by other programs, and required."""

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from pipeline.core.files import read_checksums
from pipeline.registry.keys import make_keys
from pipeline.registry.signing import sign
from tests.checkout import PROJECT, needs_model, python
from tests.services import serving

pytestmark = needs_model
PICTURE = PROJECT / "docs/images/digit.png"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A copy of the released model's files."""
    folder = tmp_path / "release"
    folder.mkdir()
    for name in read_checksums(PROJECT / "models/SHA256SUMS"):
        shutil.copy(PROJECT / "models" / name, folder)
    return folder


def model_signing(*arguments: str) -> int:
    """The exit status of the program that comes with the package model-signing."""
    return python(Path.cwd(), "-m", "model_signing", *arguments).returncode


def test_keys_sign_a_release_that_other_programs_verify(tmp_path: Path, release: Path) -> None:
    result = python(tmp_path, "-m", "pipeline", "keys", "keys")
    assert result.returncode == 0, result.stderr
    public = tmp_path / "keys/release.pub"
    assert str(public.relative_to(tmp_path)) in result.stdout
    assert "PRIVATE KEY" not in result.stdout
    sign(release, tmp_path / "keys/release.key")
    signature = str(release / "release.sig")
    given = ["--signature", signature, "--public_key", str(public), str(release)]
    assert model_signing("verify", "key", *given) == 0
    (release / "MODEL_CARD.md").write_text("better than it is")
    assert model_signing("verify", "key", *given) != 0
    result = python(tmp_path, "-m", "pipeline", "keys", "keys")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1


def test_what_other_programs_sign_is_verified(tmp_path: Path, release: Path) -> None:
    private, public = make_keys(tmp_path / "keys")
    signature = str(release / "release.sig")
    given = ["--private_key", str(private), "--signature", signature, str(release)]
    assert model_signing("sign", "key", *given) == 0
    model = release / "mnist-cnn.onnx"
    command = ["-m", "pipeline", "predict", "--normalise", "--model", str(model), "--trust"]
    result = python(tmp_path, *command, str(public), str(PICTURE))
    assert result.returncode == 0, result.stderr


def test_keys_stay_out_of_git(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "sub").mkdir()
    (tmp_path / ".gitignore").write_text("/secret/\n")
    for folder in (".", "sub", "sub/new"):
        result = python(tmp_path, "-m", "pipeline", "keys", folder)
        assert result.returncode == 2
        assert not list(tmp_path.rglob("release.*"))
    assert python(tmp_path / "sub", "-m", "pipeline", "keys", "../secret").returncode == 0
    assert (tmp_path / "secret/release.key").exists()


@pytest.mark.parametrize("command", ["predict", "score", "serve"])
def test_an_unsigned_model_is_refused(tmp_path: Path, release: Path, command: str) -> None:
    _, public = make_keys(tmp_path / "keys")
    arguments = {
        "predict": [str(PICTURE)],
        "score": [str(PICTURE), "--output", "labels.parquet"],
        "serve": ["--port=0"],
    }
    trust = ["--model", str(release / "mnist-cnn.onnx"), "--trust", str(public)]
    result = python(tmp_path, "-m", "pipeline", command, *arguments[command], *trust)
    assert result.returncode == 2
    assert "release.sig" in result.stderr.splitlines()[-1]


def test_the_service_serves_only_what_a_trusted_key_has_signed(
    tmp_path: Path, release: Path
) -> None:
    private, public = make_keys(tmp_path / "keys")
    _, other = make_keys(tmp_path / "other")
    sign(release, private)
    model = ["--workers=1", "--model", str(release / "mnist-cnn.onnx")]
    trust = [*model, "--trust", str(other), "--trust", str(public)]
    with serving(tmp_path / "log", *trust) as (_, address):
        answer = httpx.post(f"{address}/predict", content=PICTURE.read_bytes())
        assert answer.status_code == 200
    command = ["-m", "pipeline", "predict", "--normalise", str(PICTURE), *model[1:], "--trust"]
    assert python(tmp_path, *command, str(public)).returncode == 0
    assert python(tmp_path, *command, str(other)).returncode == 2
    (release / "provenance.json").write_text("{}")
    assert python(tmp_path, *command, str(public)).returncode == 2
