"""Every environment variable that the project reads or sets, with its meaning and default.

Code reads variables through this module, so that each name appears once. The reference lists them.
"""

from pipeline.core import script_variables
from pipeline.core.variable import Variable

COMMANDS = "Commands"
DEBUG = Variable(
    "PIPELINE_DEBUG", COMMANDS, "Any value shows the traceback of errors, as `--debug` does."
)
NO_PROXY = Variable(
    "NO_PROXY", COMMANDS, "Hosts to connect to without a proxy. Commands add this machine."
)
NO_PROXY_LOWER = Variable("no_proxy", COMMANDS, "The same; takes precedence over `NO_PROXY`.")

TRACKING = "Tracking"
MLFLOW_TRACKING_URI = Variable(
    "MLFLOW_TRACKING_URI",
    TRACKING,
    "The MLflow server or database that shows runs and models. `none` turns tracking off.",
    "sqlite:///mlflow.db",
)
_MLFLOW_LOGIN = (  # MLflow's client reads these
    Variable(
        "MLFLOW_TRACKING_USERNAME",
        TRACKING,
        "The user of that server, if it requires a login. For the stack, see "
        "`docker/secrets/mlflow.env`.",
    ),
    Variable("MLFLOW_TRACKING_PASSWORD", TRACKING, "The password of that user."),
)
MLFLOW_EXPERIMENT_NAME = Variable(
    "MLFLOW_EXPERIMENT_NAME", TRACKING, "The experiment of all runs.", "the name of the model"
)
MLFLOW_URL = Variable(
    "PIPELINE_MLFLOW_URL",
    TRACKING,
    "The browser address of the MLflow server, for links, if it differs from the address for "
    "programs.",
    "`MLFLOW_TRACKING_URI` if that is an HTTP address, otherwise `http://127.0.0.1:5000`",
)
USER = Variable("USER", TRACKING, "The user that MLflow shows for a run.", "pipeline")

RELEASES = "Releases"
SIGNING_KEY_FILE = Variable(
    "PIPELINE_SIGNING_KEY_FILE",
    RELEASES,
    "The private key with which the stage `release` signs, made by `python -m pipeline keys`.",
    "releases are not signed",
)
BASELINE = Variable(
    "PIPELINE_BASELINE",
    RELEASES,
    "What a new model must not be inferior to: an ONNX file, or a `models/` folder with releases, "
    "such as that of a pull request's base branch.",
    "the releases in the workspace",
)

FLOW = "Prefect flow"
WEBHOOK = Variable(
    "PIPELINE_WEBHOOK",
    FLOW,
    "A URL to which a flow run posts each release and each refusal as JSON.",
)
PREFECT_API_URL = Variable(
    "PREFECT_API_URL",
    FLOW,
    "The API URL of the Prefect server that manages the flow runs.",
    "a temporary server, with its database in `.prefect`",
)
PREFECT_API_AUTH_STRING = Variable(
    "PREFECT_API_AUTH_STRING",
    FLOW,
    "The credentials for that server, as `USER:PASSWORD`.",
    "those in `docker/secrets/prefect.toml`, or random ones for a temporary server",
)
PREFECT_SERVER_API_AUTH_STRING = Variable(
    "PREFECT_SERVER_API_AUTH_STRING",
    FLOW,
    "The credentials that a Prefect server started here requires.",
    "those in `docker/secrets/prefect.toml`, or random ones for a temporary server",
)
PREFECT_UI_URL = Variable(
    "PREFECT_UI_URL",
    FLOW,
    "The browser address of Prefect, for links to a flow run.",
    "http://127.0.0.1:4200",
)

SERVICE = "HTTP service"
SERVE_TOKEN = Variable(
    "PIPELINE_SERVE_TOKEN",
    SERVICE,
    "The token that clients must send as `Authorization: Bearer TOKEN`.",
    "no token is required",
)
SERVE_TOKEN_FILE = Variable("PIPELINE_SERVE_TOKEN_FILE", SERVICE, "A file with that token instead.")
ADMIN_TOKEN = Variable(
    "PIPELINE_ADMIN_TOKEN",
    SERVICE,
    "The token for requests that change the service, such as loading a model; it also grants what "
    "`PIPELINE_SERVE_TOKEN` grants.",
    "such requests are refused",
)
ADMIN_TOKEN_FILE = Variable("PIPELINE_ADMIN_TOKEN_FILE", SERVICE, "A file with that token instead.")
REVIEW_TOKEN = Variable(
    "PIPELINE_REVIEW_TOKEN",
    SERVICE,
    "The token of the people who label images of the journal at `/review`; it also grants what "
    "`PIPELINE_SERVE_TOKEN` grants.",
    "only the admin token lets people review",
)
REVIEW_TOKEN_FILE = Variable(
    "PIPELINE_REVIEW_TOKEN_FILE", SERVICE, "A file with that token instead."
)
WEBHOOK_SECRET = Variable(
    "PIPELINE_MLFLOW_SECRET",
    SERVICE,
    "The secret with which MLflow signs its webhook, so that the service follows an alias at once.",
    "the webhook is refused",
)
WEBHOOK_SECRET_FILE = Variable(
    "PIPELINE_MLFLOW_SECRET_FILE", SERVICE, "A file with that secret instead."
)

