"""Signatures of releases: what a trusted key has signed, and nothing else, can be used."""

import base64
import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from model_signing import verifying

from pipeline.config import load_params
from pipeline.core.errors import UserError
from pipeline.core.files import sha256
from pipeline.core.workspace import Workspace
from pipeline.inference import Classifier
from pipeline.inference.trust import SIGNATURE, verify_model
from pipeline.mnist import TASK
from pipeline.registry import acts, open_classifier, provenance
from pipeline.registry.keys import default_folder, make_keys
from pipeline.registry.releases import Releases
from pipeline.registry.signing import sign, signing_key, verify
from pipeline.stages import release
from tests.releases import answer, make_workspace, stub

FILES = ["mnist-cnn.onnx", "MODEL_CARD.md", "provenance.json", "SHA256SUMS"]
NAME = FILES[0]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("other"))


@pytest.fixture
def folder(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    """A signed release."""
    folder = tmp_path / "models/releases/3"
    folder.mkdir(parents=True)
    stub(folder / NAME, column=0)
    for name in FILES[1:]:
        (folder / name).write_text(f"content of {name}\n")
    sign(folder, keys[0])
    return folder


def test_a_signed_release_is_verified(folder: Path, keys: tuple[Path, Path]) -> None:
    assert verify(folder, [keys[1]]) == {name: sha256(folder / name) for name in FILES}


def test_verification_does_without_the_library_that_signs(
    folder: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's environment does not have it."""
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(ImportError):
        sign(folder, keys[0])
    assert verify(folder, [keys[1]])


def test_other_programs_for_openssf_signatures_verify_it(
    folder: Path, keys: tuple[Path, Path]
) -> None:
    config = verifying.Config().use_elliptic_key_verifier(public_key=keys[1])
    config.verify(folder, folder / SIGNATURE)
    (folder / FILES[1]).write_text("other")
    with pytest.raises(ValueError, match=FILES[1]):
        config.verify(folder, folder / SIGNATURE)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "tamper",
    [
        lambda path: flip(path, 0),
        lambda path: flip(path, -1),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\n"),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.rename(path.with_name("renamed")),
        lambda path: path.rename(path.with_name(f".{path.name}")),
        lambda path: path.rename(path.parents[1] / "kept").with_name("3").joinpath(path.name)
        .symlink_to(path.parents[1] / "kept"),
    ],
    ids=["first", "last", "shorter", "longer", "empty", "missing", "renamed", "hidden", "link"],
)  # fmt: skip
def test_a_changed_file_is_refused(
    folder: Path, keys: tuple[Path, Path], name: str, tamper: Callable[[Path], object]
) -> None:
    tamper(folder / name)
    with pytest.raises(UserError, match=str(folder)):
        verify(folder, [keys[1]])


@pytest.mark.parametrize("name", ["extra", ".gitignore", "sub/extra", ".git/config", "x.sig"])
def test_an_added_file_is_refused(folder: Path, keys: tuple[Path, Path], name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("added")
    with pytest.raises(UserError):
        verify(folder, [keys[1]])


def test_the_signature_of_the_workflow_may_be_added(folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / "release.sigstore.json").write_text("{}")
    assert verify(folder, [keys[1]]).keys() == set(FILES)
    sign(folder, keys[0])
    assert verify(folder, [keys[1]]).keys() == set(FILES)


def test_an_unsigned_release_is_refused(folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / SIGNATURE).unlink()
    with pytest.raises(UserError, match=SIGNATURE):
        verify(folder, [keys[1]])


def test_only_a_trusted_key_counts(
    folder: Path, keys: tuple[Path, Path], other: tuple[Path, Path]
) -> None:
    assert verify(folder, [other[1], keys[1]])
    with pytest.raises(UserError):
        verify(folder, [other[1]])
    with pytest.raises(UserError):
        verify(folder, [])
    sign(folder, other[0])
    assert verify(folder, [other[1]])
    with pytest.raises(UserError):
        verify(folder, [keys[1]])


def test_a_signature_that_only_claims_to_be_from_the_key_is_refused(
    folder: Path, keys: tuple[Path, Path], other: tuple[Path, Path]
) -> None:
    trusted = json.loads((folder / SIGNATURE).read_text())["verificationMaterial"]
    sign(folder, other[0])
    forged = json.loads((folder / SIGNATURE).read_text()) | {"verificationMaterial": trusted}
    (folder / SIGNATURE).write_text(json.dumps(forged))
    with pytest.raises(UserError):
        verify(folder, [keys[1]])


def changed_digest(bundle: Any) -> None:
    """Replace the signed digests in a bundle by those of other content."""
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    payload["predicate"]["resources"][0]["digest"] = "0" * 64
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()


@pytest.mark.parametrize(
    "damage",
    [
        changed_digest,
        lambda bundle: bundle.update(mediaType="text/plain"),
        lambda bundle: bundle["dsseEnvelope"].update(signatures=[]),
        lambda bundle: bundle["dsseEnvelope"].update(payloadType="application/json"),
        lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(sig="AAAA"),
        lambda bundle: bundle["dsseEnvelope"]["signatures"].append({"sig": "AAAA"}),
        lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(sig=None),
        lambda bundle: bundle.pop("dsseEnvelope"),
    ],
)
def test_a_damaged_signature_is_refused(
    folder: Path, keys: tuple[Path, Path], damage: Callable[[Any], object]
) -> None:
    bundle = json.loads((folder / SIGNATURE).read_text())
    damage(bundle)
    (folder / SIGNATURE).write_text(json.dumps(bundle))
    with pytest.raises(UserError):
        verify(folder, [keys[1]])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}"])
def test_a_file_that_is_no_signature_is_refused(
    folder: Path, keys: tuple[Path, Path], content: bytes
) -> None:
    (folder / SIGNATURE).write_bytes(content)
    with pytest.raises(UserError):
        verify(folder, [keys[1]])


def resign(folder: Path, key: Path, **changes: object) -> None:
    """Sign with changes of the statement, as the owner of the key can."""
    bundle = json.loads((folder / SIGNATURE).read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement |= changes
    payload = json.dumps(statement).encode()
    kind = bundle["dsseEnvelope"]["payloadType"]
    message = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    made = private.sign(message, ec.ECDSA(hashes.SHA256()))
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(made).decode()
    (folder / SIGNATURE).write_text(json.dumps(bundle))


def test_a_trusted_key_does_not_vouch_with_another_kind_of_statement(
    folder: Path, keys: tuple[Path, Path]
) -> None:
    resign(folder, keys[0])
    assert verify(folder, [keys[1]])
    empty: dict[str, Any] = {"serialization": {"method": "files"}, "resources": []}
    blake = {"name": NAME, "algorithm": "blake2", "digest": sha256(folder / NAME)}
    others: list[dict[str, Any]] = [
        {"predicateType": "https://slsa.dev/provenance/v1"},
        {"predicate": {}},
        {"predicate": empty},
        {"predicate": empty | {"resources": [blake]}},
        {"predicate": empty | {"serialization": {"method": "shards"}}},
    ]
    for changes in others:
        sign(folder, keys[0])
        resign(folder, keys[0], **changes)
        with pytest.raises(UserError):
            verify(folder, [keys[1]])


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_keys_with_other_curves_of_the_format_are_supported(
    folder: Path, tmp_path: Path, curve: ec.EllipticCurve
) -> None:
    key = ec.generate_private_key(curve)
    encoding = serialization.Encoding.PEM
    (tmp_path / "key").write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (tmp_path / "pub").write_bytes(
        key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    sign(folder, tmp_path / "key")
    assert verify(folder, [tmp_path / "pub"])
    flip(folder / NAME, 0)
    with pytest.raises(UserError):
        verify(folder, [tmp_path / "pub"])


def test_a_signature_of_another_release_is_refused(
    folder: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    newer = tmp_path / "models/releases/4"
    newer.mkdir()
    stub(newer / NAME, column=1)
    (newer / SIGNATURE).write_bytes((folder / SIGNATURE).read_bytes())
    with pytest.raises(UserError):
        verify(newer, [keys[1]])


# the classifier


def test_the_classifier_loads_what_is_signed(folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / "SHA256SUMS").unlink()
    sign(folder, keys[0])
    path = folder / NAME
    digest = sha256(path)
    assert Classifier(path, verify=keys[1]).sha256 == digest
    assert Classifier(path, verify=[str(keys[1])], sha256=digest).sha256 == digest
    with pytest.raises(UserError):
        Classifier(path, verify=keys[1], sha256="0" * 64)
    stub(path, column=1)
    with pytest.raises(UserError):
        Classifier(path, verify=keys[1])
    with pytest.raises(UserError):
        Classifier(path, verify=keys[1], sha256=sha256(path))
    Classifier(path)


def test_a_copy_of_the_champion_is_verified_without_the_other_files(
    folder: Path, keys: tuple[Path, Path]
) -> None:
    (folder / "providers.json").write_text("{}")
    sign(folder, keys[0])
    models = folder.parents[1]
    for name in (NAME, "providers.json", SIGNATURE):
        (models / name).write_bytes((folder / name).read_bytes())
    assert verify_model(models / NAME, [keys[1]]) == sha256(folder / NAME)
    (models / "SHA256SUMS").write_text("of the copies")
    (models / "MODEL_CARD.md").write_text("another")
    with pytest.raises(UserError, match="MODEL_CARD"):
        verify_model(models / NAME, [keys[1]])
    (models / "MODEL_CARD.md").unlink()
    (models / "providers.json").write_text("{ }")
    with pytest.raises(UserError, match="providers"):
        verify_model(models / NAME, [keys[1]])
    (models / "providers.json").unlink()
    stub(models / NAME, column=1)
    with pytest.raises(UserError, match=NAME):
        verify_model(models / NAME, [keys[1]])


def test_a_model_in_mlflow_has_no_signature(keys: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="models:/mnist-cnn@champion"):
        open_classifier("models:/mnist-cnn@champion", verify=[keys[1]])


# the stage `release`


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace whose model has passed the gate, without MLflow and git."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    monkeypatch.setattr(provenance, "repository", lambda root: None)
    return make_workspace(tmp_path / "project")


def run_release(workspace: Workspace) -> None:
    release.run(workspace, load_params(workspace.params), TASK)


def test_a_release_is_signed_and_stays_so(
    workspace: Workspace, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SIGNING_KEY_FILE", str(keys[0]))
    run_release(workspace)
    (made,) = Releases.of(workspace).all.values()
    signed = verify(made.folder, [keys[1]])
    assert {
        made.model.name,
        "SHA256SUMS",
        "metrics.json",
        "golden.json",
        "bom.json",
    } < signed.keys()
    assert Classifier(workspace.released_model, verify=keys[1]).sha256 == made.sha256
    monkeypatch.delenv("PIPELINE_SIGNING_KEY_FILE")
    stub(workspace.model, column=2)
    answer(workspace, 0, 0)
    run_release(workspace)
    with pytest.raises(UserError, match=SIGNATURE):
        Classifier(workspace.released_model, verify=keys[1])
    acts.rollback(workspace)
    assert Classifier(workspace.released_model, verify=keys[1]).sha256 == made.sha256


def test_an_unusable_key_stops_a_release_before_it_is_judged(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SIGNING_KEY_FILE", str(tmp_path / "missing"))
    with pytest.raises(UserError, match="missing"):
        run_release(workspace)
    assert Releases.of(workspace).all == {}
    assert not workspace.ledger.exists()


def test_the_bill_of_materials_of_a_release_is_valid_cyclonedx(workspace: Workspace) -> None:
    run_release(workspace)
    (made,) = Releases.of(workspace).all.values()
    content = (made.folder / "bom.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content) is None
    assert made.sha256 in content


# keys


def test_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    private, public = make_keys(folder)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(UserError):
        make_keys(folder)
    private.unlink()
    with pytest.raises(UserError):
        make_keys(folder)
    assert not private.exists()
    assert before[1] == public.read_bytes()


def test_keys_are_in_the_users_folder_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder().is_relative_to(tmp_path)


def test_the_environment_names_the_key(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIPELINE_SIGNING_KEY_FILE", raising=False)
    assert signing_key() is None
    monkeypatch.setenv("PIPELINE_SIGNING_KEY_FILE", str(keys[0]))
    assert signing_key() == keys[0]
    for name in ("", str(tmp_path), str(tmp_path / "missing"), str(keys[1])):
        monkeypatch.setenv("PIPELINE_SIGNING_KEY_FILE", name)
        with pytest.raises(UserError):
            signing_key()


@pytest.mark.parametrize("kind", ["RSA", "password", "curve", "text", "missing"])
def test_an_unusable_private_key_is_reported(folder: Path, tmp_path: Path, kind: str) -> None:
    password = serialization.BestAvailableEncryption(b"x")
    made: dict[str, Any] = {
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
        "password": lambda: ec.generate_private_key(ec.SECP256R1()),
        "curve": lambda: ec.generate_private_key(ec.SECP256K1()),
    }
    key = tmp_path / "key"
    if kind == "text":
        key.write_text("no key")
    elif kind in made:
        key.write_bytes(
            made[kind]().private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                password if kind == "password" else serialization.NoEncryption(),
            )
        )
    with pytest.raises(UserError, match=str(key)):
        sign(folder, key)


@pytest.mark.parametrize("content", [b"", b"no key", b"\xff"])
def test_an_unusable_public_key_is_reported(folder: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    for path in (tmp_path / "key", tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            verify(folder, [path])
