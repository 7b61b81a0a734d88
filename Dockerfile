# The companion's image: Python, the libraries of requirements/companion.lock, apprise, rclone, and this package. It is built where
# it runs, by `docker compose up -d --build`. docs/companion.md says how it is used.
#
# The tag names Python's minor version and Debian's release, so that a new build has their security fixes and no other
# changes. Both stages must have the same one, because the second one runs what the first one has installed.
FROM python:3.11-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The libraries come first, because they change less often than the package. Each one must have the hash of its lock file.
# There is no compiler, so only wheels are accepted.
COPY requirements requirements
RUN python -m venv --without-pip /opt/frigate-mirror \
    && pip install --require-hashes --only-binary :all: -r requirements/build.lock \
    && pip --python /opt/frigate-mirror install --require-hashes --only-binary :all: \
        -r requirements/companion.lock -r requirements/image.lock \
    && /opt/frigate-mirror/bin/python requirements/prune.py

COPY . .
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/frigate-mirror install --no-deps --no-index /wheels/*.whl


FROM python:3.11-slim-bookworm

# The image of Python has pip, which the companion does not need, and has compiled nothing. Python could not keep what it
# compiles on a root file system that is read-only, so each start and each health check would compile it again.
RUN python -m pip uninstall --yes --quiet --root-user-action ignore pip setuptools wheel \
    && python -m compileall -q -x '/(ensurepip|idlelib|lib2to3|pydoc_data|site-packages|test|tkinter|turtledemo)/' \
        /usr/local/lib/python3.11

COPY --from=build /opt/frigate-mirror /opt/frigate-mirror

# The user has a number and no name, so that any number will do, also one that Debian has given to another user.
ARG UID=1000
ARG GID=1000
RUN install --directory --mode 700 --owner "$UID" --group "$GID" /state /config
USER $UID:$GID

# /state is the only folder that must be writable. Python uses it for temporary files, too, where /tmp is read-only, because
# it is the working directory. rclone writes refreshed tokens into its configuration, so /config must be writable for it.
ENV PATH=/opt/frigate-mirror/bin:$PATH \
    HOME=/state \
    MIRROR_STATE_DIR=/state \
    RCLONE_CONFIG=/config/rclone.conf
WORKDIR /state
VOLUME ["/state"]

# It asks whether the process lives and its status is fresh, never whether the destination answers: a new start would not
# end an outage.
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 CMD ["frigate-mirror", "status", "--alive"]

# SIGTERM, which is Docker's default, makes the companion finish the uploads that have begun, for MIRROR_DRAIN_SECONDS.
ENTRYPOINT ["frigate-mirror"]
CMD ["companion"]

ARG VERSION=0.2.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="frigate-mirror" \
    org.opencontainers.image.description="Mirrors what a Frigate beside it has seen to S3 or to a remote of rclone" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.created="$CREATED" \
    org.opencontainers.image.licenses="MIT"
