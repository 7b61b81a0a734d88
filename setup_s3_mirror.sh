#!/usr/bin/env bash
# Sets the mirror up for a Frigate that runs with Docker Compose. It downloads the libraries into vendor/,
# writes .env and a compose override, runs the mirror's `check` command, and can remove all of that again. It
# reads the user's own compose file and never changes it. Secrets exist only in .env and in this shell's
# memory. No command line and no output contains one.
set -Eeuo pipefail

readonly FAILED=1 CHECK_FAILED=3 WRONG_USE=64
readonly MOUNT=/opt/frigate-s3-mirror
readonly SIGNATURE='# Written by setup_s3_mirror.sh (frigate-s3-mirror). Each run of it writes this file anew.'
readonly BLOCK_BEGIN='# >>> frigate-s3-mirror, written by setup_s3_mirror.sh >>>'
readonly BLOCK_END='# <<< frigate-s3-mirror <<<'
readonly FRIGATE_IMAGE=ghcr.io/blakeblackshear/frigate:stable

usage() {
  cat >&2 <<'TEXT'
usage: setup_s3_mirror.sh [--dir FOLDER] [--service NAME] [--image IMAGE] [--yes] [--dry-run]
       setup_s3_mirror.sh --uninstall [--dir FOLDER] [--yes] [--dry-run]
       setup_s3_mirror.sh --vendor-only [--image IMAGE]
       setup_s3_mirror.sh demo [--keep]

Run this script in the folder of Frigate's compose file. It takes the settings from the environment
(S3_BUCKET, S3_ACCESS_KEY, S3_SECRET_KEY, ...) and from .env. On a terminal it asks for what is missing.

  --dir FOLDER     the folder of the compose file (default: the current folder)
  --service NAME   the name of Frigate's service in the compose file (default: frigate)
  --image IMAGE    the Frigate image that downloads the libraries if this machine has no Python 3.11
  --yes            do not ask before writing
  --dry-run        show what would be written, and write nothing
  --uninstall      remove what this script wrote; the mirror's state and the bucket stay
  --vendor-only    only download the libraries into vendor/
  demo             show the mirror at work on this machine, without Docker and without a bucket

exit codes: 0 done, 1 not done, 3 done, but `check` found faults, 64 wrong command line
TEXT
}

say() { printf '%s\n' "$*"; }
complain() { printf '%s\n' "$*" >&2; }

problems=() notes=()
problem() { problems+=("$1"); }
note() { notes+=("$1"); }

on_terminal() { [[ -t 0 && -t 1 ]]; }
have() { command -v "$1" >/dev/null 2>&1; }

# ---- what this machine has ---------------------------------------------------------------------

# usage: find_python [MODULE] ; prints a Python of 3.11 or later, which has MODULE if one is given
find_python() {
  local candidate wanted='import sys; sys.exit(sys.version_info < (3, 11))'
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
    if have "$candidate" && "$candidate" -c "$wanted${1:+; import $1}" 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  return 1
}

docker_answers() { have docker && docker info >/dev/null 2>&1; }

# usage: compose ARGUMENT... ; runs Docker Compose in the user's folder, with the mirror's override
compose() {
  local files=()
  if [[ -n $foreign_override && $chosen_files != *"$override"* ]]; then
    files=(-f "$compose_file" -f "$foreign_override" -f "$override")
  fi
  if docker compose version >/dev/null 2>&1; then
    (cd "$project" && docker compose ${files[@]+"${files[@]}"} "$@")
  else
    (cd "$project" && docker-compose ${files[@]+"${files[@]}"} "$@")
  fi
}

compose_answers() { docker compose version >/dev/null 2>&1 || docker-compose version >/dev/null 2>&1; }

# usage: first_file NAME... ; prints the first of these files that the user's folder has
first_file() {
  local name
  for name; do
    if [[ -e $project/$name ]]; then printf '%s\n' "$name"; return; fi
  done
  return 1
}

is_ours() { [[ -f $1 && $(head -n 1 -- "$1") == "$SIGNATURE" ]]; }

