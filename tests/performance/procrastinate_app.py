"""The peer: procrastinate with one no-op task. Run as a script it defers as many as it is told."""

import os
import sys

import procrastinate

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=os.environ["DATABASE_URL"]),
    import_paths=["tests.performance.procrastinate_app"],
)


@app.task(name="nothing")
def nothing(n: int) -> None:
    pass


if __name__ == "__main__":
    sync = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=os.environ["DATABASE_URL"]))
    with sync.open():
        deferrer = sync.configure_task("nothing")
        deferrer.batch_defer(*({"n": n} for n in range(int(sys.argv[1]))))
