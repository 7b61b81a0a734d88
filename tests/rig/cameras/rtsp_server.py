"""A real RTSP server with made-up cameras: GStreamer's, which the system's Python runs.

    rtsp_server.py [--address A] [--port N] [--login USER:PASSWORD] [--tls CERTIFICATE KEY]
                   NAME=CODECS...

CODECS is `h264`, `h265`, `h264-endless` (only its first picture is a keyframe), `h264-ends` (80
pictures, while the sound goes on) or `h264-heavy` (4 Mbit/s, 25 pictures a second), and after a
plus the sound: `aac` or `alaw`. The server prints its port as soon as it answers, and at its end
how many pictures each camera has made since its first client came.
"""

import argparse
import json
import signal
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

RATE = 10  # pictures a second
VIDEO = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,"
    f"framerate={RATE}/1 ! "
)
HEAVY = (
    "videotestsrc is-live=true pattern=snow ! video/x-raw,width=320,height=240,framerate=25/1 ! "
)
CODECS = {
    "h264-heavy": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=4000 key-int-max=50 ! "
    "h264parse ! rtph264pay name=pay0 pt=96 config-interval=1",
    "h264": f"x264enc tune=zerolatency speed-preset=ultrafast bitrate=400 key-int-max={RATE} ! "
    "h264parse ! rtph264pay name=pay0 pt=96 config-interval=1",
    "h264-endless": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=400 "
    "key-int-max=100000 ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1",
    "h265": f"x265enc tune=zerolatency speed-preset=ultrafast bitrate=400 key-int-max={RATE} "
    "! h265parse ! rtph265pay name=pay0 pt=96 config-interval=1",
}
SOUND = "audiotestsrc is-live=true wave=ticks ! audio/x-raw,channels=1,rate={rate} ! "
SOUNDS = {
    "aac": SOUND.format(rate=16000) + "voaacenc ! aacparse ! rtpmp4gpay name=pay1 pt=97",
    "alaw": SOUND.format(rate=8000) + "alawenc ! rtppcmapay name=pay1 pt=8",
}


def launch(codecs: str) -> str:
    video, _, sound = codecs.partition("+")
    made = HEAVY if video == "h264-heavy" else VIDEO
    if video == "h264-ends":
        video, made = "h264", made.replace("is-live=true", "is-live=true num-buffers=80")
    return f"( {made}{CODECS[video]} {SOUNDS.get(sound, '')} )"


class Server:
    def __init__(self, options: argparse.Namespace) -> None:
        self.pictures: dict[str, int] = {}
        self.server = GstRtspServer.RTSPServer()
        self.server.set_address(options.address)
        self.server.set_service(str(options.port))
        auth = GstRtspServer.RTSPAuth() if options.login or options.tls else None
        if options.login:
            user, _, password = options.login.partition(":")
            token = GstRtspServer.RTSPToken()
            token.set_string("media.factory.role", "user")
            auth.add_digest(user, password, token)
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        if options.tls:
            auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(*options.tls))
        for camera in options.cameras:
            name, _, codecs = camera.partition("=")
            self.add(name, codecs, options.login)
        if auth is not None:
            self.server.set_auth(auth)
        self.server.attach(None)

    def add(self, name: str, codecs: str, login: str) -> None:
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(launch(codecs))
        factory.set_shared(True)
        factory.connect("media-configure", self.configured, name)
        if login:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("user", "media.factory.access", True)
            permissions.add_permission_for_role("user", "media.factory.construct", True)
            factory.set_permissions(permissions)
        self.server.get_mount_points().add_factory(f"/{name}", factory)

    def configured(self, factory: object, media: object, name: str) -> None:
        pay = media.get_element().get_by_name("pay0")
        pay.get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, self.count, name)

    def count(self, pad: object, info: object, name: str) -> Gst.PadProbeReturn:
        self.pictures[name] = self.pictures.get(name, 0) + 1
        return Gst.PadProbeReturn.OK


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--login", default="")
    parser.add_argument("--tls", nargs=2)
    parser.add_argument("--needs", action="store_true", help="only say whether all is there")
    parser.add_argument("cameras", nargs="*")
    Gst.init(None)
    if parser.parse_args().needs:
        needed = ("x264enc", "rtph264pay", "voaacenc", "aacparse", "rtpmp4gpay", "alawenc")
        sys.exit(0 if all(map(Gst.ElementFactory.find, needed)) else 1)
    server = Server(parser.parse_args())
    loop = GLib.MainLoop()
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, loop.quit)
    print(server.server.get_bound_port(), flush=True)
    loop.run()
    print(json.dumps(server.pictures), flush=True)


if __name__ == "__main__":
    main()
