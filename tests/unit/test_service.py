"""The HTTP service as its clients see it: pictures, paths, headers and the token."""

import base64
import gzip
import io
import itertools
import json
import re
import struct
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from pipeline import DISTRIBUTION
from pipeline.core.errors import UserError
from pipeline.core.reports import Metrics
from pipeline.core.workspace import Workspace
from pipeline.inference import Classifier
from pipeline.service.bodies import decompress
from pipeline.service.middleware.authentication import ADMIN_PREFIX
from pipeline.service.routes import docs, page
from pipeline.service.server import run
from pipeline.service.token import Tokens, read_tokens
from tests.checkout import MODEL, needs_model
from tests.digits import Images, make_digits
from tests.reports import SUBJECT
from tests.services import INFER, Client, client_of, images_input, make_app, png
from tests.templates import LETTERS, draw, write_model

pytestmark = needs_model


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with client_of(make_app()) as client:
        yield client


# pictures


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WebP", "GIF"])
def test_a_posted_picture_is_classified(client: Client, ten: Images, kind: str) -> None:
    for digit in (3, 7):
        large = Image.fromarray(255 - np.pad(ten[digit], 20)).resize((300, 300))
        file = io.BytesIO()
        large.save(file, kind)
        response = client.post("/predict", file.getvalue())
        assert response.status_code == 200
        content = response.json()
        assert (content["label"], content["digit"]) == (str(digit), digit)
        assert content["confidence"] == max(content["probabilities"]) > 0.9
        expected = Classifier(MODEL, threads=1).from_image(Image.open(file))
        np.testing.assert_array_equal([content["image"]], expected)


def test_a_picture_can_be_classified_without_normalising(client: Client, ten: Images) -> None:
    content = client.post("/predict?normalise=false", png(ten[4])).json()
    assert content["digit"] == 4
    np.testing.assert_array_equal(content["image"], ten[4])
    response = client.post("/predict?normalise=false", png(np.zeros((30, 40), np.uint8)))
    assert response.status_code == 400
    assert re.search("30 x 40 pixels .*28 x 28", response.json()["error"])


@pytest.mark.parametrize(
    ("query", "said"), [("normalise=perhaps", "normalise"), ("normalize=false", "normalize")]
)
def test_a_wrong_or_misspelt_option_is_reported(
    client: Client, ten: Images, query: str, said: str
) -> None:
    response = client.post(f"/predict?{query}", png(ten[4]))
    assert response.status_code == 400
    assert said in response.json()["error"]


def test_a_picture_that_shows_no_single_digit_has_a_verdict_and_a_reason(
    client: Client, ten: Images
) -> None:
    two = np.pad(np.concatenate([ten[3], ten[7]], 1), 10)
    blank = np.full((280, 280), 255, np.uint8)
    for picture, verdict in ((blank, "no ink"), (np.zeros_like(two), "no ink"), (two, "several")):
        response = client.post("/predict?explain=true", png(picture))
        assert response.status_code == 200
        content = response.json()
        assert content["verdict"] == verdict
        assert content["reason"]
        given = {key for key, value in content.items() if value is not None}
        assert given == {"verdict", "reason", "version"}


def test_an_answer_can_be_explained(client: Client, ten: Images) -> None:
    content = client.post("/predict?normalise=false&explain=true", png(ten[4])).json()
    expected = Classifier(MODEL, threads=1).explain(ten[4:5])[0]
    np.testing.assert_allclose(content["explanation"], expected, atol=0.1)
    assert np.abs(expected).max() > 1


def test_the_image_can_be_left_out_of_the_answer(client: Client, ten: Images) -> None:
    content = client.post("/predict?image=false", png(ten[4])).json()
    fields = ["label", "digit", "confidence", "set", "novelty", "verdict", "probabilities"]
    assert list(content) == [*fields, "version"]


