"""The environment variables that scripts, Compose and make read."""

from pipeline.core.variable import Variable

CONTAINERS = "Containers: `docker/build`, `docker/run`, `docker/stack`"
CONTAINER_VARIABLES = (
    Variable(
        "CONTAINER_ENGINE", CONTAINERS, "The engine.", "`docker` if it runs, otherwise `podman`"
    ),
    Variable("CONTAINER_IMAGE", CONTAINERS, "The image that runs the stages.", "gated-mnist:train"),
    Variable(
        "CONTAINER_USER",
        CONTAINERS,
        "The user and group that containers run as, as numbers `USER:GROUP`.",
        "the owner of the checkout",
    ),
    Variable(
        "CONTAINER_MIRROR",
        CONTAINERS,
        "A folder with the files of the data set, mounted in containers.",
        "the first folder in `fetch.mirrors`, if there is one",
    ),
    Variable(
        "CONTAINER_GPU", CONTAINERS, "`none` gives containers no GPU.", "all GPUs, if there are any"
    ),
    Variable("CONTAINER_OPTIONS", CONTAINERS, "Additional engine options for `docker/run`."),
    Variable(
        "BASE_IMAGE", CONTAINERS, "The base image of both images.", "the one in the Dockerfile"
    ),
    Variable("CA", CONTAINERS, "A file of CA certificates that builds need for the package index."),
    Variable(
        "VERSION", CONTAINERS, "The version in the image labels.", "the output of `git describe`"
    ),
    Variable("MLFLOW_PORT", CONTAINERS, "The port of MLflow on 127.0.0.1.", "5000"),
    Variable("PREFECT_PORT", CONTAINERS, "The port of Prefect on 127.0.0.1.", "4200"),
    Variable("SERVE_PORT", CONTAINERS, "The port of the HTTP service on 127.0.0.1.", "8000"),
    Variable(
        "COMPOSE_PROFILES",
        CONTAINERS,
        "`postgres` stores the data of MLflow and Prefect in PostgreSQL; `monitoring` adds the "
        "HTTP service and what watches it.",
        "neither: SQLite",
    ),
    Variable("COMPOSE_PROJECT_NAME", CONTAINERS, "The prefix of container names.", "gated-mnist"),
    Variable(
        "POSTGRES_IMAGE",
        CONTAINERS,
        "The PostgreSQL image.",
        "docker.io/library/postgres:17-bookworm",
    ),
)

MAKE = "Make targets"
MAKE_VARIABLES = (
    Variable(
        "PYTHON", MAKE, "The Python, 3.11 or newer, with which environments are created.", "python3"
    ),
    Variable(
        "BASE",
        MAKE,
        "The commit that `make report` and `make mutants` compare with.",
        "`HEAD` and `main`",
    ),
)
