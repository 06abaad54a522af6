# The context is target/image, which scripts/image-rootfs fills; nothing is compiled or downloaded here, so the
# image holds exactly the files that the tests ran.
FROM scratch

LABEL org.opencontainers.image.title="ml-cache-action" \
      org.opencontainers.image.description="Decides in CI whether a model must be trained again, and keeps trained models in S3" \
      org.opencontainers.image.source="https://github.com/org/ml-cache-action" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY rootfs/ /

# The binary refuses directories that are gone with the container.
ENV ML_CACHE_CONTAINER=true

# The binary itself, not a shell: a shell drops environment variables with a hyphen in their name, and that is
# how the runner hands over inputs. No USER: the runner requires root, because the files it mounts belong to it.
ENTRYPOINT ["/usr/local/bin/ml-cache"]
