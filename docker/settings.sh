# shellcheck shell=bash
# Sourced by docker/run and docker/stack: what follows from this machine and this checkout.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

export CONTAINER_ENGINE=${CONTAINER_ENGINE:-docker} CONTAINER_IMAGE=${CONTAINER_IMAGE:-mnist-pipeline:train}

# what is written belongs to whom the checkout belongs (stat is GNU's; elsewhere the caller)
owner=$(stat --format %u:%g . 2>/dev/null || echo "$(id -u):$(id -g)")
export CONTAINER_USER=${CONTAINER_USER:-$owner}
# Podman without root: the same user numbers inside as outside
[ "$(id -u)" = 0 ] || export PODMAN_USERNS=keep-id

# the folder beside the checkout that fetch.mirrors of params.yaml names first
if [ -d ../shared/mnist ]; then export CONTAINER_MIRROR=$PWD/../shared/mnist; fi

has_gpu() { nvidia-smi --list-gpus >/dev/null 2>&1; }

if ! "$CONTAINER_ENGINE" image inspect "$CONTAINER_IMAGE" >/dev/null; then
  echo "error: $CONTAINER_ENGINE has no image $CONTAINER_IMAGE: \`make image\` builds it" >&2
  exit 2
fi
