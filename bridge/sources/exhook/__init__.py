"""EMQX as a source: a gRPC server for its ExHook, v2 and v3; needs the extra `exhook`."""
