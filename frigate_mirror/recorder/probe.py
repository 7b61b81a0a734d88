"""Checks for `recorder check`: ffmpeg, the folders, and every camera."""

from __future__ import annotations

import os
import selectors
import stat
import time
from collections.abc import Iterator

from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding
from frigate_mirror.recorder import ffmpeg
from frigate_mirror.recorder.camera import Camera
from frigate_mirror.recorder.config import Config
from frigate_mirror.recorder.relay import Relay
from frigate_mirror.recorder.stream import StreamError

PATIENCE = 20.0  # seconds for the first pictures of a camera


def findings(config: Config) -> Iterator[Finding]:
    """Yields what is found, except about the destination."""
    yield Finding(OK, f"configuration: {config.path} is valid, {len(config.enabled)} camera(s)")
    if config.path.stat().st_mode & stat.S_IROTH:
        advice = f"run chmod o-rwx {config.path}"
        yield Finding(FAULT, f"everybody can read {config.path}, which has secrets", advice)
    try:
        yield Finding(OK, f"ffmpeg {ffmpeg.version(config.ffmpeg)}")
    except ffmpeg.FfmpegError as error:
        yield Finding(FAULT, f"ffmpeg: {error}")
        return
    yield _folder(config)
    for camera in config.enabled:
        if camera.tls and not camera.tls_verify:
            what = f"camera {camera.name}: tls_verify is false"
            advice = "whoever stands between can watch; name its certificate by ca_file instead"
            yield Finding(NOTE, what, advice)
        yield of_camera(camera)


def _folder(config: Config) -> Finding:
    folder = config.folder
    if not folder.is_dir():
        return Finding(FAULT, f"{folder} does not exist", "run frigate-mirror recorder generate")
    if not os.access(folder, os.W_OK | os.X_OK):
        advice = "run this as the user of the recorder: sudo -u camera-backup"
        return Finding(NOTE, f"{folder} cannot be written by this user", advice)
    return Finding(OK, f"{folder} can be written")


def of_camera(camera: Camera) -> Finding:
    """Records a moment of a camera into memory."""
    why = ""
    for form in ffmpeg.FORMS:
        found, why = _try(camera, form)
        if found:
            return Finding(OK, f"camera {camera.name}: {found}")
        if not ffmpeg.REFUSES_SOUND.search(why):
            break
    last = why.strip().splitlines()[-1] if why.strip() else "it sends no picture"
    return Finding(FAULT, f"camera {camera.name}: {last}", "look at its address and its login")


def _try(camera: Camera, form: ffmpeg.Form) -> tuple[str, str]:
    """Returns what the camera sends, or what ffmpeg says instead."""
    relay = Relay(camera) if camera.tls else None
    process = ffmpeg.start(camera, form, relay.address if relay else camera.url.reveal())
    assert process.stdout and process.stderr
    stream, said, until = form.new_stream(), "", time.monotonic() + PATIENCE
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while time.monotonic() < until and len(selector.get_map()) == 2:
                for key, _ in selector.select(0.5):
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stderr:
                        said += data.decode(errors="replace")
                    elif any(fragment.key for fragment in stream.feed(data)):
                        return f"sends pictures, recorded as {form.name}", ""
        process.kill()  # or its silence would be waited for
        said += os.read(process.stderr.fileno(), 1 << 16).decode(errors="replace")
    except StreamError as error:
        said += str(error)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        if relay:
            relay.close()
    fault = relay.fault if relay else ""
    return "", fault or ffmpeg.without_secrets(said, camera)
