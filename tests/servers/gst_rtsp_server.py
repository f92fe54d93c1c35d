"""A real RTSP server for tests. Run by the *system's* Python, which has Debian's GStreamer bindings.

Usage: ``/usr/bin/python3 gst_rtsp_server.py '<JSON>'``. Keys: ``port`` (0: the OS chooses), ``user`` and
``password`` (ask for them), ``width``, ``height``, ``fps`` (N/M), ``codec`` (h264, mjpeg), ``gop``, ``audio``,
``file`` (an MP4 with H.264 that each client sees from its beginning, instead of the moving ball).
Serves ``/cam``; prints ``{"port": N}`` when it can be connected to, and then ``client`` for each connection.
"""

import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


def launch_line(settings: dict) -> str:
    if "file" in settings:
        return (
            f"( filesrc location={settings['file']} ! qtdemux ! h264parse ! "
            "rtph264pay name=pay0 config-interval=1 pt=96 )"
        )
    width, height, fps = settings.get("width", 320), settings.get("height", 240), settings.get("fps", "25/1")
    picture = (
        "videotestsrc is-live=true pattern=ball ! "
        f"video/x-raw,format=I420,width={width},height={height},framerate={fps} ! "
    )
    if settings.get("codec", "h264") == "mjpeg":
        line = picture + "jpegenc ! rtpjpegpay name=pay0"
    else:
        gop = settings.get("gop", 25)
        line = picture + (
            f"x264enc tune=zerolatency speed-preset=ultrafast key-int-max={gop} ! "
            "rtph264pay name=pay0 config-interval=1 pt=96"
        )
    if settings.get("audio"):
        line += " audiotestsrc is-live=true ! audioconvert ! alawenc ! rtppcmapay name=pay1 pt=8"
    return f"( {line} )"


def main() -> None:
    settings = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(str(settings.get("port", 0)))

    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(launch_line(settings))
    factory.set_shared(True)

    if "user" in settings:
        auth = GstRtspServer.RTSPAuth.new()
        token = GstRtspServer.RTSPToken.new()
        token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(settings["user"], settings["password"]), token)
        server.set_auth(auth)
        factory.add_role_from_structure(
            Gst.Structure.from_string("viewer, media.factory.access=true, media.factory.construct=true")[0]
        )

    server.get_mount_points().add_factory("/cam", factory)
    server.connect("client-connected", lambda *_: print("client", flush=True))
    if not server.attach(None):
        sys.exit("cannot bind")
    print(json.dumps({"port": server.get_bound_port()}), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
