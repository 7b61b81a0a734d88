"""Python runs this file when it starts. It is the mirror's only file on PYTHONPATH.

Every Python in the container runs it, also those whose output Frigate parses. So it prints nothing
and imports nothing that the interpreter has not loaded already. It takes its own folder off
sys.path, and adds itself to sys.meta_path to wait for the imports of two modules of Frigate. When
Frigate imports one of them, it loads frigate_s3_patcher.py, which installs the hook.
"""

import sys

_BOOT = __file__.rpartition("/")[0]


def find_spec(name, path=None, target=None):
    """Returns None for all modules but two: Frigate's event thread and its HTTP API. This module is
    an import finder."""
    if name != "frigate.events.maintainer" and name != "frigate.api.fastapi_app":
        return None
    try:
        # Python has already asked the finders before this one.
        for finder in sys.meta_path[sys.meta_path.index(_this_module) + 1 :]:
            if hasattr(finder, "find_spec"):  # old finders have only find_module
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return _patcher().armed_after_import(spec)
    except BaseException as error:
        try:
            sys.stderr.write(f"S3 snapshot mirror not armed: {error!r}\n")
        except BaseException:
            pass
    return None


def _patcher(name="frigate_s3_patcher"):
    from importlib.util import module_from_spec, spec_from_file_location

    if name not in sys.modules:
        spec = spec_from_file_location(name, f"{_BOOT.rpartition('/')[0]}/{name}.py")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


try:
    _this_module = sys.modules[__name__]
    sys.meta_path.insert(0, _this_module)
    sys.path.remove(_BOOT)
    _finders = tuple(sys.meta_path)
except BaseException:
    _finders = ()

# This file hides any other sitecustomize, so it runs that one here. No guard stands around this:
# the other one must do and raise the same as without the mirror. The finders are asked first,
# because an import that fails costs twice as much.
for _finder in _finders:
    if hasattr(_finder, "find_spec") and _finder.find_spec(__name__, None):
        del sys.modules[__name__]
        import sitecustomize  # noqa: F401

        break
