"""The only file of ours on PYTHONPATH, so every Python in the container runs it at its start.

Some of those have their stdout parsed by Frigate: it is silent, imports nothing that the
interpreter has not loaded already, and only registers for the import of one module. What to do
when that import comes is the patcher's business.
"""

import os
import sys

HOOKED = "frigate.events.maintainer"
BOOT = os.path.dirname(__file__)


class _Finder:
    """Stands on sys.meta_path and lets every import pass but one."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != HOOKED:
            return None
        try:
            # Those before us were asked already.
            for finder in sys.meta_path[sys.meta_path.index(cls) + 1 :]:
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return _armed_after_import(spec)
        except BaseException as error:
            _say(error)
        return None


def _armed_after_import(spec):
    """`spec` with one step added after its module has run."""
    run_module = spec.loader.exec_module

    def exec_module(module):
        run_module(module)
        try:
            _patcher().arm(module)
        except BaseException as error:
            _say(error)

    spec.loader.exec_module = exec_module
    return spec


def _patcher():
    from importlib.util import module_from_spec, spec_from_file_location

    name = "frigate_s3_patcher"
    if name not in sys.modules:
        path = os.path.join(os.path.dirname(BOOT), f"{name}.py")
        spec = spec_from_file_location(name, path)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def _say(error):
    try:
        sys.stderr.write(f"S3 snapshot mirror not armed: {error!r}\n")
    except BaseException:
        pass


def _step_aside():
    """Take ourselves off sys.path, by whatever name we are there, and out of sys.modules."""
    sys.path[:] = [entry for entry in sys.path if not _is_boot(entry)]
    return sys.modules.pop("sitecustomize")


def _is_boot(entry):
    try:
        return os.path.samefile(entry, BOOT)
    except OSError:
        return False


try:
    sys.meta_path.insert(0, _Finder)
    _ours = _step_aside()
except BaseException:
    _ours = None

# Outside the guard: what the sitecustomize that we shadow does or raises, it does and raises as it
# would without us.
if _ours is not None:
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
        sys.modules["sitecustomize"] = _ours
