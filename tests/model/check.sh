#!/bin/sh
# Search one configuration: check.sh journal DEATH=0      (TRAIL=1 shows the way to an error)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=$1
shift
switches=""
for s in "$@"; do switches="$switches -D$s"; done
cp "$here"/*.pml "$work"
cd "$work"
spin -a $switches "$name.pml"
cc -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM="${MEMORY_MB:-1900}" -o pan pan.c
./pan -m100000 -w24 | grep -E '^pan:|errors:|states, stored|max search|out of memory|elapsed' || true
if [ "${TRAIL:-0}" != 0 ] && [ -f "$name.pml.trail" ]; then spin -t -p -g $switches "$name.pml"; fi
