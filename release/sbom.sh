#!/usr/bin/env bash
# What an image ships: an SBOM (CycloneDX) and the licences of its Python packages, and the list of its
# Debian packages.
#
#     release/sbom.sh IMAGE FOLDER [arguments of docker run …]
#
# The tools are installed in a container, beside the environment that they read, and need a network.
set -euo pipefail
image=$1 folder=$2
shift 2
mkdir -p "$folder"

docker run --rm --tmpfs /tmp:exec "$@" "$image" bash -c '
    set -eu
    /usr/local/bin/python3 -m venv /tmp/tools
    /tmp/tools/bin/pip --disable-pip-version-check install --quiet cyclonedx-bom==7.5.0 pip-licenses==5.5.5 >&2
    mkdir /tmp/sbom
    cd /tmp/sbom
    packages=/opt/venv/bin/python
    /tmp/tools/bin/cyclonedx-py environment --output-reproducible --output-file python.cdx.json "$packages" >&2
    /tmp/tools/bin/pip-licenses --python="$packages" --with-urls --format=markdown > python-licences.md
    dpkg-query --show --showformat "\${Package}\t\${Version}\t\${Architecture}\n" > debian.tsv
    tar c .
' | tar x -C "$folder"
echo "$folder: $(ls "$folder" | tr '\n' ' ')"
