"""Raw archives of chest radiographs -> Parquet shards with a manifest -> what training reads. Imports no sibling."""
