"""Files at a storage URI, and finished folders whose sealed result.json is written last."""
