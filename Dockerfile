# docker build -t hookmq .
# docker run -p 1883:1883 -v ./nanomq.conf:/etc/hookmq/nanomq.conf:ro -v hookmq:/data hookmq
FROM python:3.13-slim

# The lock's packages first: they change seldom, so the layer is kept. The build tool comes from the lock too
# and before the rest, as in scripts/venv.sh.
WORKDIR /opt/hookmq
COPY requirements.lock ./
RUN awk '/^[^ #]/ { in_tool = /^setuptools==/ } in_tool' requirements.lock > build-tool.lock \
    && pip install --no-cache-dir --require-hashes -r build-tool.lock \
    && pip install --no-cache-dir --require-hashes --no-build-isolation -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY bridge bridge
COPY conf/nanomq.conf /etc/hookmq/nanomq.conf
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin hookmq \
    && install -d -o hookmq -g hookmq /data

USER hookmq
WORKDIR /data
VOLUME /data
ENV HOOKMQ_SQLITE__MOUNTED_FILE_PATH=/data
EXPOSE 1883 8883 8083 8084 8081
STOPSIGNAL SIGTERM

# The process itself answers, from the loop that serves clients and webhooks.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["hookmq", "status", "--store", "/data"]

# SIGTERM lets requests in flight end; a store that is stopped harder loses nothing that was acknowledged.
ENTRYPOINT ["hookmq"]
CMD ["start", "--conf", "/etc/hookmq/nanomq.conf"]
