"""The doors: protos in, protos out, over gRPC or in process."""

import os

# gRPC looks at it once, as it is imported. By itself it has a pool of threads read a server's sockets and wake the one
# that takes its events; now that one reads them. A chunk of a stream then costs a third less beside the event loop.
# Whoever has set the variable keeps it. A gRPC that no longer knows the name serves as well.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
