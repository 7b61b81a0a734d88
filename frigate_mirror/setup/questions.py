"""The questions about the settings. Each has what is set as its default."""

from __future__ import annotations

from collections.abc import Callable

from frigate_mirror.settings.settings import VARIABLES
from frigate_mirror.setup.given import KEY, Given
from frigate_mirror.setup.screen import Screen

ACCESS_KEY, SECRET_KEY = KEY
ABOUT_STORAGE = (
    "  AUTO stores pictures under 128 KB as STANDARD, which is cheaper for them, and larger\n"
    "  ones as STANDARD_IA."
)


def ask_settings(screen: Screen, given: Given, *, was_set_up: bool, again: bool) -> None:
    """Asks for the bucket and the key. Asks only whether to keep them if all are there, unless they
    have just failed (`again`). Raises Stopped."""
    screen.forget_what_was_typed()
    effective = given.effective
    complete = effective.get("S3_BUCKET") and (given.has_key or was_set_up)
    if complete and not again:
        where = effective.get("S3_ENDPOINT_URL") or "AWS " + effective.get("S3_REGION", "us-east-1")
        key = "a key is set" if given.has_key else "the AWS credentials are the container's"
        screen.say(f"The bucket is {effective['S3_BUCKET']} at {where}, and {key}.")
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
            VARIABLES[name].read(text)
        except ValueError as wrong:
            return f"{wrong}"
        return ""

    return fault
