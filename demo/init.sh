#!/usr/bin/env bash
# Takes the place of /init in Frigate's container: starts the stand-in, as s6 starts Frigate.
set -Eeuo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../tests/rig/standin"
exec python3 -u -m frigate "$@"
