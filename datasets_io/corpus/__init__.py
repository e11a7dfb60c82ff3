"""A built corpus: its manifest, its shards as they are read, the order of an epoch, the stream, and label subsets."""
