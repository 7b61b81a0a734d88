"""The only file of ours on PYTHONPATH, so every Python in the container runs it at its start.

Some of those have their stdout parsed by Frigate: it is silent, imports nothing that the
interpreter has not loaded already, and only registers for the import of one module. What to do
when that import comes is the patcher's business.
"""

import sys

HOOKED = "frigate.events.maintainer"
BOOT = __file__.rpartition("/")[0]


class _Finder:
    """Waits on sys.meta_path for one import, then steps aside for good."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != HOOKED:
            return None
        try:
            sys.meta_path.remove(cls)
            return _armed_after_import(name, path, target)
        except BaseException:
            return None


def _armed_after_import(name, path, target):
    """The spec that the other finders give, with one step added after the module has run."""
    found = (finder.find_spec(name, path, target) for finder in sys.meta_path)
    spec = next(filter(None, found), None)
    if spec is None:
        return None
    run_module = spec.loader.exec_module

    def exec_module(module):
        run_module(module)
        try:
            _patcher().arm(module)
        except BaseException as error:
            sys.stderr.write(f"S3 snapshot mirror not armed: {error!r}\n")

    spec.loader.exec_module = exec_module
    return spec


def _patcher():
    from importlib.util import module_from_spec, spec_from_file_location

    name = "frigate_s3_patcher"
    folder = BOOT.rpartition("/")[0] or "."
    spec = spec_from_file_location(name, f"{folder}/{name}.py")
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _shadowed():
    """The sitecustomize that would have run without us, or None."""
    elsewhere = [entry for entry in sys.path if entry.rstrip("/") != BOOT]
    for finder in sys.meta_path:
        spec = finder.find_spec("sitecustomize", elsewhere)
        if spec is not None and spec.origin != __file__:
            return spec
    return None


try:
    sys.meta_path.insert(0, _Finder)
    _other = _shadowed()
except BaseException:
    _other = None

# Outside the guard: whatever it does or raises, it does and raises as it would without us.
if _other is not None:
    _module = type(sys)("sitecustomize")
    _module.__spec__ = _other
    _module.__loader__ = _other.loader
    _module.__file__ = _other.origin
    sys.modules["sitecustomize"] = _module
    _other.loader.exec_module(_module)
