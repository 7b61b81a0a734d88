"""Between mirror and bucket: the network, names, certificates, answers, credentials."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote

from lab.campaign import mischief
from lab.campaign.exchange import Exchange
from lab.campaign.faults import Fault
from lab.campaign.mischief import answers, error, is_put, page
from lab.campaign.proxy import Mischief, Passed
from lab.campaign.world import World
from tests.rig.certificates import Certificates
from tests.rig.servers import ACCESS, SECRET, WRITER_ACCESS, WRITER_SECRET


def uploads_struck(world: World) -> bool:
    return world.proxy.struck["put"] > 0


def struck(world: World) -> bool:
    return world.proxy.struck.total() > 0


def through_proxy(name: str, *what: Mischief, **more: object) -> Fault:
    """A fault that the proxy does, to at least one upload."""
    fault = Fault(
        name=name,
        begin=lambda world: world.proxy.add(*what),
        end=lambda world: world.proxy.remove(*what),
        met=uploads_struck,
    )
    return replace(fault, **more)  # type: ignore[arg-type]


# -- the network

A_BIT, LONGEST_DELAY = 4.0, 10.0  # seconds
DIRECT = "frigate-s3-mirror/"  # how a User-Agent begins that is not boto3's


def _forget_connections(world: World) -> None:
    """At a quiet moment, since what is under way just then is delayed in any case; then some events
    at once and some one after the other. One of them may be delayed, and all go the direct way."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    world.wait_until(lambda: not _missing(world), 60, "a quiet moment")
    world.pause(1.2, 1.6)  # then every kept connection has rested
    world.proxy.forget()
    sent = {}
    for number in range(world.rng.randint(5, 8)):
        if event := world.event():
            sent[event.id] = time.monotonic()
        if number > 2:
            world.pause(0.1, 0.4)
    world.wait_until(lambda: sent.keys() <= _arrivals(world).keys(), 30, "the uploads")
    arrived = _arrivals(world)
    delays = sorted(arrived[one].at - at for one, at in sent.items() if one in arrived)
    if sum(delay > A_BIT for delay in delays) > 1 or max(delays, default=0) > LONGEST_DELAY:
        told = ", ".join(f"{delay:.1f}" for delay in delays)
        world.complaints.append(f"a dead connection delayed the events by {told} s")
    if roundabout := [one for one in arrived.values() if not one.agent.startswith(DIRECT)]:
        world.complaints.append(f"{len(roundabout)} uploads left the direct way")


def _missing(world: World) -> set[str]:
    return world.owed().keys() - world.oracle.present().keys()


def _arrivals(world: World) -> dict[str, Passed]:
    """The first upload of each event that came through."""
    found: dict[str, Passed] = {}
    for one in world.proxy.passed:
        name = unquote(one.path).rpartition("/")[2]
        for event_id in world.events:
            if name.startswith(event_id):
                found.setdefault(event_id, one)
    return found


DEAD_CONNECTION = Fault(
    name="a kept connection dies silently",
    strikes=3,
    strike=_forget_connections,
    met=lambda world: world.proxy.struck["forgotten"] > 0,
    environ={
        # The default timeouts: the short ones of a world would hide what an owner sees.
        "S3_CONNECT_TIMEOUT": "10",
        "S3_READ_TIMEOUT": "60",
        "MIRROR_UPLOAD_THREADS": "8",
    },
    alone=True,
    runs=3,
)
NETWORK = (
    DEAD_CONNECTION,
    Fault(
        name="connection refused",
        begin=lambda world: world.proxy.refuse(),
        end=lambda world: world.proxy.accept(),
    ),
    through_proxy("connection reset", mischief.RESET),
    through_proxy("black hole", mischief.BLACK_HOLE, lasts=(4.0, 8.0)),
    through_proxy("request cut in mid-body", mischief.CUT_REQUEST),
    through_proxy("answer cut", mischief.CUT_ANSWER),
    through_proxy("success answer lost", mischief.LOST_ANSWER),
    through_proxy("1 KB/s", mischief.SLOW, lasts=(4.0, 8.0)),
    through_proxy("answers trickle", mischief.TRICKLE),
    Fault(
        name="name service gone",
        begin=lambda world: _lose_names(world),
        end=lambda world: world.change(dns=None),
    ),
)


