"""The doors: protos in, protos out, over gRPC or in process."""
