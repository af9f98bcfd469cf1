# syntax=docker/dockerfile:1
# One image with both programs. Without Docker, e2e/box/image-chronik.sh makes the same from built binaries.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin chronik-broker --bin chronik-operator \
    && mkdir /out && cp target/release/chronik-broker target/release/chronik-operator /out/

# glibc and libgcc of the same Debian as above; no shell, no package manager; user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/ /usr/local/bin/
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/chronik-broker"]