def _lose_names(world: World) -> None:
    world.change(dns="gone")
    world.proxy.sever()  # or the connections that stand would need no name


# -- the service's answers

REDIRECT = error(
    "301 Moved Permanently",
    "PermanentRedirect",
    extra="<Endpoint>s3.eu-west-3.amazonaws.com</Endpoint><Region>eu-west-3</Region>",
)
PORTAL = page("200 OK", "<html><body>Welcome! Please log in.</body></html>", "text/html")
WRONG_XML = page("200 OK", "<?xml version='1.0'?><Surprise><Nested>of another world</Nested")
FAILED_XML = page("500 Internal Server Error", "<Error><Code>Internal")

CODES = {
    "500 InternalError": ("500 Internal Server Error", "InternalError"),
    "503 SlowDown": ("503 Slow Down", "SlowDown"),
    "429 TooManyRequests": ("429 Too Many Requests", "TooManyRequests"),
    "403 AccessDenied": ("403 Forbidden", "AccessDenied"),
    "SignatureDoesNotMatch": ("403 Forbidden", "SignatureDoesNotMatch"),
    "RequestTimeTooSkewed": ("403 Forbidden", "RequestTimeTooSkewed"),
    "ExpiredToken": ("400 Bad Request", "ExpiredToken"),
    "InvalidAccessKeyId": ("403 Forbidden", "InvalidAccessKeyId"),
    "NoSuchBucket": ("404 Not Found", "NoSuchBucket"),
    "unheard-of code": ("418 I'm a teapot", "ShortAndStout"),
}
_INTERNAL = error("500 Internal Server Error", "InternalError")
ANSWERS = (
    *(through_proxy(name, error(*said)) for name, said in CODES.items()),
    through_proxy("wrong XML", answers("wrong XML", WRONG_XML)),
    through_proxy("XML that breaks off, with a 500", answers("broken XML", FAILED_XML)),
    through_proxy("captive portal", answers("portal", PORTAL)),
    through_proxy("redirect to another region", REDIRECT),
    through_proxy("uploads fail, listing works", replace(_INTERNAL, fits=is_put)),
)


def _flap() -> tuple[Mischief, ...]:
    honest = Mischief("honest", lambda x: x.pass_on())
    codes = [error(*CODES[name]) for name in ("500 InternalError", "503 SlowDown")]
    return (honest, honest, mischief.RESET, mischief.CUT_REQUEST, mischief.CUT_ANSWER,
            mischief.LOST_ANSWER, mischief.CORRUPT, *codes)  # fmt: skip


FLAPPING = through_proxy("flapping", *_flap(), lasts=(6.0, 12.0), runs=4)


# -- what one upload meets


def _asks_for_class(x: Exchange) -> bool:
    return is_put(x) and bool(x.header("x-amz-storage-class"))


_NO_CLASS = error("400 Bad Request", "InvalidStorageClass")
STORAGE_CLASS = through_proxy(
    "InvalidStorageClass",
    replace(_NO_CLASS, fits=_asks_for_class),
    environ={"S3_STORAGE_CLASS": "STANDARD_IA"},
    alone=True,
)
CORRUPTED = through_proxy("corrupted body", mischief.CORRUPT, tls=True, runs=3)


def _dead_letters(world: World) -> list[str]:
    """Ids in the file that people read."""
    path = world.clips / "cache" / ".s3_failed_events"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split("\t")[1].partition(":")[2] for line in lines]


