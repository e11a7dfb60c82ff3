"""DICOM, PNG and JPEG files to grey bytes, decoded in a child process with limits on time and memory."""
