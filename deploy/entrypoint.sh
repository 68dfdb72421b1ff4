#!/bin/bash
# What a container does, by its arguments: a command of `efiss` (serve, admin, reindex, index …),
# `bench`, or any other program of the image.  It becomes that program, which then gets the signals.
set -eu
if [ "${1:-}" = bench ]; then
    shift
    exec python benchmarks/service.py --out /tmp/results "$@"
fi
if type -P -- "${1:-}" >/dev/null; then
    exec "$@"
fi
exec efiss "$@"
