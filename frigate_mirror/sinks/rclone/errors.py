"""What an error text of rclone means: who has to act, and what the owner can do.

rclone's remote control gives a text and hardly any status, so the text decides. Most texts come
from the service or from Go's libraries and have been the same for years. The first pattern that
matches counts. A text that no pattern matches is `Unavailable`, so the upload waits.

An error is `Rejected`, which ends in a dead letter, only if the object itself is certainly the
cause. The patterns of an outage come first, so an outage never is. This module starts no process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from frigate_mirror.sinks.sink import Misconfigured, Rejected, SinkError, Unavailable
from frigate_mirror.untrusted import plain

NO_PROGRAM, TOO_OLD, NO_CONFIG, DIED, HANGS = "NoRclone", "OldRclone", "NoConfig", "Died", "Hangs"
NOT_FOUND, NO_FOLDER, FORBIDDEN = "NotFound", "NoSuchFolder", "AccessDenied"
DIFFERS, CONFIG_PASSWORD, OTHER = "Differs", "ConfigPassword", "Rclone"
OLDEST = (1, 65)  # of rclone; older ones have no Unix socket, or were not tried


class RcloneError(Exception):
    """rclone did not do what it was told. The text is rclone's own, or ours if `code` is set."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.code = code


@dataclass(frozen=True, slots=True)
class Meaning:
    """`kind` says who has to act. `hint` may contain {remote}, the name of the remote."""

    kind: type[SinkError]
    code: str
    hint: str
    pattern: str = r"(?!)"


def _status(number: str) -> str:
    """Returns a pattern for an HTTP status that is no part of a longer number or name."""
    return rf"(?<![\w.-]){number}(?![\w.-])"


# fmt: off
MEANINGS = (
    # The program and its configuration.
    Meaning(Misconfigured, NO_PROGRAM, "install rclone, or name the program by RCLONE_PATH",
            r"exec format error|cannot execute"),
    Meaning(Misconfigured, TOO_OLD, "install rclone {oldest} or later, or name it by RCLONE_PATH",
            r"unknown flag|unknown command|listen tcp: address"),
    Meaning(Misconfigured, CONFIG_PASSWORD,
            "set RCLONE_CONFIG_PASS or RCLONE_CONFIG_PASS_FILE to the password of rclone's "
            "configuration",
            r"unable to decrypt configuration|couldn't decrypt configuration"),
    Meaning(Misconfigured, NO_CONFIG,
            "correct RCLONE_CONFIG: it must name a configuration of rclone that this user can read",
            r"failed to load config file"),
    Meaning(Misconfigured, "NoRemote",
            "correct RCLONE_REMOTE, or RCLONE_CONFIG if rclone's configuration is another file; "
            "`rclone listremotes` shows which remotes there are",
            r"didn't find section in config file|didn't find backend called"),
    # The service asks for patience.
    Meaning(Unavailable, "SlowDown", "",
            rf"rate ?limit|dailyLimitExceeded|too many requests|slow ?down|{_status('429')}"),
    # The destination has no room.
    Meaning(Misconfigured, "QuotaExceeded",
            "free space at the remote {remote}, or raise its quota; what is in the trash counts",
            r"storageQuotaExceeded|quota ?(has been )?exceeded|quota full|disk quota|"
            r"numChildrenInNonRootLimitExceeded|teamDriveFileLimitExceeded|insufficient_space"),
    Meaning(Unavailable, "NoSpace", "free space at the remote {remote}: its disk is full",
            r"no space left|remaining disk space|disk (is )?full|insufficient storage|"
            + _status("507")),
    # The service cannot be reached, or breaks off.
    Meaning(Unavailable, "Unreachable",
            "check whether the address of the remote {remote} can be reached from here",
            r"connection refused|no such host|no route to host|unreachable|i/o timeout|"
            r"connection reset|broken pipe|connection timed out|handshake timeout|"
            r"deadline exceeded|server misbehaving|temporary failure in name resolution|"
            r"use of closed network connection|unexpected eof|connection lost"),
    Meaning(Misconfigured, "CertificateVerifyFailed",
            "give rclone the certificate that signed the service's (RCLONE_CA_CERT), and check the "
            "clock of this machine",
            r"x509:|failed to verify certificate"),
    Meaning(Misconfigured, "HostKey",
            "correct the file of known hosts in rclone's configuration: the key of the SSH server "
            "is unknown or has changed",
            r"knownhosts: key|host key mismatch"),
    # Authentication or authorisation failed.
    Meaning(Misconfigured, "Token", "log in anew: run `rclone config reconnect {remote}`",
            r"invalid_grant|invalid_client|fetch token|empty token|token expired|"
            r"expired_access_token|refresh token|authError"),
    Meaning(Misconfigured, "Unauthorized",
            "correct the user and password, or the key, of the remote {remote} in rclone's "
            "configuration",
            r"unable to authenticate|ssh-agent|unauthorized|login incorrect|"
            r"authentication failed|logon is invalid|SignatureDoesNotMatch|InvalidAccessKeyId|"
            rf"{_status('401')}|{_status('530')}"),
    Meaning(Misconfigured, "AccessNotConfigured",
            "switch the Google Drive API on in the Google project of the client id",
            r"accessNotConfigured|SERVICE_DISABLED"),
    Meaning(Misconfigured, FORBIDDEN,
            "allow the account of the remote {remote} to list and to write there",
            rf"permission denied|access ?denied|forbidden|insufficient\w*permission|"
            rf"read-only file system|operation not permitted|{_status('403')}"),
    Meaning(Misconfigured, "NotADirectory",
            "correct RCLONE_REMOTE: a file stands where it needs a folder", r"not a directory"),
    # The destination refuses this object.
    Meaning(Rejected, "NameTooLong", "the remote {remote} does not accept names of this length",
            r"file name too long|name is too long"),
    Meaning(Rejected, "EntityTooLarge", "the remote {remote} does not accept a file of this size",
            rf"file too large|entity ?too ?large|payload too large|{_status('413')}"),
    # The rest is worth another try.
    Meaning(Unavailable, NO_FOLDER, "", r"directory not found"),
    Meaning(Unavailable, NOT_FOUND, "",
            r"object not found|file not found|notFound|"
            r"no such file or directory"),
    Meaning(Unavailable, DIFFERS,
            "if this lasts, look for two files or folders of this name at the remote {remote}",
            r"corrupted on transfer"),
    Meaning(Unavailable, DIED, "look at what rclone says, or set RCLONE_PATH to another rclone"),
    Meaning(Unavailable, HANGS, ""),
    Meaning(Unavailable, OTHER, "", r""),
)
# fmt: on
_BY_CODE = {meaning.code: meaning for meaning in MEANINGS}

