"""What `setup_s3_mirror.sh` does on the host: it looks at the owner's Docker Compose project, asks
for the settings, writes .env and a compose override, and removes them again.

It needs no library but Python's own. It does not know S3: the command `setup` gives it the function
that tries a key on the bucket.
"""
