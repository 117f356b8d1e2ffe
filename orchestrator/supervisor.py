"""Start the whole desk on one machine, keep it alive, and stop it as one.

How and why: docs/explanation/supervision.md.
"""

import fcntl
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from django.conf import settings

from orchestrator import vardir, weed
from orchestrator.child import Child
from orchestrator.deathsig import adopt_orphans, die_with
from orchestrator.postgres import Postgres, PostgresUnavailable
from orchestrator.watchdog import Watchdog
from orchestrator.weed import Weed, WeedUnavailable

logger = logging.getLogger(__name__)

CLUSTERS = ("default", "vision", "heavy")
SERVERS = ("web", "tus")
ROLES = (*SERVERS, *CLUSTERS)
# What the store and PostgreSQL have for a clean end of their own after everybody else is gone.
_STORES_STOP_SECONDS = 1.0


_PORTS = {"web": "PORT", "tus": "TUS_PORT"}  # where the servers listen, by the variable that says so


class CannotStart(Exception):
    """The desk cannot start here; the message tells the operator what to do."""


class _StopAsked(Exception):
    """Somebody pressed Ctrl-C while the desk was starting."""


class Supervisor:
    """The parent of every process of the desk.

    roles: which of ROLES to run. All of them are a whole desk, which owns VAR_DIR, brings its own PostgreSQL if none is
        given, and prepares the database. Fewer belong to a desk whose database is elsewhere, as in containers.
    say: prints one line for the operator.
    """

    def __init__(self, roles: Sequence[str], say: Callable[[str], None]) -> None:
        self._is_whole = set(roles) == set(ROLES)
        # Where a foreign tusd takes the uploads, our own service has nothing to do.
        self._roles = [role for role in roles if role != "tus" or settings.TUS_SERVER == "built-in"]
        self._say = say
        self._run_folder = settings.VAR_DIR / "run"
        self._log_folder = settings.VAR_DIR / "log"
        name = "drain" if self._is_whole else f"drain-{socket.gethostname()}-{os.getpid()}"
        self._drain_file = self._run_folder / name
        self._postgres: Postgres | None = None
        self._weed: Weed | None = None
        self._children: list[Child] = []
        self._news = ""
        self._n_stop_signals = 0
        self._wake_fd = -1

    def run(self) -> None:
        """Run until SIGINT, SIGTERM or SIGHUP. Raises CannotStart."""
        adopt_orphans()
        self._catch_signals()
        self._claim_folder()
        try:
            self._check_addresses()
            self._start_postgres()
            self._start_weed()
            self._prepare_database()
            self._start_children()
            self._greet()
            self._watch()
        except _StopAsked:
            pass
        except (PostgresUnavailable, WeedUnavailable) as error:
            raise CannotStart(str(error)) from error
        finally:
            self._stop()

    # --- Start

    def _catch_signals(self) -> None:
        self._wake_fd, write_fd = os.pipe()
        os.set_blocking(self._wake_fd, False)
        os.set_blocking(write_fd, False)
        # Each signal writes a byte, so that a wait ends at once, whichever moment it comes in.
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
                signal.signal(number, self._ask_to_stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def _ask_to_stop(self, _number: int, _frame: object) -> None:
        self._n_stop_signals += 1

    def _claim_folder(self) -> None:
        try:
            for folder in (self._run_folder, self._log_folder):
                folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._run_folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise CannotStart(f"VAR_DIR {settings.VAR_DIR} cannot be used: {error.strerror}.") from error
        if not self._is_whole:
            os.close(lock)
            self._drain_file.unlink(missing_ok=True)
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until this process ends, however it ends
        except BlockingIOError:
            owner = os.pread(lock, 20, 0).decode().strip()
            raise CannotStart(f"VAR_DIR {settings.VAR_DIR} is in use by another desk (process {owner}).") from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._drain_file.unlink(missing_ok=True)

    def _check_addresses(self) -> None:
        """Say a wrong or taken address in one line now rather than in a log later."""
        if not self._roles:
            raise CannotStart("TUS_SERVER=tusd takes the uploads; there is no service of ours to start.")
        for role, port in _PORTS.items():
            if role in self._roles:
                _check_address(port, settings.HOST)
        if settings.LOCAL_S3:
            _check_address("S3_PORT", weed.HOST)

    def _start_postgres(self) -> None:
        if not settings.IS_EMBEDDED:
            return
        if not self._is_whole:
            raise CannotStart("DATABASE_URL must be set to run a part of a desk.")
        programs = Path(settings.POSTGRES_BIN) if settings.POSTGRES_BIN else None
        self._postgres = Postgres(settings.VAR_DIR / "postgres", programs=programs)
        self._postgres.start()
        address_file = vardir.database_url_file(settings.VAR_DIR)
        address_file.unlink(missing_ok=True)
        with os.fdopen(os.open(address_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._postgres.url)

    def _start_weed(self) -> None:
        if not settings.LOCAL_S3:
            return
        if not self._is_whole:
            raise CannotStart("LOCAL_S3 belongs to a whole desk; a part of one needs the store at MINIO_ENDPOINT.")
        self._weed = Weed(settings.VAR_DIR / "s3", port=settings.S3_PORT, secret_key=vardir.store_key(settings.VAR_DIR))
        self._weed.start()

    def _prepare_database(self) -> None:
        """Let `manage.py prepare` migrate and fill it, in a process of its own that leaves nothing in this one."""
        if not self._is_whole:
            return
        with subprocess.Popen(
            [sys.executable, "manage.py", "prepare"],
            cwd=settings.BASE_DIR,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=die_with(os.getpid(), by=signal.SIGKILL),
        ) as preparation:
            while True:
                try:
                    printed, complaints = preparation.communicate(timeout=0.1)
                    break
                except subprocess.TimeoutExpired:
                    if self._n_stop_signals:
                        preparation.kill()
                        raise _StopAsked from None
        if preparation.returncode != 0:
            raise CannotStart(complaints.strip().removeprefix("CommandError: ")[-4000:])
        self._news = printed.strip()

    def _start_children(self) -> None:
        for role in ROLES:
            if role not in self._roles:
                continue
            child = Child(
                role,
                self._command(role),
                environment=self._environment(role),
                folder=settings.BASE_DIR,
                # A part of a desk runs in a container, where logs belong to the terminal.
                log_path=self._log_folder / f"{role}.log" if self._is_whole else None,
                first_pause_seconds=settings.RESTART_SECONDS,
            )
            self._children.append(child)
            child.start()
        for child in self._children:
            if child.name in SERVERS:
                self._await_server(child)

    def _command(self, role: str) -> list[str]:
        if role in CLUSTERS:
            return [sys.executable, "manage.py", "qcluster", "-n", role]
        if role == "tus":
            return [
                sys.executable,
                str(Path(sys.executable).with_name("uvicorn")),
                *("--host", settings.HOST, "--port", str(settings.TUS_PORT)),
                *("--loop", "auto", "--http", "httptools", "--ws", "none", "--no-access-log", "--no-server-header"),
                *("--log-level", "warning", "--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "4"),
                "uploads.asgi:application",
            ]
        daphne = Path(sys.executable).with_name("daphne")
        return [
            sys.executable,
            str(daphne),
            *("-b", settings.HOST, "-p", str(settings.PORT)),
            *("-v", "0"),  # no line per request; our own log has them
            *("--application-close-timeout", "3"),
            "orchestrator.asgi:application",
        ]

    def _environment(self, role: str = "") -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name != "Q_CLUSTER_NAME"}
        environment |= {
            # What .env says is in the environment by now; reading it again would only repeat its warnings.
            "ENV_FILE": os.devnull,
            "VAR_DIR": str(settings.VAR_DIR),
            "WORKSPACE_PATH": str(settings.WORKSPACE_PATH),
            "DRAIN_FILE": str(self._drain_file),
            "PYTHONUNBUFFERED": "1",
        }
        if role == "tus":
            # Each thread would keep free memory of its own; two pools are enough, and nothing was slower.
            environment["MALLOC_ARENA_MAX"] = "2"
        if role in CLUSTERS:
            # Django-Q looks for its name before it reads its arguments; `-n` is for the reader of a process list.
            environment["Q_CLUSTER_NAME"] = role
        return environment

    def _await_server(self, server: Child) -> None:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104
        while server.poll() is None:
            try:
                socket.create_connection((host, getattr(settings, _PORTS[server.name])), timeout=1).close()
            except OSError:
                self._wait(0.05)
                if self._n_stop_signals:
                    raise _StopAsked from None
            else:
                return
        raise CannotStart(f"The process {server.name} ended at once. {server.last_words}")

    def _greet(self) -> None:
        if not self._is_whole:
            self._say(f"Running: {', '.join(self._roles)}.")
            return
        host = settings.HOST if settings.HOST not in {"0.0.0.0", "::"} else "localhost"  # noqa: S104
        address = settings.PUBLIC_URL or f"http://{f'[{host}]' if ':' in host else host}:{settings.PORT}"
        if self._news:
            self._say(self._news)
        self._say(f"The desk is open at {address}/ and its administration at {address}/admin/.")
        self._say(f"Logs are in {self._log_folder}. Ctrl-C stops everything.")

    # --- Keep alive

    def _watch(self) -> None:
        watchdog = Watchdog()
        clusters = [child for child in self._children if child.name in CLUSTERS]
        next_look_at = time.monotonic() + settings.WATCHDOG_SECONDS
        while not self._n_stop_signals:
            self._reap_orphans()
            self._heal_stores()
            for child in self._children:
                self._heal(child)
            if time.monotonic() >= next_look_at:
                watchdog.look_after(clusters, self._postgres.url if self._postgres else settings.DATABASE_DIRECT_URL)
                next_look_at = time.monotonic() + settings.WATCHDOG_SECONDS
            starts = [child.starts_at for child in self._children if not child.is_started]
            self._wait(min([next_look_at, *starts]) - time.monotonic())

    def _wait(self, seconds: float) -> None:
        """Sleep until a signal comes: a wish to stop, or the death of a child."""
        if select.select([self._wake_fd], [], [], max(0.0, seconds))[0]:
            os.read(self._wake_fd, 4096)

    def _reap_orphans(self) -> None:
        """Bury adopted processes; our own children are left to those who ask for their exit codes."""
        ours = {child.pid for child in self._children} | {store.child_pid for _, store in self._stores()}
        for entry in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            if int(entry) not in ours:
                try:
                    os.waitpid(int(entry), os.WNOHANG)
                except ChildProcessError:
                    continue

    def _stores(self) -> list[tuple[str, Postgres | Weed]]:
        """List what everybody else needs, by name, in the order in which it starts."""
        return [(name, store) for name, store in (("postgres", self._postgres), ("weed", self._weed)) if store]

    def _heal_stores(self) -> None:
        for name, store in self._stores():
            if store.pid is None:
                logger.warning("%s ended; starting it again", name)
                try:
                    store.start()
                except (PostgresUnavailable, WeedUnavailable):
                    logger.exception("%s does not start", name)
                    self._wait(settings.RESTART_SECONDS)

    def _heal(self, child: Child) -> None:
        if child.is_started and (code := child.poll()) is not None:
            # Of a cluster only the first process is our child; it ends with its sentinel, and what either leaves
            # behind would take tasks that nobody guards.
            child.kill()
            logger.warning("process ended; starting it again", extra={"role": child.name, "exit_code": code})
        if not child.is_started and time.monotonic() >= child.starts_at:
            child.start()

    # --- Stop

    def _stop(self) -> None:
        """Let running items go back to the queue, end everybody, the stores last."""
        if self._children:
            self._drain_file.touch()
        for child in self._children:
            child.ask_to_stop()
        deadline = time.monotonic() + settings.DRAIN_SECONDS
        # A second Ctrl-C is impatience.
        while any(child.is_started and child.poll() is None for child in self._children):
            if time.monotonic() >= deadline or self._n_stop_signals > 1:
                break
            self._wait(min(0.1, deadline - time.monotonic()))
        for child in self._children:
            child.kill()
        if self._postgres is not None:
            vardir.database_url_file(settings.VAR_DIR).unlink(missing_ok=True)
        for _, store in reversed(self._stores()):
            store.stop(patience_seconds=max(_STORES_STOP_SECONDS, deadline - time.monotonic()))
        self._drain_file.unlink(missing_ok=True)


def _check_address(variable: str, host: str) -> None:
    port: int = getattr(settings, variable)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise CannotStart(f"HOST {host} is not an address: {error.strerror}.") from error
    except OSError as error:
        raise CannotStart(
            f"{variable} {port} on {host} cannot be used: {error.strerror}. "
            f"Choose another, for instance {variable}={port % 65535 + 1}."
        ) from error
