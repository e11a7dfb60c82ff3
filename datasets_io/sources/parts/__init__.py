"""What the reader of one archive is made of besides its records: labels, places of images, texts of reports."""
