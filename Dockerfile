# The service as a user without rights; a read-only root file system will do: only /data and /tmp are written.
#   docker build -t hubbridge .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     -p 8090:8090 -v hubbridge-data:/data hubbridge
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY locks/core.txt locks/core.txt
RUN python -m venv /opt/hubbridge \
    && /opt/hubbridge/bin/pip install --no-cache-dir --require-hashes --requirement locks/core.txt
COPY pyproject.toml README.md LICENSE ./
COPY adapters adapters
COPY bridge bridge
COPY labelmatch labelmatch
RUN /opt/hubbridge/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Hubbridge" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --create-home --home-dir /home/hubbridge hubbridge \
    && install --directory --owner=hubbridge --group=hubbridge --mode=0700 /data
COPY --from=build /opt/hubbridge /opt/hubbridge
# malloc would keep up to eight heaps for each core, and a tenth more memory under load (docs/operations.md).
# Beyond the container's own loopback everybody needs a token: docker exec ... hubbridge token create NAME --scope admin
ENV PATH=/opt/hubbridge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HOME=/tmp \
    MALLOC_ARENA_MAX=2 \
    HUBBRIDGE_STORAGE__DATA_DIR=/data \
    HUBBRIDGE_SERVER__HOST=0.0.0.0 \
    HUBBRIDGE_AUTH__MODE=required \
    HUBBRIDGE_LOGGING__FORMAT=json
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8090
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8090/healthz', timeout=4)"]
ENTRYPOINT ["hubbridge"]
CMD ["serve"]
