"""The demo of the companion, which `companion demo` runs."""
