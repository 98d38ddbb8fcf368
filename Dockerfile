# lthray with the packages of requirements.lock, for a user without rights; docs/install.md has the commands.
# TORCH=cuda, the default, has every package by its hash, and runs on a CPU too. TORCH=cpu is smaller.
ARG TORCH=cuda

FROM python:3.11-slim AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1
WORKDIR /lthray
COPY requirements.lock requirements-cpu.excludes ./

FROM base AS cuda
RUN pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements.lock

FROM base AS cpu
RUN pip install --no-cache-dir uv==0.13.9 \
    && uv pip install --system --no-cache --require-hashes --no-deps --only-binary :all: \
        --excludes requirements-cpu.excludes -r requirements.lock \
    && uv pip install --system --no-cache --no-deps --only-binary :all: --torch-backend cpu \
        torch==2.15.0 torchvision==0.29.2

# hadolint ignore=DL3006
FROM ${TORCH}
WORKDIR /lthray
COPY . .
RUN pip install --no-cache-dir --no-deps -e . \
    && useradd --create-home --uid 1000 lthray \
    && install --directory --owner lthray --group lthray --mode 700 runs
USER 1000:1000
ENTRYPOINT ["lthray"]
CMD ["--help"]
