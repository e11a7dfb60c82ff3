"""What is installed, file by file: `make lock` and `make sbom`."""
