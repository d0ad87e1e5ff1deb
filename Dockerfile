# Two stages: a static binary, and an image that holds nothing else.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /mzcanary ./cmd/mzcanary \
 && mkdir /state && chown 65532:65532 /state

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /mzcanary /mzcanary
COPY --from=build --chown=65532:65532 /state /var/lib/mzcanary
USER 65532:65532
# The journal of a rollout lives here; mount a volume, or a restart forgets it.
VOLUME /var/lib/mzcanary
# The defaults listen on loopback, which nobody outside of the container reaches. The
# API (admin.address) stays there: it has no tokens yet; use docker exec.
ENV MZCANARY_STATE_DIR=/var/lib/mzcanary \
    MZCANARY_LISTEN_ADDRESS=:6865 \
    MZCANARY_OBSERVE_ADDRESS=:6867
EXPOSE 6865 6867
ENTRYPOINT ["/mzcanary"]
CMD ["serve", "--config", "/etc/mzcanary/deploy.yaml"]
