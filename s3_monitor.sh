#!/usr/bin/env bash
# Asks the mirror for its health, in Frigate's container or on this machine. Prints the answer in colour and
# returns it as the exit code.
set -Eeuo pipefail

readonly OK=0 DEGRADED=1 DOWN=2 WRONG_USE=64 # UNKNOWN is 1 too

usage() {
  cat >&2 <<'TEXT'
usage: s3_monitor.sh [--json] [--local | --container NAME] [watch [SECONDS]]

  watch [SECONDS]    ask again every SECONDS (default 10) until you interrupt it
  --json             print the status document unchanged
  --container NAME   ask in this container (default: $FRIGATE_CONTAINER, or else frigate)
  --local            ask on this machine; use this inside the container

exit codes: 0 OK, 1 degraded or unknown (the bucket has not answered yet),
            2 down or not reachable, 64 wrong command line
TEXT
}

complain() { printf 's3_monitor.sh: %s\n' "$1" >&2; }

our_folder() { (cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd); }

# usage: limited COMMAND... ; stops the command after 30 s if the system has `timeout`
limited() {
  if command -v timeout >/dev/null; then timeout 30 "$@"; else "$@"; fi
}

# usage: running_container NAME ; prints the running container of that name, or else of that compose service,
# or nothing if there is none. Fails if Docker does not answer.
running_container() {
  local names
  if [[ $(limited docker inspect -f '{{.State.Running}}' "$1" 2>/dev/null) == true ]]; then
    printf '%s\n' "$1"
    return
  fi
  names=$(limited docker ps --filter "label=com.docker.compose.service=$1" --format '{{.Names}}') || return
  printf '%s\n' "${names%%$'\n'*}"
}

# usage: ask ARGUMENT... ; runs the mirror's `status` command; prints its output, returns its exit code
ask() {
  local container
  if [[ $place == local ]]; then
    limited python3 "$(our_folder)/s3_snapshot_mirror.py" status "$@"
  elif ! container=$(running_container "$container_name"); then
    complain "Docker does not list its containers; if it denies permission, run this with sudo"
    return "$DOWN"
  elif [[ -z $container ]]; then
    complain "no running container or compose service has the name $container_name (see --container and --local)"
    return "$DOWN"
  else
    limited docker exec "$container" python3 "$in_container/s3_snapshot_mirror.py" status "$@"
  fi
}

# Succeeds if the output is to have colours. Do not call this within $( ), where the output is always a pipe.
is_coloured() { [[ -n ${FORCE_COLOR:-} || (-t 1 && -z ${NO_COLOR:-}) ]]; }

# usage: paint STATUS TEXT ; prints the first line in the colour of the status, and the rest unchanged
paint() {
  local first=${2%%$'\n'*} code
  case $1 in "$OK") code='1;32' ;; "$DEGRADED") code='1;33' ;; *) code='1;31' ;; esac
  if is_coloured; then first=$'\033'"[${code}m$first"$'\033[0m'; fi
  printf '%s\n' "$first"
  if [[ $2 == *$'\n'* ]]; then printf '%s\n' "${2#*$'\n'}"; fi
}

# Asks once and prints the answer. Anything that is not an answer of the mirror counts as down, whatever the
# exit code is, because `docker exec` and a failing Python also end with 1.
report() {
  local text status=0
  text=$(ask ${as_json:+--json}) || status=$?
  if [[ -n $as_json && $text == "{"* ]]; then
    printf '%s\n' "$text"
  elif [[ -z $as_json && $text == "S3 mirror: "* ]]; then
    paint "$status" "$text"
  else
    complain "the mirror gave no answer; if no error stands above, see Frigate's log"
    return "$DOWN"
  fi
  if ((status > DOWN)); then return "$DOWN"; fi
  return "$status"
}

# usage: watch SECONDS ; asks again and again, ends with the last status
watch() {
  local status
  trap 'exit "$status"' INT TERM
  while true; do
    status=0
    if [[ -t 1 && -z $as_json ]]; then printf '\033[H\033[2J'; fi
    if [[ -z $as_json ]]; then date '+%F %T'; fi
    report || status=$?
    sleep "$1" || return "$status"
  done
}

main() {
  local seconds=""
  as_json="" place=docker container_name=${FRIGATE_CONTAINER:-frigate} in_container=/opt/frigate-s3-mirror
  while (($#)); do
    case $1 in
      --json) as_json=yes ;;
      --local) place=local ;;
      --container) container_name=${2:-}; shift ;;
      watch) seconds=10; if [[ ${2:-} =~ ^[1-9][0-9]*$ ]]; then seconds=$2; shift; fi ;;
      -h | --help) usage; return 0 ;;
      *) usage; complain "unknown argument: $1"; return "$WRONG_USE" ;;
    esac
    shift || break # `--container` was the last word
  done
  if [[ -z $container_name ]]; then
    usage
    complain "--container needs the name of a container"
    return "$WRONG_USE"
  fi
  if [[ $place == docker ]] && ! command -v docker >/dev/null; then
    place=local # inside the container, or on a machine without Docker
  fi
  if [[ -n $seconds ]]; then watch "$seconds"; else report; fi
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
