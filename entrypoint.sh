#!/usr/bin/env bash
# The container's entrypoint. It puts boot/ on PYTHONPATH, so that every Python that Frigate starts finds
# boot/sitecustomize.py. Then it becomes /init. It installs nothing and writes nothing. If anything goes
# wrong before the last line, Frigate still starts; therefore this script does not use `set -e`.

say() { printf 'S3 snapshot mirror: %s\n' "$1" >&2; }

# Prints the folder of this file, with symbolic links resolved.
our_folder() {
  local self
  self=$(readlink -f -- "${BASH_SOURCE[0]}" 2>/dev/null) || self=${BASH_SOURCE[0]}
  (cd -P -- "${self%/*}" 2>/dev/null && pwd)
}

# Puts the boot folder first on PYTHONPATH and keeps what the user has there.
prepare() {
  local boot
  boot=$(our_folder)/boot || return 1
  [[ -r $boot/sitecustomize.py ]] || return 1
  case ":${PYTHONPATH:-}:" in
    ":$boot:"*) ;;
    *) export PYTHONPATH="$boot${PYTHONPATH:+:$PYTHONPATH}" ;;
  esac
  say "$boot is on PYTHONPATH; the entrypoint now starts ${S3_MIRROR_INIT:-/init}"
}

prepare || say "not started, because its boot folder cannot be read; the entrypoint starts ${S3_MIRROR_INIT:-/init} without it"
exec "${S3_MIRROR_INIT:-/init}" "$@"