# Chooses the name of the override. If the user has an override already, the script does not change it and
# takes another name, because Compose reads only one override by itself.
choose_override() {
  local name
  override=docker-compose.override.yml foreign_override=""
  for name in compose.override.yml compose.override.yaml docker-compose.override.yml docker-compose.override.yaml; do
    if [[ -e $project/$name ]] && ! is_ours "$project/$name"; then
      foreign_override=$name override=docker-compose.s3-mirror.yml
      return
    fi
  done
}

# Prints the lines of the service in the user's compose file, without comments.
service_block() {
  awk -v service="$service" '
    { sub(/\r$/, "") }
    /^[ ]*(#|$)/ { next }
    { indent = match($0, /[^ ]/) - 1; key = $1; gsub(/["\047:]/, "", key) }
    indent == 0 { section = key; level = -1; inside = 0; next }
    section == "services" && level < 0 { level = indent }
    section == "services" && indent == level { inside = (key == service); next }
    inside { print }
  ' "$project/$compose_file"
}

# usage: in_compose_file NAME ; succeeds if the user's compose file mentions this variable
in_compose_file() { [[ $compose_text =~ (^|[^A-Z0-9_])$1([^A-Z0-9_]|$) ]]; }

# Fills `names` with every variable that the mirror reads, and `newer` with the newer name of each older one.
list_settings() {
  local listed name new
  if ! listed=$(tell_settings) || [[ $listed != *S3_BUCKET* ]]; then
    if find_python >/dev/null || docker_answers; then
      problem "$here/s3_snapshot_mirror.py does not list the settings: download the whole project again"
    else
      problem "cannot list the settings: this machine has neither Python 3.11 or later nor a running Docker"
    fi
    return 1
  fi
  while IFS=$'\t' read -r name new; do
    names+=" $name"
    if [[ -n $new ]]; then newer[$name]=$new; fi
  done <<<"$listed"
}

# Prints every variable on a line of its own. After an older name comes a tab and the newer name.
tell_settings() {
  local python
  if python=$(find_python); then
    "$python" "$here/s3_snapshot_mirror.py" settings --names
  elif docker_answers; then
    in_image /work/s3_snapshot_mirror.py settings --names
  else
    return 1
  fi
}

# ---- .env --------------------------------------------------------------------------------------

# Reads .env. Puts the user's lines into `own_text` and the script's own block into `block_text`. A block that
# has no end line may contain lines of the user, so it counts as the user's.
read_env() {
  local line inside=""
  own_text="" block_text=""
  if [[ ! -r $env_file ]]; then return; fi
  while IFS= read -r line || [[ -n $line ]]; do
    case ${line%$'\r'} in
      "$BLOCK_BEGIN") own_text+=$block_text block_text="" inside=yes ;;
    esac
    if [[ -n $inside ]]; then block_text+=$line$'\n'; else own_text+=$line$'\n'; fi
    if [[ ${line%$'\r'} == "$BLOCK_END" ]]; then inside=""; fi
  done <"$env_file"
  if [[ -n $inside ]]; then own_text+=$block_text block_text=""; fi
}

# usage: value_in NAME TEXT ; prints the value that the last line for NAME sets, without its quotes
value_in() {
  local value pattern=$'^(.*\n)?(export )?'$1$'=([^\n]*)'
  if [[ ! $2 =~ $pattern ]]; then return; fi
  value=${BASH_REMATCH[3]%$'\r'}
  case $value in
    \'*) value=${value#\'} value=${value%%\'*} ;;
    \"*) value=${value#\"} value=${value%%\"*} ;;
    *) value=${value%% \#*} value=${value%"${value##*[![:space:]]}"} ;;
  esac
  printf '%s' "$value"
}

env_value() { value_in "$1" "$own_text$block_text"; }

# Fills `values` from the environment, then from .env. `owned` has the names that the user's own lines set. A
# value under an older name moves to the newer one, unless one of the user's lines sets it, or the two differ.
collect_settings() {
  local name new theirs
  local -A given=()
  for name in $names; do
    new=${newer[$name]:-$name}
    values[$name]=${!name:-}
    theirs=$(value_in "$name" "$own_text")
    if [[ -n $theirs ]]; then
      if [[ -n ${!name:-} && $theirs != "${!name}" ]]; then
        note ".env has a line of your own for $name: the script keeps it and ignores the one in the environment"
      fi
      owned[$name]=yes values[$name]=$theirs
    elif [[ $new != "$name" && ${values[$new]:-${values[$name]}} == "${values[$name]}" ]]; then
      values[$new]=${values[$name]} values[$name]=""
    fi
    if [[ -n ${values[$name]}${values[$new]} ]]; then given[$new]=yes; fi
  done
  for name in $names; do
    new=${newer[$name]:-$name}
    if [[ -z ${given[$new]:-} && -z ${values[$new]} ]]; then values[$new]=$(value_in "$name" "$block_text"); fi
  done
}

# usage: ask NAME QUESTION [-s] ; asks on the terminal if the value is not known yet; -s hides the answer
ask() {
  if [[ -n ${values[$1]:-} || -n ${values[$1_FILE]:-} ]] || in_compose_file "$1"; then return; fi
  # shellcheck disable=SC2229,SC2162
  IFS= read -r ${3:+"$3"} -p "$2: " "values[$1]" || true
  if [[ -n ${3:-} ]]; then complain ""; fi
}

ask_settings() {
  ask S3_BUCKET "Bucket"
  ask S3_ENDPOINT_URL "Endpoint, as https://host (empty for AWS)"
  ask S3_REGION "Region (empty for us-east-1)"
  ask S3_PATH_PREFIX "Prefix of every key (may be empty)"
  ask S3_ACCESS_KEY "Access key id (empty for AWS profile or instance role)"
  if [[ -n ${values[S3_ACCESS_KEY]} ]]; then ask S3_SECRET_KEY "Secret access key (not shown)" -s; fi
}

# Prints the new .env: the user's lines, then the script's own block.
new_env() {
  local name
  printf '%s' "$own_text"
  say "$BLOCK_BEGIN"
  for name in $names; do
    if [[ -n ${values[$name]} && -z ${owned[$name]:-} ]]; then
      printf "%s='%s'\n" "$name" "${values[$name]}"
    fi
  done
  say "$BLOCK_END"
}

# ---- the override ------------------------------------------------------------------------------

# usage: yaml_text TEXT ; prints it in quotes, in a form in which Compose replaces no variable
yaml_text() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "${text//\$/\$\$}"
}

# Prints a stop grace period, because Frigate needs up to 11 s to stop and Docker allows 10. Prints nothing if
# the user has chosen one.
grace_period() {
  if ! service_block | grep -q '^ *stop_grace_period:'; then printf '\n    stop_grace_period: 30s'; fi
}

# Prints the override. A variable without a value has its value in .env, and is not set in the container if
# .env has none. The override leaves out the variables that the user's own compose file sets, because it
# would take precedence over that file.
new_override() {
  local name
  cat <<TEXT
$SIGNATURE
services:
  $service:
    entrypoint: ["/bin/bash", "$MOUNT/entrypoint.sh"]$(grace_period)
    volumes:
      - type: bind
        source: $(yaml_text "$here")
        target: $MOUNT
        read_only: true
    environment:
TEXT
  for name in $names; do
    if ! in_compose_file "$name"; then printf '      %s:\n' "$name"; fi
  done
}

# ---- the checks before anything is written -----------------------------------------------------

check_ourselves() {
  local file
  for file in entrypoint.sh boot/sitecustomize.py frigate_s3_patcher.py s3_snapshot_mirror.py requirements/child.lock; do
    if [[ ! -r $here/$file ]]; then problem "$here/$file is missing: download the whole project again"; fi
  done
}

check_vendoring() {
  if vendor_is_current; then return; fi
  if [[ ! -w $here ]]; then
    problem "cannot write to $here, where the libraries belong: run this script as the owner of that folder"
  fi
  if find_python pip >/dev/null || docker_answers; then return; fi
  problem "cannot download the libraries: this machine has neither Python 3.11 or later with pip nor a running
    Docker. Install one of them, or run --vendor-only on another machine and copy its folder vendor to $here"
}

# Finds out what the user's folder has already.
look_around() {
  read_env
  chosen_files=${COMPOSE_FILE:-$(env_value COMPOSE_FILE)}
  compose_file=${chosen_files%%:*}
  if [[ ! -f $project/$compose_file ]]; then
    compose_file=$(first_file compose.yaml compose.yml docker-compose.yml docker-compose.yaml) || compose_file=""
  fi
  if [[ -n $compose_file ]]; then
    compose_text=$(grep -v '^[[:space:]]*#' -- "$project/$compose_file" || true)
  fi
  choose_override
}

check_compose_file() {
  if [[ -z $compose_file ]]; then
    problem "no compose file in $project: run this script in the folder of Frigate's compose file, or name it with --dir"
  elif [[ -z $(service_block) ]]; then
    problem "no service $service in $compose_file: name Frigate's service with --service"
  elif service_block | grep -qE '^ *entrypoint:'; then
    note "$service has an entrypoint of its own in $compose_file: the mirror's entrypoint replaces it, and starts /init"
  fi
  if [[ ! -w $project ]]; then problem "cannot write to $project: run this script as the owner of that folder"; fi
  if [[ -e $env_file && ! (-r $env_file && -w $env_file) ]]; then
    problem "cannot read and write $env_file: run this script as the owner of that file"
  fi
}

check_compose() {
  if ! compose_answers; then
    note "this machine has no Docker Compose: the script can write the files, but it cannot try them"
  fi
  if [[ -n $chosen_files && $chosen_files != *"$override"* ]]; then
    note "COMPOSE_FILE is set, so Compose does not read the override by itself: add :$override to it"
  elif [[ -n $foreign_override && -z $chosen_files ]]; then
    note "$foreign_override is yours and stays unchanged. The script writes $override. Put this line into
    .env, so that Compose reads all three files:  COMPOSE_FILE=$compose_file:$foreign_override:$override"
  fi
}

check_settings() {
  local name theirs=""
  for name in $names; do
    if in_compose_file "$name"; then theirs+=" $name"; fi
  done
  if [[ -n $theirs ]]; then note "$compose_file already has these settings, so the script leaves them to it:$theirs"; fi
  if [[ -z ${values[S3_BUCKET]:-} ]] && ! in_compose_file S3_BUCKET; then
    problem "S3_BUCKET is not set: set it in the environment or in .env"
  fi
  for name in S3_ACCESS_KEY:S3_SECRET_KEY S3_SECRET_KEY:S3_ACCESS_KEY; do
    if is_given "${name%:*}" && ! is_given "${name#*:}"; then problem "${name%:*} is set, but ${name#*:} is not"; fi
  done
  if [[ -n ${values[S3_ENDPOINT_URL]:-} && ! ${values[S3_ENDPOINT_URL]} =~ ^https?://. ]]; then
    problem "S3_ENDPOINT_URL must begin with https:// or http://"
  fi
  for name in $names; do
    if [[ -z ${owned[$name]:-} && ${values[$name]} == *[\'\\[:cntrl:]]* ]]; then
      problem "$name has a quote, a backslash or a line break, which cannot stand in .env$(way_out "$name")"
    fi
  done
}

# usage: with_settings COMMAND... ; runs it with the settings in its environment, never on its command line
with_settings() (
  for name in "${!values[@]}"; do
    if [[ -n ${values[$name]} ]]; then export "$name=${values[$name]}"; fi
  done
  "$@"
)

# Adds the faults that the mirror's own parser finds. The parser needs no library. Settings that name a file are
# left out, because only the container has that file.
check_values() {
  local python fault
  python=$(find_python) || return 0
  while IFS= read -r fault; do problem "$fault"; done < <(
    with_settings "$python" -c '
import os, sys
sys.path.insert(0, sys.argv[1])
from frigate_mirror.settings import settings
secrets = [one for one in settings.VARIABLES.values() if one.secret]
hidden = {"S3_CA_BUNDLE"}.union(*(one.sources for one in secrets))
try:
    settings.load({name: text for name, text in os.environ.items() if name not in hidden})
except settings.SettingsError as error:
    print(*error.faults, sep="\n")' "$here"
  )
}

way_out() { if [[ " $names " == *" $1_FILE "* ]]; then printf ': put it into a file and set %s_FILE' "$1"; fi; }

is_given() { [[ -n ${values[$1]:-} || -n ${values[$1_FILE]:-} ]] || in_compose_file "$1"; }

# Prints all notes and problems together. Fails if there is a problem.
tell_problems() {
  local text
  for text in ${notes[@]+"${notes[@]}"}; do say "note: $text"; done
  if ((${#problems[@]} == 0)); then return; fi
  complain "Nothing was written. Correct these first:"
  for text in "${problems[@]}"; do complain "  - $text"; done
  return "$FAILED"
}

# ---- showing and writing -----------------------------------------------------------------------

masked() {
  sed -E -e "s/^((export )?[A-Za-z0-9_]*(KEY|SECRET|TOKEN|PASS)[A-Za-z0-9_]*=).*/\1'********'/" \
    -e 's#://[^/@]*@#://********@#'
}

# usage: show_difference FILE < NEW ; prints what would change in FILE, with secrets masked; fails if nothing would
show_difference() {
  local new old="" changed
  new=$(cat)
  if [[ -f $1 ]]; then old=$(<"$1"); fi
  if [[ $new == "$old" ]]; then return 1; fi
  say "$1:"
  changed=$(diff -U0 <(printf '%s\n' "$old" | masked) <(printf '%s\n' "$new" | masked) |
    sed -n -e '/^--- /d' -e '/^+++ /d' -e 's/^[-+]./  &/p') || true
  say "${changed:-  (only secrets change)}"
}

# usage: write_file PATH MODE < TEXT ; writes the whole file or nothing; others can never read a part of it
write_file() {
  local target=$1 new
  if [[ -L $target ]]; then target=$(readlink -f -- "$target"); fi
  new=$(umask 077 && mktemp "$target.XXXXXX")
  if ! { cat >"$new" && keep_owner "$new" && chmod "$2" "$new" && mv -f -- "$new" "$target"; }; then
    rm -f -- "$new"
    complain "cannot write $target"
    return "$FAILED"
  fi
}

# If root runs this script, gives the file to the owner of the compose file, who also runs Compose.
keep_owner() {
  if [[ $EUID -ne 0 || -z $compose_file ]]; then return 0; fi
  chown "$(stat -c %u:%g -- "$project/$compose_file")" "$1"
}

# usage: go_ahead QUESTION ; asks on a terminal unless --yes was given
go_ahead() {
  local answer=""
  if [[ -n $assume_yes ]] || ! on_terminal; then return 0; fi
  read -r -p "$1 [y/N] " answer || true
  [[ $answer == [yY]* ]]
}

# ---- the libraries -----------------------------------------------------------------------------

# Succeeds if vendor/ was made from the present lock file, of which it has a copy.
vendor_is_current() { cmp -s -- "$here/requirements/child.lock" "$here/vendor/requirements.lock"; }

# usage: pip_install FOLDER PYTHON... ; installs the pinned libraries into FOLDER/vendor.new, where FOLDER is the
# mirror's folder as PYTHON sees it
pip_install() {
  local folder=$1
  shift
  "$@" -m pip install --quiet --no-input --disable-pip-version-check --require-hashes --no-deps \
    --only-binary=:all: --target "$folder/vendor.new" -r "$folder/requirements/child.lock"
}

# usage: in_image ARGUMENT... ; runs the Python of Frigate's image, which sees the mirror's folder as /work
in_image() {
  docker run --rm --user "$(id -u):$(id -g)" --env HOME=/tmp \
    --mount "type=bind,source=$here,target=/work" --entrypoint python3 "$(frigate_image)" "$@"
}

# Compiles the Python files now, because the container's mount is read-only and Frigate's Python could not
# keep what it compiles. A Python of another version cannot use the result, so this runs in Frigate's image if
# the machine has it.
compile_for_frigate() {
  local python
  if docker_answers && docker image inspect "$(frigate_image)" >/dev/null 2>&1; then
    compile_in /work in_image
  elif python=$(find_python); then
    compile_in "$here" "$python"
  fi
}

# usage: compile_in FOLDER PYTHON... ; compiles those files that have changed since they were last compiled
compile_in() {
  local folder=$1
  shift
  "$@" -m compileall -q -l "$folder" "$folder/boot" || true
  "$@" -m compileall -q "$folder/frigate_mirror" "$folder/vendor" || true
}

# Prints the image of the user's service, or the usual one if the compose file does not tell.
frigate_image() {
  local named=""
  if [[ -n $image ]]; then
    named=$image
  elif [[ -n $compose_file ]]; then
    named=$(service_block | sed -n 's/^ *image: *["'\'']\{0,1\}\([^"'\'' ]*\).*/\1/p' | head -n 1)
    if [[ $named == *'$'* ]]; then named=$(compose config --images "$service" 2>/dev/null | head -n 1); fi
  fi
  printf '%s\n' "${named:-$FRIGATE_IMAGE}"
}

download_libraries() {
  local python
  if python=$(find_python pip); then
    say "Downloading the libraries into vendor/ with $python ..."
    PIP_USER=0 pip_install "$here" "$python"
  else
    say "Downloading the libraries into vendor/ with $(frigate_image) ..."
    pip_install /work in_image
  fi
}

vendor() {
  if vendor_is_current; then
    say "vendor/ is up to date."
    compile_for_frigate
    return
  fi
  rm -rf -- "$here/vendor.new" "$here/vendor.old"
  if ! { download_libraries && rm -rf -- "$here/vendor.new/bin" &&
    cp -- "$here/requirements/child.lock" "$here/vendor.new/requirements.lock"; }; then
    rm -rf -- "$here/vendor.new"
    complain "The libraries could not be downloaded. The old content of vendor/ is unchanged."
    return "$FAILED"
  fi
  if [[ -d $here/vendor ]]; then mv -- "$here/vendor" "$here/vendor.old" || return; fi
  mv -- "$here/vendor.new" "$here/vendor" && rm -rf -- "$here/vendor.old" || return
  compile_for_frigate
}

# ---- commands ----------------------------------------------------------------------------------

# Runs the mirror's `check` command: in a container of the service if possible, or else on this machine with the
# settings in the environment.
run_check() {
  local python
  if compose_answers && docker_answers; then
    say "Running the mirror's check in a container of the service $service ..."
    compose run --rm --no-deps -T --entrypoint python3 "$service" "$MOUNT/s3_snapshot_mirror.py" check
  elif python=$(find_python); then
    say "Running the mirror's check on this machine, because Docker does not answer ..."
    with_settings "$python" "$here/s3_snapshot_mirror.py" check --bucket-only || return
    say "This machine cannot see Frigate's folders. Once Frigate runs, run the check again in its container:
  docker exec $service python3 $MOUNT/s3_snapshot_mirror.py check"
  else
    say "The mirror's check did not run, because this machine has neither Docker Compose nor Python 3.11."
  fi
}

# Looks for everything that can be wrong, before anything is written.
preflight() {
  look_around
  check_ourselves
  check_vendoring
  check_compose_file
  check_compose
  if list_settings; then
    collect_settings
    if on_terminal && [[ -z $assume_yes ]]; then ask_settings; fi
    check_settings
    check_values
  fi
  tell_problems
}

# Shows what would change. Fails if nothing would.
show_plan() {
  local status=1
  if ! vendor_is_current; then status=0; say "$here/vendor: the libraries of requirements/child.lock"; fi
  if new_env | show_difference "$env_file"; then status=0; fi
  if new_override | show_difference "$project/$override"; then status=0; fi
  return "$status"
}

write_all() {
  vendor || return
  new_env | write_file "$env_file" 600 || return
  new_override | write_file "$project/$override" 644 || return
  say "The files are written. Restart Frigate with:  docker compose up -d"
}

install() {
  local changes=yes
  preflight || return
  show_plan || changes=""
  if [[ -n $dry_run ]]; then
    say "Nothing was written (--dry-run)."
    return
  elif [[ -z $changes ]]; then
    say "Everything is written already."
    compile_for_frigate
  elif go_ahead "Write this?"; then
    write_all || return
  else
    complain "Nothing was written."
    return "$FAILED"
  fi
  if ! run_check; then
    complain "The mirror's check found the faults above. Correct them, then run this script again."
    return "$CHECK_FAILED"
  fi
}

# Shows what would be removed, and fills `files` with it. Fails if there is nothing to remove.
show_remains() {
  local file
  for file in docker-compose.override.yml docker-compose.s3-mirror.yml; do
    if is_ours "$project/$file"; then files+=("$project/$file"); fi
  done
  if [[ ${#files[@]} -eq 0 && -z $block_text ]]; then return 1; fi
  if [[ -f $here/vendor/requirements.lock ]]; then files+=("$here/vendor"); fi
  for file in ${files[@]+"${files[@]}"}; do say "$file: will be removed"; done
  if [[ -n $block_text ]]; then printf '%s' "$own_text" | show_difference "$env_file" || true; fi
}

uninstall() {
  local files=()
  look_around
  if ! show_remains; then
    say "Nothing of the mirror is set up in $project."
  elif [[ -n $dry_run ]]; then
    say "Nothing was removed (--dry-run)."
  elif ! go_ahead "Remove this?"; then
    complain "Nothing was removed."
    return "$FAILED"
  else
    clean_env
    rm -rf -- ${files[@]+"${files[@]}"}
    if [[ $chosen_files == *docker-compose.s3-mirror.yml* ]]; then
      say "COMPOSE_FILE still names docker-compose.s3-mirror.yml: remove that name from it."
    fi
    say "The files are removed. The mirror's state and the bucket are unchanged. Restart Frigate with:  docker compose up -d"
  fi
}

# Removes the script's block from .env, or the whole file if nothing else is in it.
clean_env() {
  if [[ -z $block_text ]]; then return 0; fi
  if [[ -z $own_text ]]; then
    rm -f -- "$env_file"
  else
    printf '%s' "$own_text" | write_file "$env_file" 600
  fi
}

vendor_only() {
  look_around
  check_vendoring
  if [[ ! -r $here/requirements/child.lock ]]; then problem "$here/requirements/child.lock is missing"; fi
  tell_problems || return
  if [[ -n $dry_run ]]; then
    say "Nothing was downloaded (--dry-run)."
  else
    vendor
  fi
}

# usage: parse ARGUMENT... ; fills the options, fails if an argument is unknown
parse() {
  while (($#)); do
    case $1 in
      --dir | --service | --image) if (($# < 2)); then return 1; fi ;;
    esac
    case $1 in
      --dir) project=$2; shift ;;
      --service) service=$2; shift ;;
      --image) image=$2; shift ;;
      --yes | -y) assume_yes=yes ;;
      --dry-run | -n) dry_run=yes ;;
      --uninstall) command=uninstall ;;
      --vendor-only) command=vendor_only ;;
      -h | --help) command=usage ;;
      *) return 1 ;;
    esac
    shift
  done
  [[ $service =~ ^[A-Za-z0-9._-]+$ ]] && project=$(cd -- "$project" && pwd)
}

main() {
  here=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
  if [[ ${1:-} == demo ]]; then exec bash "$here/demo/demo.sh" "${@:2}"; fi
  if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 402)); then
    complain "bash $BASH_VERSION is too old: 4.2 or later is needed."
    return "$FAILED"
  fi
  command=install project=$PWD service=frigate image="" dry_run="" assume_yes=""
  compose_file="" compose_text="" foreign_override="" chosen_files="" own_text="" block_text=""
  names=""
  parse "$@" || { usage; return "$WRONG_USE"; }
  env_file=$project/.env
  declare -gA values=() owned=() newer=()
  "$command"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
