#!/usr/bin/env python3
"""How soon Linkgate answers after it was started, and what it weighs.

  tests/bench/startup.py            target/release/linkgate, or the binary named by BINARY

From just before the process is started until a link was judged right (the X-Accel-Redirect came), on a Unix socket: with the
embedded store, and with an empty Redis on this machine. Then the resident memory of the idle process, and the size of the
binary. Needs redis-server. Exits with 1 when a goal is missed.
"""
import os, pathlib, re, socket, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("BINARY") or ROOT / "target/release/linkgate")
STARTS = 25
IDLE_AFTER = 2
GOALS = {"embedded": 15, "redis": 50, "resident": 12, "binary": 10}
CONFIGURATION = """
public_url = "https://files.example"
data_dir = "{folder}/data"
[listen]
download = "unix:{folder}/edge.sock"
api = "unix:{folder}/api.sock"
ops = "unix:{folder}/api.sock"
[store]
url = "{url}"
[collections.image]
root = "{folder}"
edge = "nginx"
[log]
level = "warn"
"""


def start(folder, url):
    """A fresh data folder with a key, a configuration, and a link."""
    folder.mkdir()
    file = folder / "linkgate.toml"
    file.write_text(CONFIGURATION.format(folder=folder, url=url))
    linkgate = lambda *words: subprocess.run([BINARY, *words, "--config", file], check=True, capture_output=True, text=True).stdout
    linkgate("keys", "new")
    return [BINARY, "serve", "--config", file]


def judged(path, request):
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(request)
            return b"x-accel-redirect: /media/a.jpg" in connection.recv(4096)
    except OSError:
        return False


def stop(process):
    process.terminate()
    process.wait()


def first_verdicts(folder, url):
    """Milliseconds from start to the first right verdict, and the idle process' resident MB."""
    command = start(folder, url)
    process = subprocess.Popen(command)
    while not (folder / "edge.sock").exists() or not (folder / "data/keys.toml").exists():
        time.sleep(0.01)
    mint = [BINARY, "mint", "a.jpg", "--expires-in", "1h", "--config", folder / "linkgate.toml"]
    link = subprocess.run(mint, check=True, capture_output=True, text=True).stdout.strip()
    request = f"GET {link.removeprefix('https://files.example')} HTTP/1.1\r\nHost: linkgate\r\n\r\n".encode()
    while not judged(folder / "edge.sock", request):
        time.sleep(0.01)
    stop(process)
    times = []
    for _ in range(STARTS):
        begun = time.perf_counter()
        process = subprocess.Popen(command)
        while not judged(folder / "edge.sock", request):
            if process.poll() is not None:
                sys.exit("Linkgate ended")
        times.append((time.perf_counter() - begun) * 1_000)
        if len(times) < STARTS:
            stop(process)
    time.sleep(IDLE_AFTER)
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    stop(process)
    return times, int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1]) / 1_000


def main():
    if not os.access(BINARY, os.X_OK):
        sys.exit("build it first: cargo build --release")
    found = {"binary": BINARY.stat().st_size / 1e6}
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        folder = pathlib.Path(folder)
        found["embedded"], found["resident"] = first_verdicts(folder / "embedded", "embedded")
        redis = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", folder / "redis.sock", "--save", ""],
                                 stdout=subprocess.DEVNULL)
        try:
            while not (folder / "redis.sock").exists():
                time.sleep(0.01)
            found["redis"], _ = first_verdicts(folder / "redis", f"redis+unix://{folder}/redis.sock")
        finally:
            stop(redis)
    is_missed = False
    for name, what, unit in (("embedded", "first verdict, embedded store", "ms"), ("redis", "first verdict, empty Redis", "ms"),
                             ("resident", "resident memory when idle", "MB"), ("binary", "binary, stripped", "MB")):
        value = found[name]
        spread = f" ({min(value):.1f}–{max(value):.1f})" if isinstance(value, list) else ""
        value = statistics.median(value) if isinstance(value, list) else value
        is_missed |= value > GOALS[name]
        print(f"{what:32} {value:6.2f} {unit}{spread}, goal {GOALS[name]} {unit}{': MISSED' if value > GOALS[name] else ''}")
    sys.exit(is_missed)


if __name__ == "__main__":
    main()
