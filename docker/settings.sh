# shellcheck shell=bash
# Sourced by the commands beside it: what follows from this machine and this checkout.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

if [ -z "${CONTAINER_ENGINE:-}" ]; then # docker where it runs
  if docker info >/dev/null 2>&1; then CONTAINER_ENGINE=docker; else CONTAINER_ENGINE=podman; fi
fi
if ! command -v "$CONTAINER_ENGINE" >/dev/null; then
  echo "error: no $CONTAINER_ENGINE here: install Docker or Podman" >&2
  exit 2
fi
podman=
case $CONTAINER_ENGINE in *podman) podman=1 ;; esac
export CONTAINER_ENGINE CONTAINER_IMAGE=${CONTAINER_IMAGE:-gated-mnist:train}

# what is written belongs to whom the checkout belongs (stat is GNU's; elsewhere the caller)
owner=$(stat --format %u:%g . 2>/dev/null || echo "$(id -u):$(id -g)")
export CONTAINER_USER=${CONTAINER_USER:-$owner}
# Podman without root: the same user numbers inside as outside
[ "$(id -u)" = 0 ] || export PODMAN_USERNS=keep-id

# the folder beside the checkout that fetch.mirrors of params.yaml names first
if mirror=$(cd ../shared/mnist 2>/dev/null && pwd); then export CONTAINER_MIRROR=$mirror; fi

has_gpu() { [ "${CONTAINER_GPU:-}" != none ] && nvidia-smi --list-gpus >/dev/null 2>&1; }

prepare() { # what a container over this checkout needs
  if ! "$CONTAINER_ENGINE" image inspect "$CONTAINER_IMAGE" >/dev/null; then
    echo "error: $CONTAINER_ENGINE has no image $CONTAINER_IMAGE: \`make image\` builds it" >&2
    exit 2
  fi
  # the place of a mount, which must not be made by the engine, whose user is another
  if mkdir .dvc/tmp 2>/dev/null; then chown "$CONTAINER_USER" .dvc/tmp; fi
}
