"""The commands of the mirror, one file each: `add_options` and `main`.

`main` returns the exit code. Each command works beside a running mirror and without one.
"""
