# carsdepo-service: the inspection service of a stage, without torch, Dagster and MLflow.
# Builds with docker, buildah or podman: deploy/images/build.sh service
# The digest is that of Docker's official image as docker-library/repo-info lists it (repos/python/remote/); to refresh
# it: docker buildx imagetools inspect python:3.11-slim-bookworm
ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b

FROM ${BASE} AS build
WORKDIR /build
# pip gets its settings, such as another index, from the build's secret "pip.conf"; no layer keeps them.
RUN python3 -m venv /build/tools && python3 -m venv --without-pip /opt/carsdepo
COPY deploy/images/tools.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /build/tools/bin/pip install --no-cache-dir --no-deps --require-hashes -r tools.lock
COPY deploy/images/requirements-service.lock ./requirements.lock
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /build/tools/bin/pip --python /opt/carsdepo/bin/python install \
    --no-cache-dir --no-deps --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./source/
COPY carsdepo_assets ./source/carsdepo_assets
RUN /build/tools/bin/pip wheel --no-cache-dir --no-deps --no-index --no-build-isolation --wheel-dir wheels ./source \
    && /build/tools/bin/pip --python /opt/carsdepo/bin/python install --no-cache-dir --no-deps --no-index wheels/*.whl \
    && /build/tools/bin/cyclonedx-py environment /opt/carsdepo/bin/python --pyproject source/pyproject.toml \
    --output-format JSON --output-reproducible --output-file /opt/carsdepo/sbom.cdx.json
COPY --chmod=644 deploy/images/entrypoint.py /opt/carsdepo/

FROM ${BASE}
# The base's digest fixes Debian's release; of these packages the newest security fixes are wanted.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --no-log-init --uid 10001 --user-group --home-dir /var/lib/carsdepo --no-create-home carsdepo \
    && install --directory --owner=carsdepo --group=carsdepo /var/lib/carsdepo /opt/ml \
    && dpkg-query --show > /var/lib/dpkg/sbom-debian.txt
COPY --from=build /opt/carsdepo /opt/carsdepo
# Nothing writes outside /tmp and the volume, so that the root may be read-only.
ENV PATH=/opt/carsdepo/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    YOLO_CONFIG_DIR=/tmp/ultralytics \
    DAGSTER_DISABLE_TELEMETRY=yes \
    MLFLOW_DISABLE_TELEMETRY=true \
    CARSDEPO_HOME=/var/lib/carsdepo
WORKDIR /var/lib/carsdepo
USER 10001:10001
VOLUME ["/var/lib/carsdepo"]
# build.sh adds version and revision. The last label tells SageMaker that it may load several models.
LABEL org.opencontainers.image.title="carsdepo-service" \
      org.opencontainers.image.description="Inspects photographs of cars over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      com.amazonaws.sagemaker.capabilities.multi-models="true"
EXPOSE 8080
# Liveness. /ping, which load balancers and SageMaker ask, is 503 as long as no model is deployed.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 \
    CMD ["/opt/carsdepo/bin/python", "/opt/carsdepo/entrypoint.py", "health"]
ENTRYPOINT ["tini", "--", "/opt/carsdepo/bin/python", "/opt/carsdepo/entrypoint.py"]
CMD ["serve"]
