#!/usr/bin/env python3
"""What hostile clients cost the honest ones: 99th percentiles side by side, and memory.

  tests/bench/hostility.py          target/release/linkgate, or the binary named by BINARY

Honest clients ask for verdicts on 32 kept connections, as fast as 2 000 a second; in turn with nobody else there, and beside
ten thousand connections that say nothing, two hundred that send a head byte by byte, fifty that read nothing of a large
direct download, and as many requests of garbage as one in a hundred of the honest. More connections than there are slots for
(`limits.connections`, 10 000): those that were closed come again. Then Linkgate's memory: quiet, in the midst of it, and
after it. Needs 11 000 descriptors (`ulimit -Hn`). Exits with 1 when the goal is missed.
"""
import multiprocessing, os, pathlib, re, resource, secrets, socket, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("BINARY") or ROOT / "target/release/linkgate")
ROUNDS, SECONDS, HONEST, RATE = 5, 3, 32, 2_000
IDLE, STAMMERING, UNREAD = 10_000, 200, 50
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


def resident(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1]) / 1_000


def main():
    if not os.access(BINARY, os.X_OK):
        sys.exit("build it first: cargo build --release")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most < IDLE + 1_000:
        sys.exit(f"{IDLE + 1_000} descriptors are needed, {most} may be had: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        folder = pathlib.Path(folder)
        (folder / "media").mkdir()
        (folder / "media/a.bin").write_bytes(bytes(20_000_000))
        file = folder / "linkgate.toml"
        file.write_text(CONFIGURATION.format(folder=folder))
        def linkgate(*words):
            return subprocess.run([BINARY, *words, "--config", file], check=True, capture_output=True, text=True).stdout.strip()
        linkgate("keys", "new")
        process = subprocess.Popen([BINARY, "serve", "--config", file])
        try:
            path = folder / "edge.sock"
            while not path.exists() or not (folder / "data/operator.sock").exists():
                time.sleep(0.01)
            def request(collection):
                link = linkgate("mint", "a.bin", "--collection", collection).removeprefix("https://files.example")
                return f"GET {link} HTTP/1.1\r\nHost: linkgate\r\n\r\n".encode()
            honest, direct = request("image"), request("direct")
            heads = [("idle", b"")] * IDLE + [("stammering", honest[:60])] * STAMMERING + [("unread", direct)] * UNREAD
            quiet, hostile, memory = [], [], {"quiet": resident(process)}
            Honest(path, honest).percentile(1)
            for _ in range(ROUNDS):
                quiet.append(Honest(path, honest).percentile(SECONDS))
                crowd = Crowd(path, heads)
                hostile.append(Honest(path, honest, garbage_every=100).percentile(SECONDS))
                memory["beside the crowd"] = max(resident(process), memory.get("beside the crowd", 0))
                came_again = crowd.back.value
                crowd.leave()
                time.sleep(1)
            memory["after it"] = resident(process)
        finally:
            process.terminate()
            process.wait()
    for name, at in (("p50", 0), ("p99", 1)):
        pairs = sorted(there[at] / here[at] for here, there in zip(quiet, hostile))
        one, two = (statistics.median(run[at] for run in runs) for runs in (quiet, hostile))
        print(f"{name}: quiet {one:.0f} µs, beside the crowd {two:.0f} µs; ratio {statistics.median(pairs):.2f} "
              f"({pairs[0]:.2f}–{pairs[-1]:.2f})")
        ratio = statistics.median(pairs)
    print("; ".join(f"{name} {value:.1f} MB" for name, value in memory.items()), f"; {came_again} came again in the last round")
    print(f"goal for p99: {GOAL}{': MISSED' if ratio > GOAL else ''}")
    sys.exit(ratio > GOAL)


if __name__ == "__main__":
    main()