RAY = "Ray cluster"
RAY_USE_TLS = Variable("RAY_USE_TLS", RAY, "`1` encrypts the connections to a Ray cluster.")

LIBRARIES = "Library settings that the pipeline sets unless they are set"
ORT_DISABLE_TELEMETRY = Variable(
    "ORT_DISABLE_TELEMETRY", LIBRARIES, "ONNX Runtime sends no usage data.", "1"
)
GOMP_SPINCOUNT = Variable(
    "GOMP_SPINCOUNT",
    LIBRARIES,
    "How long OpenMP's threads spin: short, for busy machines.",
    "10000",
)
OMP_WAIT_POLICY = Variable(
    "OMP_WAIT_POLICY", LIBRARIES, "How OpenMP's threads wait. If set, `GOMP_SPINCOUNT` is not."
)
CUBLAS_WORKSPACE_CONFIG = Variable(
    "CUBLAS_WORKSPACE_CONFIG",
    LIBRARIES,
    "The workspace size of cuBLAS; it makes training on a GPU give the same bits every time.",
    ":4096:8",
)
RAY_TIMEOUT = Variable(
    "RAY_gcs_server_request_timeout_seconds",
    LIBRARIES,
    "Seconds to wait for the head node of a Ray cluster.",
    "10",
)
MLFLOW_DEFAULTS = (  # MLflow reads these when it is imported
    Variable("MLFLOW_DISABLE_TELEMETRY", LIBRARIES, "MLflow sends no usage data.", "true"),
    Variable(
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT",
        LIBRARIES,
        "MLflow does not print the address of each run.",
        "true",
    ),
    Variable(
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR",
        LIBRARIES,
        "MLflow shows a progress bar for artifacts.",
        "false",
    ),
    Variable(  # fail soon: the results are safe in files
        "MLFLOW_HTTP_REQUEST_TIMEOUT", LIBRARIES, "Seconds to wait for an MLflow server.", "10"
    ),
    Variable(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
        LIBRARIES,
        "Retries of a request to an MLflow server.",
        "1",
    ),
)

PROGRAMS = "Set by other programs"
FLOW_RUN_ID = Variable(
    "PIPELINE_FLOW_RUN_ID", PROGRAMS, "The flow run that a stage belongs to. A flow run sets it."
)
FLOW_RUN_URL = Variable(
    "PIPELINE_FLOW_RUN_URL", PROGRAMS, "The address of that flow run. A flow run sets it."
)
HOLD = Variable(
    "PIPELINE_HOLD_RELEASE",
    PROGRAMS,
    "If set, the stage `release` registers a release and does not promote it. The flow `retrain` "
    "sets it.",
)
PREFECT_WORKER_NAME = Variable(
    "PREFECT__WORKER_NAME",
    PROGRAMS,
    "The Prefect worker that started a flow run; the run ends with its worker. The worker sets it.",
)
EXPERIMENT = Variable(
    "DVC_EXP_NAME", PROGRAMS, "The DVC experiment that a stage belongs to. `dvc exp run` sets it."
)
MAIN_ROOT = Variable(
    "DVC_ROOT",
    PROGRAMS,
    "The workspace from which an experiment was copied. `dvc exp run` sets it.",
)
GITHUB_SERVER_URL = Variable(
    "GITHUB_SERVER_URL", PROGRAMS, "The server of the GitHub workflow that ran the stages."
)
GITHUB_WORKFLOW_REF = Variable(
    "GITHUB_WORKFLOW_REF",
    PROGRAMS,
    "The path of that workflow. A release's provenance names it as the builder.",
)
GITHUB_ACTOR = Variable(
    "GITHUB_ACTOR", PROGRAMS, "The user who started that workflow. The ledger of releases names it."
)
PATH = Variable("PATH", PROGRAMS, "A flow run puts the folder of its Python interpreter first.")

_CONTAINERS = script_variables.CONTAINER_VARIABLES
PORT = Variable(
    "PORT",
    script_variables.MAKE,
    "The port of `make serve`, `make mlflow` or `make prefect`.",
    "8000, 5000 or 4200",
)
_MAKE = script_variables.MAKE_VARIABLES


def all_variables() -> list[Variable]:
    """All variables, ordered by group."""
    found: list[Variable] = []
    for value in list(globals().values()):
        each = value if isinstance(value, tuple) else (value,)
        found += [variable for variable in each if isinstance(variable, Variable)]
    return found