def wrong_uploads(picture: bytes) -> dict[str, tuple[str, bytes, str]]:
    """What people post instead of a file: Content-Type, body and its description."""
    text, form = base64.b64encode(picture), "application/x-www-form-urlencoded"
    multipart = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n%b\r\n--x--\r\n'
    return {
        "multipart": ("multipart/form-data; boundary=x", multipart % picture, "a form"),
        "multipart, undeclared": ("", multipart % picture, "a form"),
        "curl -d": (form, picture.translate(None, b"\0\r\n"), "curl"),
        "a field": (form, b"file=%89PNG", "a form"),
        "JSON": ("application/json", json.dumps({"image": text.decode()}).encode(), "JSON"),
        "JSON, undeclared": (form, json.dumps({"image": text.decode()}).encode(), "JSON"),
        "base64": ("text/plain", text, "base64"),
        "a name": (form, b"four.png", "the name of a file"),  # curl -d without the @
        "a name of two words": ("", b"@scans/a four.JPG\n", "the name of a file"),
        "a data: URL": ("", b"data:image/png;base64," + text, "a data: URL"),
        "nothing": ("image/png", b"", "empty"),
    }


@pytest.mark.parametrize("way", wrong_uploads(b""))
def test_the_error_says_how_to_send_a_picture(client: Client, ten: Images, way: str) -> None:
    kind, body, said = wrong_uploads(png(ten[4]))[way]
    response = client.post("/predict", body, headers={"Content-Type": kind} if kind else {})
    assert response.status_code == 400
    assert re.match(f"the body is .*{said}", response.json()["error"])
    assert "curl --data-binary @FILE" in response.json()["error"]


def test_the_error_for_an_invalid_file_does_not_explain_sending(client: Client) -> None:
    form = {
        "Content-Type": "application/x-www-form-urlencoded"
    }  # curl --data-binary sends it as well
    wide = io.BytesIO()
    Image.new("1", (4001, 4000)).save(wide, "PNG")
    for body in (b"no\npicture", wide.getvalue()):
        assert "curl" not in client.post("/predict", body, headers=form).json()["error"]


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "tiff", "webp", "gif"])
def test_damaged_pictures_cause_no_internal_error(client: Client, kind: str) -> None:
    file = io.BytesIO()
    Image.fromarray(make_digits(1, seed=1)[0][0]).save(file, kind)
    whole, random = file.getvalue(), np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(256)
        response = client.post("/predict", bytes(damaged[: random.integers(len(whole) + 1)]))
        assert response.status_code in (200, 400)
        assert ("error" in response.json()) == (response.status_code == 400)


def test_a_jpeg_of_many_scans_is_refused_at_once(client: Client) -> None:
    """Decoding its scans would take minutes."""
    file = io.BytesIO()
    Image.new("L", (4000, 4000)).save(file, "JPEG", progressive=True)
    jpeg = file.getvalue()
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    body = jpeg[:-2] + 10_000 * scan + b"\xff\xd9"
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        response = client.post("/predict", body)
        seconds.append(time.perf_counter() - start)
        assert response.status_code == 400
        assert "scans" in response.json()["error"]
    assert min(seconds) < 0.1


# bodies


def encoded(body: bytes, way: str) -> bytes:
    """A body in one of the encodings of HTTP."""
    if way == "raw deflate":
        packer = zlib.compressobj(wbits=-15)
        return packer.compress(body) + packer.flush()
    return zlib.compress(body) if way == "deflate" else gzip.compress(body)


@pytest.mark.parametrize("way", ["gzip", "x-gzip", "GZip", "deflate", "raw deflate"])
def test_a_compressed_body_is_decompressed_within_the_limits(
    client: Client, ten: Images, way: str
) -> None:
    headers = {"Content-Encoding": way.removeprefix("raw ")}
    good = encoded(png(ten[4]), way)
    assert client.post("/predict", good, headers=headers).json()["digit"] == 4
    bomb = client.post("/predict", encoded(bytes(9 * 2**20), way), headers=headers)
    assert bomb.status_code == 413
    assert "8,388,608 bytes" in bomb.json()["error"]
    for wrong in (png(ten[4]), good[:-20], encoded(b"", way) + b"more"):
        response = client.post("/predict", wrong, headers=headers)
        assert response.status_code == 400
        assert re.search("^the body ", response.json()["error"])


