# The search service, its admin service and the indexer in one image: docs/images.md.
# searcher/Dockerfile is this same file.  Dockerfile.cuda differs in where torch comes from, and in
# what it tells NVIDIA's runtime.

# The base; pinned by its digest where docs/security.md says how.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
# The package index of torch; empty for PyPI's, which is the CUDA build of several GB.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
# Extras of pyproject.toml.
ARG EXTRAS="admin heif java"
# The version of ./index to pack into the image; empty indexes the demo catalogue.
ARG VERSION=
# The model of ./torchscripts_models that is in the image.
ARG MODEL_NAME=relahash-medium-64bits


FROM $PYTHON_IMAGE AS packages
ARG TORCH_INDEX_URL
ENV PIP_PYTHON=/opt/venv/bin/python PIP_NO_CACHE_DIR=1 PATH=/opt/venv/bin:$PATH
# Its `activate` would stand before `efiss activate` (deploy/entrypoint.sh).
RUN python3 -m venv --without-pip /opt/venv && rm /opt/venv/bin/[Aa]ctivate*
WORKDIR /build
COPY constraints.txt ./
# By itself and from that index alone, so that no other package can come from there; without what
# only C++ programs and its own tests need.
RUN pip install --no-deps --constraint constraints.txt \
        ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch \
    && cd /opt/venv/lib/python3.11/site-packages/torch \
    && rm -rf include test \
    && find bin -type f ! -name torch_shm_manager -delete
# The rest by the hashes of its files, and what has none there: NVIDIA's libraries, other extras.
COPY locked locked
COPY pyproject.toml ./
ARG EXTRAS
RUN for name in base $EXTRAS; do \
        if [ -f locked/$name.txt ]; then echo "--requirement locked/$name.txt"; fi; \
    done | xargs pip install --no-deps --require-hashes \
    && python3 -c 'import sys, tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
extras = project["optional-dependencies"]; \
print(*project["dependencies"], *(line for name in sys.argv[1:] for line in extras[name]), sep="\n")' \
        $EXTRAS > requirements.txt \
    && pip install --constraint constraints.txt --requirement requirements.txt \
    && rm -f /opt/venv/lib/python3.11/site-packages/openvino/libs/libopenvino_intel_[gn]pu_plugin.so \
        /opt/venv/lib/python3.11/site-packages/openvino/libs/cache.json
# The program itself lies in /app, so that a change of it is one small layer.
RUN echo /app > /opt/venv/lib/python3.11/site-packages/efiss.pth \
    && printf '%s\n' '#!/opt/venv/bin/python' 'from efiss.cli import main' 'main()' \
        > /opt/venv/bin/efiss \
    && chmod +x /opt/venv/bin/efiss
WORKDIR /app


# The demo catalogue, its pictures and then its index, each from no more than what makes it: another
# change of the program does not hash again.
FROM packages AS pictures
COPY machine machine
COPY photographs photographs
RUN python -c 'import photographs; photographs.write_datalake(photographs.DATALAKE)'

FROM packages AS catalogue
ARG MODEL_NAME
COPY --from=pictures /app/demo demo
COPY torchscripts_models/${MODEL_NAME}.* torchscripts_models/
COPY machine machine
COPY hashing hashing
COPY searcher searcher
COPY indexer indexer
COPY efiss efiss
RUN bash indexer/extract_datalake.sh demo/datalake \
    && python indexer/main.py --model_path torchscripts_models --database database_info.txt \
        --new_index_database_version 1.0.0

# Or a version of one's own, whose pictures stay outside.
FROM packages AS catalogue-own
ARG VERSION
COPY index/${VERSION} index/${VERSION}
COPY machine machine
COPY hashing hashing
COPY searcher searcher
RUN mkdir demo

FROM catalogue${VERSION:+-own} AS packed
ARG VERSION
COPY handlers handlers
COPY serving serving
COPY efiss_client.py ./
COPY efiss efiss
RUN efiss archive --index_version "${VERSION:-1.0.0}"


FROM $PYTHON_IMAGE
ARG MODEL_NAME
# It is process 1 and reaps what others leave; by its help the default of a signal holds as well.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
# Open to everybody, since `--user` may name anyone; a volume takes the place of each.
RUN install --directory --mode 777 index data
COPY --from=packed /app/demo demo
COPY torchscripts_models/${MODEL_NAME}.* torchscripts_models/
COPY --from=packed /app/model_store model_store
COPY config.properties efiss.toml LICENSE NOTICE ./
COPY deploy/*.sh deploy/
COPY benchmarks benchmarks
COPY photographs photographs
COPY machine machine
COPY hashing hashing
COPY searcher searcher
COPY indexer indexer
COPY handlers handlers
COPY serving serving
COPY efiss_client.py ./
COPY admin admin
COPY trainer trainer
COPY efiss efiss
RUN python3 -m compileall -q \
        admin benchmarks efiss handlers hashing indexer machine photographs searcher serving \
        trainer
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    EFISS_HOST=0.0.0.0 \
    EFISS_ADMIN_HOST=0.0.0.0 \
    EFISS_DATALAKE=data \
    EFISS_DATABASE=/tmp/database_info.txt \
    EFISS_MODELS=torchscripts_models
USER 1000:1000
EXPOSE 5000 5001 5005
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["deploy/healthcheck.sh"]
ENTRYPOINT ["tini", "-s", "--", "/app/deploy/entrypoint.sh"]
CMD ["serve"]
