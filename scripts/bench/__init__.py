"""The benchmark's tools: a sink, publishers, and the measurements. Run them with `make bench`."""