def test_a_compression_bomb_is_not_decompressed_beyond_the_limit() -> None:
    bomb = gzip.compress(bytes(50 * 2**20))
    tracemalloc.start()
    with pytest.raises(HTTPException, match="1,048,576 bytes"):
        decompress(bomb, "gzip", 2**20)
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("path", ["/predict", INFER])
@pytest.mark.parametrize("way", ["br", "zstd", "gzip, gzip"])
def test_an_unsupported_encoding_is_reported(client: Client, path: str, way: str) -> None:
    response = client.post(path, b"x", headers={"Content-Encoding": way})
    assert response.status_code == 415
    assert response.json()["error"] == f"Content-Encoding {way} is not supported"
    assert response.headers["accept-encoding"] == "gzip, deflate, identity"


def test_a_body_above_the_limit_is_refused(client: Client) -> None:
    async def pieces() -> AsyncIterator[bytes]:  # without Content-Length
        for _ in range(10):
            yield bytes(2**20)

    for body in (bytes(8 * 2**20 + 1), pieces()):
        response = client.post("/predict", body)
        assert response.status_code == 413
        assert "8,388,608 bytes" in response.json()["error"]
    assert client.metric("http_requests_total", route="/predict", status="413") >= 2


@pytest.mark.parametrize("length", ["x", "-5", "1.5", "²", "9" * 5000])
def test_an_invalid_content_length_causes_no_internal_error(client: Client, length: str) -> None:
    headers = [(b"Content-Length", length.encode())]
    assert client.post("/predict", b"x", headers=headers).status_code in (400, 413)


def tiled(side: int) -> bytes:
    """A TIFF of 28 x 28 pixels in one larger tile."""
    tile = zlib.compress(bytes(side * side))
    tags = [(256, 28), (257, 28), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side)]
    tags += [(324, 8 + 2 + 12 * (len(tags) + 2) + 4), (325, len(tile))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tile


def test_a_picture_with_too_many_pixels_is_refused(client: Client) -> None:
    just_more, far_more = io.BytesIO(), io.BytesIO()
    Image.new("1", (4001, 4000)).save(just_more, "PNG")
    Image.new("1", (14_000, 14_000)).save(far_more, "PNG")
    assert client.post("/predict?normalise=false", tiled(64)).status_code == 200  # as it is: blank
    for text, bomb in (
        ("16,000,000", just_more.getvalue()),
        ("exceeds limit", far_more.getvalue()),
        ("8192 x 8192 pixels", tiled(8192)),
    ):
        response = client.post("/predict", bomb)
        assert response.status_code == 400
        assert text in response.json()["error"]


# paths and headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", INFER, 405), ("DELETE", "/predict", 405),
     ("GET", "/figures/../params.yaml", 404), ("GET", "/figures/..%2f..%2fparams.yaml", 404),
     ("GET", "/page/..%2fapp.py", 404)],
)  # fmt: skip
def test_unknown_paths_and_methods_are_answered_in_json(
    client: Client, method: str, path: str, status: int
) -> None:
    response = client.request(method, f"http://service{path}")
    assert response.status_code == status
    assert response.json()["error"]


def test_an_upload_by_the_wrong_method_is_answered_with_the_right_one(client: Client) -> None:
    response = client.request("PUT", "/predict", content=b"x")  # as from curl --upload-file
    assert response.status_code == 405
    assert re.fullmatch("PUT .* POST", response.json()["error"])


def test_a_trailing_slash_redirects_even_behind_a_proxy(client: Client, ten: Images) -> None:
    moved = client.post("/predict/?image=false", png(ten[4]))
    assert (moved.status_code, moved.headers["location"]) == (307, "../predict?image=false")
    followed = client.post("/predict/", png(ten[4]), follow_redirects=True)
    assert followed.json()["digit"] == 4
    assert client.get("/docs/", follow_redirects=True).url.path == "/docs"
    elsewhere = client.get("http://service//example.com/", follow_redirects=True)
    assert (elsewhere.url.host, elsewhere.status_code) == ("service", 404)


