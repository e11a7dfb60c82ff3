"""One module a source: how its official archive is read into records. datasets_io.sources.registry lists them."""
