"""What do the results say? Tables, sentences, statistics and figures, as files and as one page."""