def test_every_get_route_answers_head(client: Client) -> None:
    for path in ("/", "/docs", "/docs/swagger-ui.css", "/page/app.js", "/openapi.json", "/v2",
                 "/v2/health/live", "/v2/health/ready", "/v2/models/mnist-cnn", "/metrics",
                 "/v2/models/mnist-cnn/ready", "/figures/loss.svg", "/nothing"):  # fmt: skip
        head, whole = client.request("HEAD", path), client.get(path)
        assert (head.status_code, head.content) == (whole.status_code, b""), path
        assert head.headers["content-type"] == whole.headers["content-type"]
        assert "content-length" in head.headers
    refused = client.request("HEAD", "/predict")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    refused = client.post("/v2")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert client.metric("http_requests_total", route="/v2", method="HEAD", status="200") == 1


def test_every_response_has_security_headers(client: Client) -> None:
    docs = client.get("/docs")
    others = [client.get(path) for path in ("/", "/v2", "/nothing", INFER)]
    for response in (docs, *others):
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["cross-origin-opener-policy"] == "same-origin"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        policy = response.headers["content-security-policy"].split("; ")
        assert {"default-src 'self'", "base-uri 'none'", "form-action 'none'"} < {*policy}
        assert "frame-ancestors 'none'" in policy
        assert any("unsafe" in rule for rule in policy) is (response is docs)


def test_only_linked_static_files_are_served(client: Client) -> None:
    """Neither the page's template nor Python files."""
    served = set()
    for prefix, folder in (("/page", page.FOLDER), ("/docs", docs.FOLDER)):
        for file in folder.rglob("*"):
            path = f"{prefix}/{file.relative_to(folder)}"
            served |= {path} if client.get(path).status_code == 200 else set()
    linked = set(re.findall(r'"((?:page|docs)/[^"]+)"', client.get("/").text))
    linked |= set(re.findall(r'"((?:page|docs)/[^"]+)"', client.get("/docs").text))
    linked |= set(re.findall(r'"((?:page|docs)/[^"]+)"', page.REVIEW_PAGE.template))
    for script in page.FOLDER.glob("*.js"):
        linked |= {f"page/{name}" for name in re.findall(r'from "./([^"]+)"', script.read_text())}
    assert served == {f"/{path}" for path in linked}


# the token


OPEN_TO_ALL = {
    "/", "/docs", "/docs/swagger-ui.css", "/figures/loss.svg", "/openapi.json", "/page/app.js",
    "/v2", "/v2/health/live", "/v2/health/ready", "/anything/", "/hooks/mlflow",
    "/review",  # the page alone
}  # fmt: skip
TOKEN = "s3cret-e"


def routes(app: Starlette) -> set[tuple[str, str]]:
    """A path of each route of the service, with each of its methods."""
    model = Classifier(MODEL, threads=1)
    known = {
        "/page": "/page/app.js",  # mounted folders
        "/docs": "/docs/swagger-ui.css",
        "/figures/{name}": "/figures/loss.svg",
        "/{path:path}/": "/anything/",
    }
    found = set()
    for route in app.routes:
        assert isinstance(route, Route | Mount)  # other kinds are not covered here
        path = known[route.path] if isinstance(route, Mount) else known.get(route.path, route.path)
        path = path.format(name="mnist-cnn", version=model.sha256[:12], id="x")
        methods = {"GET"} if isinstance(route, Mount) else route.methods
        found |= {(path, method) for method in methods or set()}
    return found