def _retry(world: World) -> None:
    """Until here they must have stayed away; the command alone brings them back."""
    dead = _dead_letters(world)
    world.pause(1.0, 2.0)
    if back := set(dead) & world.oracle.present().keys():
        world.complaints.append(f"dead letters came back by themselves: {sorted(back)}")
    said = world.command("retry")
    if said.returncode != 0:
        world.complaints.append(f"retry ended with {said.returncode}: {said.stderr[-200:]}")


_TOO_LARGE = replace(error("400 Bad Request", "EntityTooLarge"), fits=is_put)


def _end_of_too_large(world: World) -> None:
    world.wait_until(lambda: _dead_letters(world), 60, "a dead letter")
    world.proxy.remove(_TOO_LARGE)


TOO_LARGE = Fault(
    name="EntityTooLarge, then retry",
    begin=lambda world: world.proxy.add(_TOO_LARGE),
    end=_end_of_too_large,
    after=_retry,
    met=uploads_struck,
    alone=True,
)


# -- certificates


_TRUSTING = Mischief("despite the certificate", lambda x: x.pass_on())


def _certificate(name: str, wrong: Callable[[Certificates], ssl.SSLContext]) -> Fault:
    """Nothing may be sent to whoever shows the wrong one."""

    def begin(world: World) -> None:
        world.proxy.present(wrong(world.lab.certificates))
        world.proxy.add(_TRUSTING)

    def end(world: World) -> None:
        world.proxy.remove(_TRUSTING)
        world.proxy.present(world.lab.certificates.right)
        if sent := world.proxy.struck[_TRUSTING.name]:
            world.complaints.append(f"{sent} requests were sent despite the certificate")

    return Fault(name=f"certificate {name}", begin=begin, end=end, tls=True)


CERTIFICATES = (
    _certificate("of another host", lambda found: found.wrong_host),
    _certificate("expired", lambda found: found.expired),
    _certificate("nobody trusts", lambda found: found.untrusted),
)


# -- the bucket and the key change


def _delete_bucket(world: World) -> None:
    """What it held is gone by the owner's will; nobody owes it any more."""
    world.proxy.refuse()  # nothing may come in between the look and the deletion
    world.pause(0.5, 0.6)
    for event_id in world.oracle.present():
        world.events[event_id].taken = True
    world.bucket.client.delete_bucket(Bucket=world.bucket.name)
    world.proxy.accept()


def _make_bucket(world: World) -> None:
    world.bucket.client.create_bucket(Bucket=world.bucket.name)


def _key_files(world: World, access: str, secret: str) -> None:
    for name, text in (("access", access), ("secret", secret)):
        partial = world.folder / f"{name}.part"
        partial.write_text(text)
        partial.replace(world.folder / name)


def _is_old_key(x: Exchange) -> bool:
    return f"Credential={ACCESS}/" in x.header("authorization")


_OLD_KEY = replace(error("403 Forbidden", "InvalidAccessKeyId"), fits=_is_old_key)

BUCKET_AND_KEY = (
    Fault(name="bucket deleted and made again", begin=_delete_bucket, end=_make_bucket, alone=True),
    Fault(
        # From then on the old key is refused for good; the new one is a real one of the server.
        name="credentials rotated",
        begin=lambda world: world.proxy.add(_OLD_KEY),
        end=lambda world: _key_files(world, WRITER_ACCESS, WRITER_SECRET),
        met=uploads_struck,
        prepare=lambda world: _key_files(world, ACCESS, SECRET),
        environ={
            "S3_ACCESS_KEY": "",
            "S3_SECRET_KEY": "",
            "S3_ACCESS_KEY_FILE": "{folder}/access",
            "S3_SECRET_KEY_FILE": "{folder}/secret",
        },
        alone=True,
    ),
)

FAULTS = (*NETWORK, *ANSWERS, FLAPPING, STORAGE_CLASS, CORRUPTED, TOO_LARGE, *CERTIFICATES,
          *BUCKET_AND_KEY)  # fmt: skip
