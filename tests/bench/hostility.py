#!/usr/bin/env python3
"""What hostile clients cost the honest ones: 99th percentiles side by side, and memory.

  tests/bench/hostility.py               target/release/linkgate, or the binary named by BINARY
  IDLE=9600 tests/bench/hostility.py     the same with a slot for everybody

Honest clients ask for verdicts on 32 kept connections, 2 000 a second: in turn with nobody else there, with a crowd at another
Linkgate on the same machine (what the crowd costs the machine), and with the crowd at the same one. It is
ten thousand connections that say nothing, two hundred that send a head byte by byte, fifty that read nothing of a large
direct download, and as many requests of garbage as one in a hundred of the honest. More connections than there are slots for
(`limits.connections`, 10 000): those that were closed come again. Then Linkgate's memory. Needs 11 000 descriptors (`ulimit -Hn`). Exits with 1 when the goal is missed.
"""
import multiprocessing, os, pathlib, re, resource, secrets, socket, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("BINARY") or ROOT / "target/release/linkgate")
ROUNDS, SECONDS, HONEST, RATE = 5, 3, 32, 2_000
IDLE, STAMMERING, UNREAD = int(os.environ.get("IDLE", 10_000)), 200, 50
GOAL = 2.0
CONFIGURATION = """
public_url = "https://files.example"
data_dir = "{folder}/data"
[listen]
download = "unix:{folder}/edge.sock"
api = "off"
ops = "off"
[collections.image]
root = "{folder}/media"
edge = "nginx"
[collections.direct]
root = "{folder}/media"
edge = "direct"
[log]
level = "error"
"""


class Honest:
    """Clients that ask at a steady rate; each in a thread would measure Python, so one loop does it all."""

    def __init__(self, path, request, garbage_every=0):
        self.path, self.request, self.garbage_every = path, request, garbage_every

    def percentile(self, seconds):
        connections = [connect(self.path) for _ in range(HONEST)]
        times, begun, asked = [], time.perf_counter(), 0
        while (now := time.perf_counter()) - begun < seconds:
            due = begun + asked / RATE
            if due > now:
                time.sleep(due - now)
            connection = connections[asked % HONEST]
            sent = time.perf_counter()
            connection.sendall(self.request)
            if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
                sys.exit("an honest client was refused")
            times.append(time.perf_counter() - sent)
            asked += 1
            if self.garbage_every and asked % self.garbage_every == 0:
                with connect(self.path) as stranger:
                    stranger.sendall(secrets.token_bytes(200))
        for connection in connections:
            connection.close()
        times.sort()
        return times[len(times) // 2] * 1e6, times[len(times) * 99 // 100] * 1e6


class Crowd:
    """Connections that take slots and give nothing; those that are closed come again."""

    def __init__(self, path, heads):
        self.path, self.heads = path, heads
        self.came, self.back = multiprocessing.Event(), multiprocessing.Value("i")
        # A process of its own: what is measured is not to wait for it.
        self.process = multiprocessing.Process(target=self.stay, daemon=True)
        self.process.start()
        self.came.wait()

    def stay(self):
        self.open = [(connect(self.path), head) for head in self.heads]
        for connection, head in self.open:
            connection.setblocking(False)
            connection.sendall(head[1])
        self.came.set()
        while True:
            for at, (connection, head) in enumerate(self.open):
                # A little at a time: it is Linkgate that is to be kept busy, not this machine.
                if at % 500 == 0:
                    time.sleep(0.05)
                kind, _ = head
                try:
                    if kind == "stammering":
                        connection.send(b"a")
                    if kind != "unread" and connection.recv(1, socket.MSG_PEEK) == b"":
                        raise ConnectionResetError
                except BlockingIOError:
                    pass
                except OSError:
                    connection.close()
                    connection = connect(self.path)
                    connection.setblocking(False)
                    connection.sendall(head[1])
                    self.open[at] = (connection, head)
                    self.back.value += 1

    def leave(self):
        self.process.terminate()
        self.process.join()


def connect(path):
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
            return connection
        except BlockingIOError:
            # The queue is full: everybody waits a moment.
            connection.close()
            time.sleep(0.001)


class Linkgate:
    """One that runs, in a folder of its own."""

    def __init__(self, folder):
        self.folder, self.path = folder, folder / "edge.sock"
        (folder / "media").mkdir(parents=True)
        (folder / "media/a.bin").write_bytes(bytes(20_000_000))
        (folder / "linkgate.toml").write_text(CONFIGURATION.format(folder=folder))

    def __enter__(self):
        self.run("keys", "new")
        self.process = subprocess.Popen([BINARY, "serve", "--config", self.folder / "linkgate.toml"])
        while not self.path.exists() or not (self.folder / "data/operator.sock").exists():
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def run(self, *words):
        command = [BINARY, *words, "--config", self.folder / "linkgate.toml"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def request(self, collection):
        link = self.run("mint", "a.bin", "--collection", collection).removeprefix("https://files.example")
        return f"GET {link} HTTP/1.1\r\nHost: linkgate\r\n\r\n".encode()

    def resident(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1]) / 1_000


def main():
    if not os.access(BINARY, os.X_OK):
        sys.exit("build it first: cargo build --release")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most < IDLE + 1_000:
        sys.exit(f"{IDLE + 1_000} descriptors are needed, {most} may be had: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, Linkgate(pathlib.Path(folder) / "1") as ours, \
            Linkgate(pathlib.Path(folder) / "2") as other:
        honest = ours.request("image")
        runs, memory = {"nobody": [], "elsewhere": [], "here": []}, {"before the crowd": ours.resident()}
        Honest(ours.path, honest).percentile(1)
        for _ in range(ROUNDS):
            runs["nobody"].append(Honest(ours.path, honest).percentile(SECONDS))
            for where, linkgate in (("elsewhere", other), ("here", ours)):
                heads = [("idle", b"")] * IDLE + [("stammering", honest[:60])] * STAMMERING
                crowd = Crowd(linkgate.path, heads + [("unread", linkgate.request("direct"))] * UNREAD)
                runs[where].append(Honest(ours.path, honest, garbage_every=100).percentile(SECONDS))
                if where == "here":
                    memory["beside it"] = max(ours.resident(), memory.get("beside it", 0))
                came_again = crowd.back.value
                crowd.leave()
                time.sleep(1)
        memory["after it"] = ours.resident()
    for name, at in (("p50", 0), ("p99", 1)):
        quiet = [run[at] for run in runs["nobody"]]
        print(f"{name}: nobody else there {statistics.median(quiet):.0f} µs", end="")
        for where in ("elsewhere", "here"):
            ratios = sorted(run[at] / one for run, one in zip(runs[where], quiet))
            ratio = statistics.median(ratios)
            print(f"; crowd {where} {statistics.median(run[at] for run in runs[where]):.0f} µs, "
                  f"ratio {ratio:.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})", end="")
        print()
    print("; ".join(f"{name} {value:.1f} MB" for name, value in memory.items()), f"; {came_again} came again in the last round")
    print(f"goal for p99 with the crowd here: {GOAL}{': MISSED' if ratio > GOAL else ''}")
    sys.exit(ratio > GOAL)


if __name__ == "__main__":
    main()
