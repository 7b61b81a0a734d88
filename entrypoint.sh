#!/usr/bin/env bash
# The container's entrypoint: lets every Python that Frigate starts find boot/sitecustomize.py, then
# becomes /init as if it had never been here. It installs nothing, writes nothing, and fails open:
# whatever goes wrong above the last line, Frigate starts. Hence no `set -e`.

say() { printf 'S3 snapshot mirror: %s\n' "$1" >&2; }

# Prints the folder that this file is in, symbolic links resolved.
our_folder() {
  local self
  self=$(readlink -f -- "${BASH_SOURCE[0]}" 2>/dev/null) || self=${BASH_SOURCE[0]}
  (cd -P -- "${self%/*}" 2>/dev/null && pwd)
}

# Puts our boot folder first on PYTHONPATH and keeps what the user had there.
prepare() {
  local boot
  boot=$(our_folder)/boot || return 1
  [[ -r $boot/sitecustomize.py ]] || return 1
  case ":${PYTHONPATH:-}:" in
    ":$boot:"*) ;;
    *) export PYTHONPATH="$boot${PYTHONPATH:+:$PYTHONPATH}" ;;
  esac
  say "$boot is on PYTHONPATH, starting ${S3_MIRROR_INIT:-/init}"
}

prepare || say "not started, its boot folder cannot be read; starting ${S3_MIRROR_INIT:-/init} without it"
exec "${S3_MIRROR_INIT:-/init}" "$@"