_SECRET_NAME = r"[\w.-]*(?:pass|token|secret|key|signature|credential|assertion)[\w.-]*"
_SECRETS = (
    (re.compile(r"://[^/@\s]*@"), "://***@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 ***"),
    (re.compile(rf"(?i)\b({_SECRET_NAME})=(\"[^\"]*\"|'[^']*'|[^&,:;\s\"']+)"), r"\1=***"),
    (re.compile(rf"(?i)(\"{_SECRET_NAME}\"\s*:\s*)\"[^\"]*\""), r'\1"***"'),
)


def meaning_of(error: RcloneError, *names: str) -> Meaning:
    """Returns what `error` means. `names` are the key and whatever else may occur in the text
    without a meaning: a camera may be called `quota`, and a key may contain `401`."""
    if error.code:
        return _BY_CODE[error.code]
    text = error.text
    for name in filter(None, names):
        either = f"{re.escape(name)}|{re.escape(quote(name))}"
        text = re.sub(rf"(?<![\w-])(?:{either})", "...", text)
    return next(one for one in MEANINGS if re.search(one.pattern, text, re.IGNORECASE))


def failure(verb: str, what: str, error: RcloneError, remote: str, *names: str) -> SinkError:
    """Returns the error for the owner: on one line, without secrets, with what to do."""
    meaning = meaning_of(error, what, *names)
    reason = plain(without_secrets(error.text), 300)
    hint = meaning.hint.format(remote=remote, oldest=".".join(map(str, OLDEST)))
    return meaning.kind(f"{verb} {what}: {meaning.code}: {reason}", code=meaning.code, hint=hint)


def without_secrets(text: str) -> str:
    """Returns `text` without passwords and tokens, as they occur in URLs, headers, JSON and
    rclone's connection strings."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
