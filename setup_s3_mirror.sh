#!/usr/bin/env bash
# Sets the mirror up for a Frigate that runs with Docker Compose, and can remove it again. This script does only
# what must be done before Python runs: it finds a Python, on this machine or else in Frigate's image, and
# starts the mirror's command `setup` in it. A container cannot use Docker, so from there the command asks this
# script to run Docker for it. Secrets pass through the environment and through pipes only.
set -Eeuo pipefail

readonly FAILED=1 WRONG_USE=64
readonly FRIGATE_IMAGE=ghcr.io/blakeblackshear/frigate:stable

complain() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# usage: find_python [MODULE] ; prints a Python of 3.11 or later, which has MODULE if one is given
find_python() {
  local candidate wanted="import sys${1:+, $1}; sys.exit(sys.version_info < (3, 11))"
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
    if have "$candidate" && "$candidate" -c "$wanted" 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  return 1
}

# Prints a Python that can do all that is left to do. It needs pip to download libraries, and one without pip will do
# if those are there that every mirror needs.
usable_python() {
  find_python pip || { has_libraries && find_python; }
}

has_libraries() {
  local made_from="" needed
  { made_from=$(<"$here/vendor/requirements.lock"); } 2>/dev/null || true
  needed=$(<"$here/requirements/child.lock")
  [[ $made_from == "$needed"* ]]
}

docker_answers() { have docker && docker info >/dev/null 2>&1; }

# Prints the image of Frigate that the owner's project names, or else the usual one.
frigate_image() {
  local line
  if [[ -n $image ]]; then printf '%s\n' "$image"; return; fi
  while IFS= read -r line; do
    if [[ $line == *frigate[:@]* ]]; then printf '%s\n' "$line"; return; fi
  done < <(cd "$project" && docker compose --profile '*' config --images 2>/dev/null)
  printf '%s\n' "$FRIGATE_IMAGE"
}

# Prints the options of `docker run` that pass on the variables which setup reads. Docker takes their values from
# this script's environment, so none is on a command line.
passed_on() {
  local name
  for name in ${!S3_@} ${!MIRROR_@} ${!MQTT_@} ${!NOTIFY_@} ${!FRIGATE_@} ${!COMPOSE_@} ${!AWS_@} NO_COLOR TERM; do
    if [[ -v $name ]]; then printf -- '--env\n%s\n' "$name"; fi
  done
}

# usage: serve_docker FOLDER ; runs the Docker commands that arrive in the pipe FOLDER/ask, one after another
serve_docker() {
  local word words out code
  # Compose would prefer these to .env, and the owner's next command does not have them.
  unset "${!S3_@}" "${!MIRROR_@}" "${!MQTT_@}" "${!NOTIFY_@}"
  cd "$project"
  while true; do
    words=() code=0
    while IFS= read -r -d '' word; do words+=("$word"); done <"$1/ask"
    out=$("${words[@]}" </dev/null 2>"$1/errors") || code=$?
    printf '%s\n%s' "$code" "$out" >"$1/answer"
  done
}

# usage: set_up_in_image ARGUMENT... ; runs the command `setup` in Frigate's image, which sees the mirror's folder and
# the owner's under their own paths
set_up_in_image() {
  local bridge server status=0 options=() chosen
  chosen=$(frigate_image)
  complain "This machine has no Python 3.11 or later with pip, so setup runs in $chosen."
  mapfile -t options < <(passed_on)
  if [[ -t 0 && -t 1 ]]; then options+=(--interactive --tty); fi
  if [[ $project != "$here" ]]; then options+=(--mount "type=bind,source=$project,target=$project"); fi
  bridge=$(mktemp -d "$here/.setup.XXXXXX")
  mkfifo -m 600 "$bridge/ask" "$bridge/answer"
  serve_docker "$bridge" &
  server=$!
  # shellcheck disable=SC2064 # the names are known now
  trap "kill $server 2>/dev/null || true; rm -rf -- '$bridge'" EXIT
  docker run --rm --user "$(id -u):$(id -g)" --env HOME=/tmp --workdir "$project" ${options[@]+"${options[@]}"} \
    --mount "type=bind,source=$here,target=$here" --entrypoint python3 "$chosen" \
    "$here/s3_snapshot_mirror.py" setup --bridge "$bridge" "$@" || status=$?
  return "$status"
}

# usage: look_at ARGUMENT... ; takes the folder and the image from the arguments; the command `setup` checks all of them
look_at() {
  project=$PWD image=""
  while (($#)); do
    case $1 in
      --dir) project=${2:-} ;;
      --dir=*) project=${1#*=} ;;
      --image) image=${2:-} ;;
      --image=*) image=${1#*=} ;;
    esac
    shift
  done
  project=$(cd -P -- "$project" 2>/dev/null && pwd)
}

main() {
  local python
  here=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
  if [[ ${1:-} == demo ]]; then exec bash "$here/demo/demo.sh" "${@:2}"; fi
  if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 402)); then
    complain "bash $BASH_VERSION is too old: 4.2 or later is needed."
    return "$FAILED"
  elif [[ ! -r $here/s3_snapshot_mirror.py || ! -r $here/frigate_mirror/commands/setup.py ]]; then
    complain "$here is not complete: download the whole project again."
    return "$FAILED"
  elif ! look_at "$@"; then
    complain "The folder that --dir names does not exist."
    return "$WRONG_USE"
  elif python=$(usable_python); then
    exec "$python" "$here/s3_snapshot_mirror.py" setup "$@"
  elif docker_answers; then
    set_up_in_image "$@"
  else
    complain "This machine has neither Python 3.11 or later with pip nor a Docker that answers. Install one of them
(on Debian and Ubuntu: apt install python3-pip). Or use --vendor-only on another machine, and copy its folder
vendor to $here."
    return "$FAILED"
  fi
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
