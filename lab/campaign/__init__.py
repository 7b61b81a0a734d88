"""The fault campaign: the mirror under every fault that can be made here, against a real S3 server.

It imports nothing of the program. What the program did is seen from outside: in the bucket, in the
process list, in its log. See README.md beside this file.
"""
