"""Sets the mirror up: looks, asks, tries the key, shows what changes, writes, and looks again."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from frigate_mirror.setup import envfile, override, plan
from frigate_mirror.setup.compose import (
    ComposeError,
    Files,
    Service,
    config,
    find_files,
    find_service,
)
from frigate_mirror.setup.docker import Docker
from frigate_mirror.setup.doctor import CHECK, UP, Doctor
from frigate_mirror.setup.envfile import EnvFile
from frigate_mirror.setup.given import IN_CONTAINER, Given, collect, faults, own_address
from frigate_mirror.setup.libraries import Libraries, LibrariesError
from frigate_mirror.setup.questions import ask_settings
from frigate_mirror.setup.screen import Screen
from frigate_mirror.setup.writing import WriteError

DONE, FAILED, CHECK_FAILED = 0, 1, 3
NEEDED = ("entrypoint.sh", "boot/sitecustomize.py", "frigate_recordings_api.py",
          "frigate_s3_patcher.py", "s3_snapshot_mirror.py", "requirements/child.lock",
          "requirements/metrics.lock", "requirements/mqtt.lock")  # fmt: skip
FRIGATE_IMAGE = "ghcr.io/blakeblackshear/frigate:stable"


class Verdict(enum.Enum):
    """What became of a key that was tried on its bucket."""

    WORKS = enum.auto()
    REFUSED = enum.auto()
    UNREACHABLE = enum.auto()


@dataclass(frozen=True, slots=True)
class Options:
    """What the owner has asked for on the command line."""

    folder: Path
    service: str = ""
    image: str = ""
    yes: bool = False
    dry_run: bool = False
    no_try: bool = False


@dataclass(frozen=True, slots=True)
class Tools:
    """What a run works with. `ours` is the mirror's own folder. `try_key` tries to list and to put
    with these settings, and tells the owner every fault. `misspelt` yields a sentence for each name
    that looks like a setting and is none."""

    docker: Docker
    screen: Screen
    libraries: Libraries
    ours: Path
    try_key: Callable[[Mapping[str, str]], Verdict]
    misspelt: Callable[[Mapping[str, str]], Iterator[str]]


class Install:
    """One run. What can be wrong is collected before anything is written, so that the owner sees
    all problems together."""

    def __init__(self, options: Options, tools: Tools) -> None:
        self._options, self._tools = options, tools
        self._screen, self._docker = tools.screen, tools.docker
        self._asks = tools.screen.interactive and not options.yes and not options.dry_run
        self._tried = False
        self._problems: list[str] = []

    def run(self) -> int:
        """Returns the exit code. Raises Stopped if the owner ends the input."""
        env = self._read_env()
        files, service = self._look_at_project(env)
        of_service = service.environment if service else {}
        given = collect(os.environ, env, of_service)
        self._tools.libraries.choose(given.effective)
        self._check_folders()
        if not self._asks:
            self._problems += faults(given)
        if self._problems or not files or not service:
            return self._give_up()
        self._say_what_comes(files, service)
        for note in (*given.notes, *self._misspelt(env, service)):
            self._screen.say(f"note: {note}")
        earlier = collect({}, env, of_service)
        if not self._options.dry_run and not self._settle(given, earlier, bool(env.block)):
            return FAILED
        planned = plan.make(self._options.folder, self._tools.ours, files, service, env, given)
        return self._carry_out(planned, files, service, given)

    # -- looking

    def _check_folders(self) -> None:
        ours, folder = self._tools.ours, self._options.folder
        for name in NEEDED:
            if not (ours / name).is_file():
                self._problems.append(f"{ours / name} is missing: download the whole project again")
        if not self._tools.libraries.are_current and not os.access(ours, os.W_OK):
            self._problems.append(
                f"cannot write to {ours}, where the libraries belong: run this script as the owner"
                " of that folder"
            )
        if not os.access(folder, os.W_OK):
            self._problems.append(
                f"cannot write to {folder}: run this script as the owner of that folder"
            )

    def _read_env(self) -> EnvFile:
        path = self._options.folder / ".env"
        try:
            return envfile.read(path)
        except OSError as error:
            self._problems.append(
                f"cannot read {path}: {error.strerror}: run this script as the owner of that file"
            )
            return EnvFile()

    def _look_at_project(self, env: EnvFile) -> tuple[Files | None, Service | None]:
        if not self._docker.has_compose:
            self._problems.append(self._by_hand())
            return None, None
        own = env.own_values
        exported = os.environ.get("COMPOSE_FILE", "")
        name = "COMPOSE_PATH_SEPARATOR"
        separator = os.environ.get(name) or own.get(name) or ":"
        try:
            files = find_files(
                self._options.folder, exported, own.get("COMPOSE_FILE", ""), separator
            )
            found = config(self._docker, files.theirs)
            return files, find_service(found, self._options.service)
        except ComposeError as error:
            self._problems.append(str(error))
            return None, None

    def _by_hand(self) -> str:
        """Returns what the owner of a machine without Docker Compose can do."""
        name = self._options.service or "frigate"
        service = Service(name, "", None, False, {}, "", ())
        names = ("S3_BUCKET", "S3_REGION", "S3_ACCESS_KEY", "S3_SECRET_KEY")
        lines = override.text(self._tools.ours, service, names).splitlines()[1:]
        return (
            "this machine has no Docker Compose 2, so setup cannot read your project. Install it\n"
            "    (https://docs.docker.com/compose/install), or download the libraries with\n"
            "    --vendor-only, put the settings into .env, and add these lines to your compose\n"
            "    file by hand:\n\n" + "\n".join(f"      {line}" for line in lines)
        )

    def _misspelt(self, env: EnvFile, service: Service) -> Iterator[str]:
        """Looks at every place in which the owner may have written a setting."""
        yield from self._tools.misspelt(
            env.own_values | env.block_values | dict(service.environment) | dict(os.environ)
        )

    def _say_what_comes(self, files: Files, service: Service) -> None:
        folder = self._options.folder
        if self._options.dry_run:
            what = "This shows what a set-up of the S3 mirror would change for the service"
            self._screen.say(f"{what} {service.name} in {folder}.")
            self._screen.say("It neither tries the key nor writes anything.\n")
            return
        asks = "asks for" if self._asks else "takes"
        self._screen.say(f"This sets up the S3 mirror for the service {service.name} in {folder}.")
        what = "the settings, tries the key, and shows each change beforehand"
        self._screen.say(f"It {asks} {what}.")
        self._screen.say(f"It writes .env and {files.ours}, and no other file of yours.\n")

    # -- the settings

    def _settle(self, given: Given, earlier: Given, was_set_up: bool) -> bool:
        """Asks for the settings where there is somebody to ask, and tries them, until they work or
        the owner wants them all the same. Downloads the libraries, which the try needs. Returns
        whether to go on."""
        changed = given.effective != earlier.effective or not was_set_up
        replaces = was_set_up and changed
        again = False
        while True:
            if self._asks:
                ask_settings(self._screen, given, was_set_up=was_set_up, again=again)
                self._problems += faults(given)
            if self._problems or not self._download():
                self._give_up()
                return False
            verdict = self._try(given) if changed or self._asks else None
            if verdict in (None, Verdict.WORKS):
                return True
            if self._asks:
                question = "Write these settings although the bucket cannot be reached from here?"
                if verdict is Verdict.UNREACHABLE and self._screen.confirm(question):
                    return True
                again = True
            elif verdict is Verdict.UNREACHABLE and not replaces:
                self._screen.say("note: the bucket cannot be reached, so the key is not tried.")
                return True
            else:
                stay = " The earlier settings stay as they are." if replaces else ""
                self._screen.complain(
                    f"Nothing was written, because these settings do not work.{stay}\n"
                    "Correct them, or let --no-try write them without a try."
                )
                return False

    def _download(self) -> bool:
        if self._tools.libraries.are_current:
            return True
        self._screen.say("Downloading the libraries into vendor/ ...")
        try:
            self._tools.libraries.download()
        except LibrariesError as error:
            self._problems.append(str(error))
        return not self._problems

    def _try(self, given: Given) -> Verdict | None:
        """Tries the key on the bucket. Returns None if it cannot be tried on this machine."""
        effective = given.effective
        in_container = [name for name in IN_CONTAINER if effective.get(name)]
        if self._options.no_try:
            return None
        if in_container or not given.has_key:
            what = f"{in_container[0]} names a file" if in_container else "the AWS credentials are"
            self._screen.say(f"note: {what} of the container, so the key is tried only there.")
            return None
        self._screen.say("Trying the key on the bucket ...")
        self._tried = True
        return self._tools.try_key(effective)

    # -- writing

    def _carry_out(self, planned: plan.Plan, files: Files, service: Service, given: Given) -> int:
        if self._options.dry_run and not self._tools.libraries.are_current:
            self._screen.say(f"{self._tools.libraries.folder}: will get the libraries")
        planned.show(self._screen)
        self._warn_of_own_address(service, given)
        written = "Everything is written already."
        if self._options.dry_run:
            changes = planned.changes_something
            self._screen.say("Nothing was written (--dry-run)." if changes else written)
            return DONE
        if not planned.changes_something:
            self._screen.say(written)
        elif self._asks and not self._screen.confirm("Write this?"):
            self._screen.complain("Nothing was changed.")
            return FAILED
        else:
            try:
                planned.write(self._screen)
            except WriteError as error:
                self._screen.complain(str(error))
                return FAILED
            self._screen.say("The files are written.")
        image = self._options.image or service.image or FRIGATE_IMAGE
        self._tools.libraries.compile(self._docker, image)
        return self._look_again(files, service, given)

    def _warn_of_own_address(self, service: Service, given: Given) -> None:
        """Says that localhost is another machine in the container. The try of the key succeeds
        nevertheless, because it is made from this machine."""
        host = own_address(given.effective)
        if host and service.network_mode in ("", "bridge"):
            self._screen.tell(
                "note",
                f"inside the container, {host} is the container itself and not this machine.\n"
                "       -> in S3_ENDPOINT_URL, write the address that this machine has in your"
                " network, or the\n          name of the service if the bucket's server is in the"
                " same compose file",
            )

    def _look_again(self, files: Files, service: Service, given: Given) -> int:
        doctor = Doctor(self._docker, self._screen, self._tools.ours, files, service.name)
        found = doctor.usual_command_starts_the_mirror()
        if found and self._docker.answers:
            passes = doctor.check_passes(found)
        elif found:
            passes = self._tried or self._try(given) in (None, Verdict.WORKS)
            self._screen.say(
                "Docker does not answer, so the mirror's check did not run in the container.\n"
                f"Restart Frigate with `{UP}`, then run the check there:\n"
                f"  docker compose exec {service.name} {' '.join(CHECK)}"
            )
        if found and passes:
            return DONE
        self._screen.complain("Correct the faults above, then run this script again.")
        return CHECK_FAILED

    def _give_up(self) -> int:
        self._screen.complain("Nothing was written. Correct these first:")
        for problem in self._problems:
            self._screen.complain(f"  - {problem}")
        return FAILED
