"""What a storage holds: the one package that knows its paths, reads what is damaged, and writes."""
