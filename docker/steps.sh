#!/bin/sh
# The steps of docker/Dockerfile without Docker: a wheel, a clean virtual environment, a user who is not root, a demo.
#
#   docker/steps.sh [IMAGES]
#
# PYTHON names the Python to use. INSTALL may be "uv pip install --python venv/bin/python", which is faster than pip.
set -eu
cd "$(dirname "$0")/.."
images=${1:-600}
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
chmod 755 "$home"
mkdir "$home/src" "$home/user"
cp -R pyproject.toml hatch_build.py README.md LICENSE models pipelines capfilt "$home/src/"
cd "$home"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip wheel --quiet --no-cache-dir --no-deps --wheel-dir wheels ./src # `src` would be a package of the registry
${INSTALL:-venv/bin/pip install --no-cache-dir} --quiet wheels/*.whl
rm -rf src
cd user
set -- env HOME="$home/user" PATH="$home/venv/bin:$PATH" NO_ALBUMENTATIONS_UPDATE=1 PYTHONUNBUFFERED=1 RAY_usage_stats_enabled=0
if [ "$(id -u)" = 0 ]; then
    chown 10001:10001 .
    set -- setpriv --reuid=10001 --regid=10001 --clear-groups "$@"
fi
"$@" capfilt --version
"$@" sh -c 'test "$(id -u)" != 0'
"$@" RAY_TMPDIR="$home/user" capfilt demo --images "$images"
"$@" capfilt status demo-out
