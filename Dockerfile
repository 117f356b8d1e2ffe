# One image for every role; docker-compose.yml says which command it runs.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY requirements.lock .
RUN python3 -m venv /venv \
    && /venv/bin/python -m pip install --quiet --no-cache-dir --require-hashes --requirement requirements.lock

FROM ${BASE}
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent desk \
    && install -d -o desk -g desk /data /workspace
COPY --from=build /venv /venv
WORKDIR /app
COPY . .
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    VAR_DIR=/data \
    WORKSPACE_PATH=/workspace
USER 10001
VOLUME ["/data", "/workspace"]
EXPOSE 8000 1080
CMD ["python", "manage.py", "up", "--only", "web"]