def test_a_token_protects_every_route_except_the_open_ones(ten: Images) -> None:
    app = make_app(token=TOKEN)

    def forgotten(request: Request) -> Response:
        """A route that somebody adds without thinking of the token."""
        return Response()

    for path in ("/v2/health/more", "/page/more", "/docs/more", "/figures/more/of"):
        app.add_route(path, forgotten)
    app.mount("/more", Starlette())
    paths = routes(make_app(token=TOKEN))
    assert {"/predict", INFER, "/metrics", "/page/app.js"} < {path for path, _ in paths}
    closed = {"/nothing", "/v2/other", "/more/of", "/v2/health/more", "/figures/more/of"}
    with client_of(app) as client:
        for path, method in paths | {(path, "GET") for path in closed}:
            response = client.request(method, path)
            refused = response.status_code in (401, 403)
            assert refused == (path not in OPEN_TO_ALL), (method, path)
        for sneaky in ("//predict", "/predict/", "/%70redict", "/page/../predict",
                       "/docs/..;/metrics", "/Metrics", "/v2/models/mnist-cnn/"):  # fmt: skip
            response = client.post(f"http://service{sneaky}", png(ten[1]), follow_redirects=True)
            assert response.status_code in (401, 404, 405), sneaky


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer s3cret", "Bearer s3cret-e!", "Basic s3cret-e", "s3cret-e",
              "Bearer s3cret-é"],
)  # fmt: skip
def test_a_wrong_token_is_refused(ten: Images, given: str) -> None:
    headers = [(b"Authorization", given.encode("latin-1"))]
    with client_of(make_app(token=TOKEN)) as client:
        response = client.post("/predict", png(ten[1]), headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("given", ["Bearer s3cret-e", "bearer s3cret-e", "BEARER   s3cret-e "])
def test_the_token_grants_access(ten: Images, given: str) -> None:
    with client_of(make_app(token=TOKEN)) as client:
        response = client.post("/predict", png(ten[1]), headers={"Authorization": given})
    assert response.json()["digit"] == 1


LOAD = "/v2/repository/models/mnist-cnn/load"
ADMIN = "0nly-for-admins"


@pytest.mark.parametrize(
    ("tokens", "given", "used", "changed"),
    [
        ({}, None, 200, 403),
        ({}, ADMIN, 200, 403),
        ({"token": TOKEN}, None, 401, 403),
        ({"token": TOKEN}, TOKEN, 200, 403),
        ({"token": TOKEN}, ADMIN, 401, 403),
        ({"admin_token": ADMIN}, None, 200, 401),
        ({"admin_token": ADMIN}, TOKEN, 200, 401),
        ({"admin_token": ADMIN}, ADMIN, 200, 200),
        ({"token": TOKEN, "admin_token": ADMIN}, None, 401, 401),
        ({"token": TOKEN, "admin_token": ADMIN}, TOKEN, 200, 403),
        ({"token": TOKEN, "admin_token": ADMIN}, ADMIN, 200, 200),
        ({"token": TOKEN, "admin_token": ADMIN}, ADMIN[:-1], 401, 401),
    ],
)
def test_only_the_admin_token_grants_changes(
    tokens: dict[str, str], given: str | None, used: int, changed: int
) -> None:
    def load(request: Request) -> Response:
        return Response()

    app = make_app(**tokens)  # type: ignore[arg-type]
    app.router.routes.insert(0, Route(LOAD.replace("mnist-cnn", "{name}"), load, methods=["POST"]))
    headers = {} if given is None else {"Authorization": f"Bearer {given}"}
    with client_of(app) as client:
        assert client.get("/metrics", headers=headers).status_code == used
        assert client.get("/v2/health/ready", headers=headers).status_code == 200
        for path in (LOAD, "/v2/repository/models/%6Dnist-cnn/load"):
            assert client.post(path, headers=headers).status_code == changed


def test_routes_that_change_the_service_are_behind_the_admin_token() -> None:
    """Every other route with a method other than GET is named here."""
    version = Classifier(MODEL, threads=1).sha256[:12]
    harmless = {
        "/predict",
        "/v2/repository/index",
        "/hooks/mlflow",
        INFER,
        INFER.replace("/infer", f"/versions/{version}/infer"),
        *("/feedback", "/journal/x", "/review/labels"),  # change the journal
    }
    found = {path for path, method in routes(make_app()) if method not in {"GET", "HEAD"}}
    others = {path for path in found if not path.startswith(ADMIN_PREFIX)}
    assert others == {*harmless, "/anything/"}


@pytest.fixture
def no_token(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for kind, file in itertools.product(("SERVE", "ADMIN", "REVIEW"), ("", "_FILE")):
        monkeypatch.delenv(f"PIPELINE_{kind}_TOKEN{file}", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("PIPELINE_SERVE_TOKEN", "use"),
        ("PIPELINE_SERVE_TOKEN_FILE", "use"),
        ("PIPELINE_ADMIN_TOKEN", "admin"),
        ("PIPELINE_ADMIN_TOKEN_FILE", "admin"),
        ("PIPELINE_REVIEW_TOKEN", "review"),
        ("PIPELINE_REVIEW_TOKEN_FILE", "review"),
    ],
)
def test_whitespace_around_a_token_is_ignored(
    no_token: pytest.MonkeyPatch, tmp_path: Path, name: str, kind: str
) -> None:
    assert read_tokens() == Tokens()
    text = " open sesame \r\n"
    (tmp_path / "token").write_text(text)
    no_token.setenv(name, str(tmp_path / "token") if name.endswith("FILE") else text)
    assert read_tokens() == Tokens(**{kind: "open sesame"})


@pytest.mark.parametrize("token", ["", " ", "s3cret-é", "a\nb"])
def test_an_empty_or_unsendable_token_is_refused(
    no_token: pytest.MonkeyPatch, tmp_path: Path, token: str
) -> None:
    no_token.setenv("PIPELINE_SERVE_TOKEN", token)
    with pytest.raises(UserError, match="PIPELINE_SERVE_TOKEN"):
        read_tokens()
    no_token.delenv("PIPELINE_SERVE_TOKEN")
    (tmp_path / "token").write_text(token)
    no_token.setenv("PIPELINE_SERVE_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(UserError, match="PIPELINE_SERVE_TOKEN_FILE"):
        read_tokens()


def test_an_unreadable_token_file_is_reported(no_token: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_token.setenv("PIPELINE_SERVE_TOKEN_FILE", str(tmp_path / "missing"))
    with pytest.raises(UserError, match="missing' cannot be read: No such file"):
        read_tokens()
    no_token.setenv("PIPELINE_SERVE_TOKEN", "a")
    with pytest.raises(UserError, match="both"):
        read_tokens()


def test_a_token_cannot_be_both_for_use_and_for_changes(no_token: pytest.MonkeyPatch) -> None:
    no_token.setenv("PIPELINE_SERVE_TOKEN", TOKEN)
    no_token.setenv("PIPELINE_ADMIN_TOKEN", f" {TOKEN}\n")
    with pytest.raises(UserError, match="PIPELINE_ADMIN_TOKEN"):
        read_tokens()
    no_token.setenv("PIPELINE_ADMIN_TOKEN", ADMIN)
    tokens = read_tokens()
    assert tokens == Tokens(TOKEN, ADMIN)
    assert TOKEN not in repr(tokens)
    assert ADMIN not in repr(tokens)


@pytest.mark.parametrize("other", ["SERVE", "ADMIN"])
def test_reviewers_have_a_token_of_their_own(no_token: pytest.MonkeyPatch, other: str) -> None:
    no_token.setenv("PIPELINE_REVIEW_TOKEN", TOKEN)
    no_token.setenv(f"PIPELINE_{other}_TOKEN", TOKEN)
    with pytest.raises(UserError, match=f"PIPELINE_{other}_TOKEN"):
        read_tokens()


# starting


@pytest.mark.parametrize(("model", "host"), [(None, ""), (str(MODEL), " "), ("", "::1")])
def test_an_empty_option_is_refused(model: str | None, host: str) -> None:
    """An unset variable in a script would expose the service."""
    with pytest.raises(UserError, match=r"--(host|model) is empty"):
        run(model, host, 0, json_log=True, workspace=None)


# the reports


def test_only_figures_of_the_served_model_are_shown(tmp_path: Path) -> None:
    """Even if an experiment or a refused model changes the reports meanwhile."""
    workspace, digest = Workspace(tmp_path), Classifier(MODEL, threads=1).sha256
    names = ["metrics.json", "curves.png", "confusion.png", "misclassified.png", "loss.svg"]
    for path in (*(workspace.evaluation_reports / name for name in names[1:4]),
                 workspace.backprop_reports / "loss.svg", tmp_path / "secret.png"):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    numbers = dict.fromkeys(Metrics.model_fields, 0.5) | {"images": 2, "misclassified": 1}
    Metrics.model_validate(numbers).write(workspace.metrics)

    def subject(sha256: str) -> None:
        SUBJECT.model_copy(update={"model_sha256": sha256}).write(workspace.subject)

    with client_of(make_app(workspace=workspace)) as client:

        def shown() -> list[str]:
            responses = {name: client.get(f"/figures/{name}") for name in [*names, "secret.png"]}
            assert {response.status_code for response in responses.values()} <= {200, 404}
            return [name for name, response in responses.items() if response.status_code == 200]

        assert shown() == ["loss.svg"]  # independent of the model
        for nobody in ("", "no JSON", "[]", "{}", '{"model_sha256": null}'):
            workspace.subject.write_text(nobody)
            assert shown() == ["loss.svg"]
        subject(digest)
        assert shown() == names
        assert client.get("/figures/metrics.json").json()["misclassified"] == 1
        workspace.metrics.write_text('{"errors": 1}')  # of another version of the code
        assert shown() == names[1:]
        subject("0" * 64)
        assert shown() == ["loss.svg"]
    with client_of(make_app()) as client:  # outside a workspace
        assert client.get("/figures/loss.svg").status_code == 404


# other models


@pytest.fixture(scope="module")
def initials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The service of another task: labels, one of them HTML, and images of 32 x 40 pixels."""
    labels = ("<b>", *LETTERS[1:])
    path = write_model(tmp_path_factory.mktemp("initials") / "m.onnx", labels, noun="initial")
    with client_of(make_app(classifier=Classifier(path, threads=1))) as client:
        yield client


def test_another_model_is_served_by_its_signature(initials: Client) -> None:
    content = initials.post("/predict", png(draw("Q"))).json()
    fields = ["label", "confidence", "set", "novelty", "verdict", "probabilities"]
    assert list(content) == [*fields, "version", "image"]
    assert (content["label"], len(content["probabilities"])) == ("Q", 26)
    assert np.shape(content["image"]) == (40, 32)
    described = initials.get("/v2/models/templates").json()
    assert described["inputs"][0]["shape"] == [-1, 40, 32]
    assert described["outputs"][0]["shape"] == [-1, 26]
    image = np.array([content["image"]], np.uint8)
    request = {"inputs": [images_input(np.concatenate([image, image]))]}
    answered = initials.post("/v2/models/templates/infer", json=request).json()["outputs"][1]
    assert np.reshape(answered["data"], (2, 26)).argmax(1).tolist() == [LETTERS.index("Q")] * 2
    assert initials.metric("predictions_total", label="Q") == 3
    wrong = {"inputs": [images_input(image[:, :28, :28])]}
    assert initials.post("/v2/models/templates/infer", json=wrong).status_code == 400


def test_the_documentation_describes_the_model(initials: Client) -> None:
    schema = initials.get("/openapi.json").json()
    assert schema["info"]["title"] == "letters initials"
    described = json.dumps(schema).replace(DISTRIBUTION, "")
    assert not re.search("digit|MNIST", described, re.IGNORECASE)
    operation = schema["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]
    example = operation["application/json"]["examples"]["one"]["value"]
    assert initials.post("/v2/models/templates/infer", json=example).status_code == 200


def test_the_page_describes_the_model(initials: Client) -> None:
    page = initials.get("/").text
    assert "<title>letters initials</title>" in page
    assert "Draw an initial with" in page
    assert 'data-labels="[&quot;&lt;b&gt;&quot;, &quot;B&quot;,' in page  # escaped
    assert 'width="32" height="40"' in page
    assert not re.search(r"digit|MNIST|28|\$", page)
