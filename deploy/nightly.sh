#!/bin/bash
# Reindexes every night, for where nothing else calls `efiss reindex` at a time: REINDEX_AT, HH:MM in
# the time zone TZ.  Once at the start as well where no version is live, so that a new installation
# need not wait for the night.
set -eu
at=${REINDEX_AT:-03:00}
if ! [[ $at =~ ^([01][0-9]|2[0-3]):[0-5][0-9]$ ]]; then
    echo "REINDEX_AT must be a time of the day, 00:00 to 23:59, not '$at'" >&2
    exit 2
fi

# What runs is a child that is waited for, since bash handles no signal while a command runs.
running=
stop() {
    if [ -n "$running" ]; then
        kill "$running" 2>/dev/null || true
        wait "$running" || true
    fi
    exit 0
}
trap stop TERM INT

wait_for() {
    "$@" &
    running=$!
    wait "$running"
}

reindex() {
    local code=0
    wait_for efiss reindex || code=$?
    case $code in
        0 | 3) ;;  # 3: the catalogue is as it was
        *) echo "reindexing ended with exit code $code; the next try is at $at" >&2 ;;
    esac
}

seconds_left() {
    local now next
    now=$(date +%s)
    next=$(date -d "$at" +%s)
    [ "$next" -gt "$now" ] || next=$(date -d "tomorrow $at" +%s)
    echo $((next - now))
}

[ -e index/CURRENT ] || reindex
while true; do
    wait_for sleep "$(seconds_left)"
    reindex
done
