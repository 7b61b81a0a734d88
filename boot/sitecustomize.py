"""The only file of ours on PYTHONPATH, so every Python in the container runs it at its start.

Some of those have their stdout parsed by Frigate: it is silent, imports nothing that the
interpreter has not loaded already, and only stands on sys.meta_path until one module is imported.
What to do then is the patcher's business, and what every Python would have to load for that.
"""

import sys

_BOOT = __file__.rpartition("/")[0]


def find_spec(name, path=None, target=None):
    """This module is the finder: it lets every import pass but one."""
    if name != "frigate.events.maintainer":
        return None
    try:
        # Those before us were asked already.
        for finder in sys.meta_path[sys.meta_path.index(_ours) + 1 :]:
            if hasattr(finder, "find_spec"):  # one of the old kind has none
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
    _ours = sys.modules[__name__]
    sys.meta_path.insert(0, _ours)
    sys.path.remove(_BOOT)
    _finders = tuple(sys.meta_path)
except BaseException:
    _finders = ()

# Outside the guard: what the sitecustomize that we shadow does or raises, it does and raises as it
# would without us. It is looked for first, since an import that fails costs twice as much.
for _finder in _finders:
    if hasattr(_finder, "find_spec") and _finder.find_spec(__name__, None):
        del sys.modules[__name__]
        import sitecustomize  # noqa: F401

        break
