"""What is trained: encoders by eleven objectives on a corpus, and cells that evaluate them on a dataset."""
