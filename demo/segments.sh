#!/usr/bin/env bash
# Makes a recording segment of four seconds for each camera of the stand-in: its scene, which a white box crosses.
# The machine's ffmpeg encodes them as Frigate's cameras do: H.264, a keyframe each second, the index in front.
set -Eeuo pipefail

readonly SECONDS_LONG=4 RATE=5

usage() { echo "usage: segments.sh FOLDER" >&2; }

make_segment() {
  local picture=$1 segment=$2
  ffmpeg -nostdin -loglevel error -y -loop 1 -framerate "$RATE" -i "$picture" \
    -f lavfi -i "color=white:size=20x44:rate=$RATE" \
    -filter_complex "[0]scale=320:180[scene];[scene][1]overlay=x=(W-w)*t/$SECONDS_LONG:y=112,format=yuv420p" \
    -t "$SECONDS_LONG" -c:v libx264 -preset slow -crf 30 -g "$RATE" -bf 0 \
    -map_metadata -1 -fflags +bitexact -flags:v +bitexact -movflags +faststart "$segment"
}

main() {
  local pictures picture name
  if (($# != 1)); then usage; return 64; fi
  pictures=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../tests/rig/standin/pictures" && pwd)
  mkdir -p -- "$1"
  for picture in "$pictures"/*.jpg; do
    name=${picture##*/}
    make_segment "$picture" "$1/${name%.jpg}.mp4"
  done
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
