"""The questions about the settings. Each has what is set as its default."""

from __future__ import annotations

from collections.abc import Callable

from frigate_mirror.settings.settings import VARIABLES
from frigate_mirror.setup import costs
from frigate_mirror.setup.given import KEY, Given
from frigate_mirror.setup.screen import Screen

ACCESS_KEY, SECRET_KEY = KEY
KINDS = "MIRROR_KINDS"
ABOUT_STORAGE = (
    "  AUTO stores files under 128 KB as STANDARD, which is cheaper for them, and\n"
    "  larger ones as STANDARD_IA."
)
ABOUT_KINDS = (
    "These files of an event can be mirrored. The last column is the price on AWS of\n"
    "100 events a day (STANDARD, kept for 30 days)."
)


def ask_settings(screen: Screen, given: Given, *, was_set_up: bool, again: bool) -> None:
    """Asks for the bucket, the key and what to mirror. Asks only whether to keep them if all are
    there. If bucket and key have just failed (`again`), asks for these only. Raises Stopped."""
    screen.forget_what_was_typed()
    effective = given.effective
    complete = effective.get("S3_BUCKET") and (given.has_key or was_set_up)
    if complete and not again:
        where = effective.get("S3_ENDPOINT_URL") or "AWS " + effective.get("S3_REGION", "us-east-1")
        key = "a key is set" if given.has_key else "the AWS credentials are the container's"
        screen.say(f"The bucket is {effective['S3_BUCKET']} at {where}, and {key}.")
        screen.say(_chosen_kinds(given))
        if screen.confirm("Keep these settings?", default=True):
            return
    screen.say("Enter keeps what stands in brackets, and a hyphen (-) clears it.")
    _ask(screen, given, "S3_BUCKET", "Bucket")
    _ask(screen, given, "S3_ENDPOINT_URL", "Endpoint, as https://host (empty for AWS)")
    _ask(screen, given, "S3_REGION", "Region")
    _ask(screen, given, "S3_PATH_PREFIX", "Prefix of every key (may be empty)")
    if not given.effective.get("S3_ENDPOINT_URL"):
        screen.say(ABOUT_STORAGE)
        _ask(screen, given, "S3_STORAGE_CLASS", "Storage class (AUTO, STANDARD_IA, STANDARD, ...)")
    _ask_key(screen, given)
    if not again:
        screen.say(f"{ABOUT_KINDS}\n{costs.table()}")
        _ask(screen, given, KINDS, "What to mirror, with commas between the kinds")


def _chosen_kinds(given: Given) -> str:
    """Returns in words which kinds of files the owner has chosen, and which not."""
    chosen = given.effective.get(KINDS) or VARIABLES[KINDS].default
    others = [one.kind for one in costs.KINDS if one.kind not in chosen]
    possible = f" Other kinds are possible: {', '.join(others)}." if others else ""
    return f"These files of an event are mirrored: {chosen}.{possible}"


def _ask_key(screen: Screen, given: Given) -> None:
    effective = given.effective
    if any(effective.get(f"{name}_FILE") for name in KEY):
        return
    old = effective.get(ACCESS_KEY, "")
    question = "Access key id (empty for AWS profile or instance role)"
    access = screen.ask(question, old, _fault_of(ACCESS_KEY), shown="kept")
    given.answer(ACCESS_KEY, access)
    secret = effective.get(SECRET_KEY, "") if access == old else ""
    if access:
        secret = screen.ask_secret("Secret access key (not shown)", secret, _fault_of(SECRET_KEY))
    given.answer(SECRET_KEY, secret)


def _ask(screen: Screen, given: Given, name: str, question: str) -> None:
    usual = VARIABLES[name].default
    old = given.effective.get(name, "")
    answer = screen.ask(question, old or usual, _fault_of(name))
    given.answer(name, "" if answer == usual and not old else answer)


def _fault_of(name: str) -> Callable[[str], str]:
    """Returns a function that says what is wrong with an answer."""

    def fault(text: str) -> str:
        if name in ("S3_BUCKET", SECRET_KEY) and not text:
            return "This is needed."
        if "'" in text or "\\" in text:
            return "A quote or a backslash cannot stand in .env."
        try:
            VARIABLES[name].read(text or VARIABLES[name].default)
        except ValueError as wrong:
            return f"{wrong}"
        return ""

    return fault
