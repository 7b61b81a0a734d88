"""The fault campaign: it runs the mirror under every fault that can be made here, with a real S3
server.

It imports nothing of the program. It sees from outside what the program did: in the bucket, in the
process list and in the log. See README.md beside this file.
"""
