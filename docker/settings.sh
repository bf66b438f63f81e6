# shellcheck shell=bash
# Settings of this machine and checkout, sourced by the other commands in this folder.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

if [ -z "${CONTAINER_ENGINE:-}" ]; then # Docker, if its daemon runs
  if docker info >/dev/null 2>&1; then CONTAINER_ENGINE=docker; else CONTAINER_ENGINE=podman; fi
fi
if ! command -v "$CONTAINER_ENGINE" >/dev/null; then
  echo "error: $CONTAINER_ENGINE is not installed: install Docker or Podman" >&2
  exit 2
fi
podman=
case $CONTAINER_ENGINE in *podman) podman=1 ;; esac
export CONTAINER_ENGINE CONTAINER_IMAGE=${CONTAINER_IMAGE:-gated-mnist:train}

# files belong to the owner of the checkout, or to the caller where stat is not GNU's
owner=$(stat --format %u:%g . 2>/dev/null || echo "$(id -u):$(id -g)")
export CONTAINER_USER=${CONTAINER_USER:-$owner}
# rootless Podman: the same user IDs inside and outside
[ "$(id -u)" = 0 ] || export PODMAN_USERNS=keep-id

# the folder next to the checkout that fetch.mirrors of params.yaml lists first
if mirror=$(cd ../shared/mnist 2>/dev/null && pwd); then export CONTAINER_MIRROR=$mirror; fi

has_gpu() { [ "${CONTAINER_GPU:-}" != none ] && nvidia-smi --list-gpus >/dev/null 2>&1; }

prepare() { # check the image and create mount points
  if ! "$CONTAINER_ENGINE" image inspect "$CONTAINER_IMAGE" >/dev/null; then
    echo "error: $CONTAINER_ENGINE has no image $CONTAINER_IMAGE: \`make image\` builds it" >&2
    exit 2
  fi
  # a mount point; the engine would create it as another user
  if mkdir .dvc/tmp 2>/dev/null; then chown "$CONTAINER_USER" .dvc/tmp; fi
}
