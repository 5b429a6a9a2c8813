# `make reproduce` on CPUs, with exactly the packages of requirements.lock; docs/how-to/install.md says how to run it.
FROM python:3.11-slim

RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /hybrid

# The packages come first: a change of the code does not install them again.
COPY requirements.lock ./
RUN python -m venv .venv && .venv/bin/python -m pip install --no-cache-dir --require-hashes --requirement requirements.lock && \
    touch .venv/.made .venv/.locked

COPY Makefile pyproject.toml README.md LICENSE ./
COPY hybrid hybrid
COPY notebooks notebooks
COPY results results
RUN make install LOCKED=1

# Checkpoints, results and the report go to a folder that is mounted here.
ENV HYBRID_HOME=/out
VOLUME /out
CMD ["make", "reproduce"]
