"""The tests. Each name is a sentence about behaviour; `tests.rig` holds what they run on."""
