#!/usr/bin/env python3
"""How the cost of a download grows: with connections, revocations, the length of tokens and the size of files.

One step after another, Linkgate and an upstream that checks nothing (`null_unix` of edge_peers.py, which also says what is
needed) serve the same files through the same nginx, in interleaved rounds; then memory is read, idle and with ten thousand
open connections. Writes a page of tables and a plot for each into docs/ (--out):

  tests/bench/growth.py --project tests/bench/edge_project

The largest steps take a while: ten million revocations are put into Redis first, which needs 2 GB for them.
"""
import argparse, json, math, os, pathlib, re, resource, socket, statistics, sys, time

from edge_peers import REDISP, Bench, sh

CONNECTIONS = [1, 4, 16, 64, 256, 1024]
REVOCATIONS = [0, 10_000, 100_000, 1_000_000, 10_000_000]
# What makes a token that long: bytes of the subject, of the name for saving, of the path.
TOKENS = [(1, 0, 5), (64, 0, 100), (128, 0, 256), (128, 200, 400), (128, 250, 1000)]
FILES = [20_000, 200_000, 2_000_000, 20_000_000]
OPEN_CONNECTIONS = 10_000
LINKGATE, NULL = "project", "null_unix"
NAMES = {LINKGATE: "Linkgate", NULL: "no check at all"}
COLOURS = {LINKGATE: "#0b6e4f", NULL: "#8a8f98"}


class Growth(Bench):
    def step(self, connections=64):
        """Median figures of both contenders for what is set up now."""
        found = {name: [] for name in NAMES}
        for name in NAMES:
            self.wrk(name, 1, connections)
        for _ in range(self.a.rounds):
            for name in NAMES:
                found[name].append(self.wrk(name, self.a.seconds, connections))
        return {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()}

    def restart(self, **env):
        """Starts Linkgate anew, and leaves what was revoked."""
        for process in self.procs:
            if process.pid == self.pids.get(LINKGATE):
                self.stop(process)
                self.procs.remove(process)
                break
        self.project(LINKGATE, REDISP, {"REVOKED": "0", **{key: str(value) for key, value in env.items()}}, patience=600)

    def files(self, pattern):
        """Lets both serve these files."""
        found = sorted(str(file.relative_to(self.media)) for file in self.media.glob(pattern) if file.is_file())
        self.urls[NULL] = [f"/nullu/{name}" for name in found]

    def linkgate(self):
        """The process itself, which the script has started."""
        children = pathlib.Path(f"/proc/{self.pids[LINKGATE]}/task/{self.pids[LINKGATE]}/children").read_text().split()
        return next(pid for pid in children if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "linkgate")

    def resident(self):
        status = pathlib.Path(f"/proc/{self.linkgate()}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1]) / 1000


def connections(bench):
    bench.restart(FILES="*.jpg")
    for number in CONNECTIONS:
        yield f"{number}", number, bench.step(number), {}


def revocations(bench):
    known = 0
    for number in REVOCATIONS:
        bench.restart(FILES="*.jpg", REVOKED=number - known)
        known = number
        figures = bench.step()
        yield f"{number:,}".replace(",", " "), max(number, 1_000), figures, {"memory": f"{bench.resident():.0f} MB"}
    sh(f"redis-cli -p {REDISP} flushall")


def tokens(bench):
    for subject, name, path in TOKENS:
        folders = bench.media / f"{path}"
        while len(str(folders.relative_to(bench.media))) + 11 < path:
            room = path - len(str(folders.relative_to(bench.media))) - 10
            folders /= "d" * min(room, 200)
        folders.mkdir(parents=True, exist_ok=True)
        for at in range(10):
            (folders / f"{at}.jpg").write_bytes(os.urandom(20480))
        pattern = str(folders.relative_to(bench.media) / "*.jpg")
        bench.restart(FILES=pattern, SUBJECT_BYTES=subject, FILE_NAME_BYTES=name, TOKENS=2_000)
        bench.files(pattern)
        length = statistics.median(len(url.rsplit("/", 1)[1]) for url in bench.urls[LINKGATE])
        yield f"{length:.0f}", length, bench.step(), {}
    bench.files("*.jpg")


def files(bench):
    for size in FILES:
        folder = bench.media / f"size-{size}"
        folder.mkdir()
        for at in range(10):
            (folder / f"{at}.bin").write_bytes(os.urandom(size))
        bench.restart(FILES=f"{folder.name}/*", TOKENS=2_000)
        bench.files(f"{folder.name}/*")
        figures = bench.step()
        rate = figures[LINKGATE]["rps"] * size / 1e9
        yield f"{size / 1e6:g} MB", size, figures, {"throughput": f"{rate:.1f} GB/s"}
    bench.files("*.jpg")


def memory(bench):
    """Resident memory in MB: just started, and with many connections that were used once."""
    bench.restart(FILES="*.jpg", TOKENS=100, LINKGATE_LIMITS__CONNECTIONS=OPEN_CONNECTIONS + 100)
    idle = bench.resident()
    request = f"GET {bench.urls[LINKGATE][0]} HTTP/1.1\r\nHost: linkgate\r\n\r\n".encode()
    opened = []
    for _ in range(OPEN_CONNECTIONS):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(pathlib.Path(bench.media).parent / f"{LINKGATE}.sock"))
        connection.sendall(request)
        if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
            sys.exit("a connection was not answered")
        opened.append(connection)
    held = bench.resident()
    for connection in opened:
        connection.close()
    return idle, held


def plot(title, axis, points):
    """An SVG of microseconds of CPU per download over what grows, whose axis is logarithmic."""
    width, height, left, top, right, bottom = 640, 320, 60, 40, 20, 50
    logs = [math.log10(x) for _, x, _, _ in points]
    highest = max(figures[name]["cpu_us"] for _, _, figures, _ in points for name in NAMES)
    unit = 10 ** math.floor(math.log10(highest))
    tick = next(part * unit for part in (0.2, 0.5, 1, 2) if highest / (part * unit) <= 6)
    ceiling = math.ceil(highest / tick) * tick
    def at(log, value):
        x = left + (log - logs[0]) / (logs[-1] - logs[0]) * (width - left - right)
        return x, height - bottom - value / ceiling * (height - top - bottom)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<title>{title}</title><rect width="{width}" height="{height}" fill="#ffffff"/>',
           f'<text x="{left}" y="20" font-size="14">{title}</text>']
    for step in range(round(ceiling / tick) + 1):
        _, y = at(logs[0], step * tick)
        out.append(f'<path d="M{left} {y:.1f}H{width - right}" stroke="#e3e5e8"/>'
                   f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{step * tick:g}</text>')
    for (label, *_), log in zip(points, logs):
        x, y = at(log, 0)
        out.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{label}</text>')
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 8}" text-anchor="middle">{axis}</text>')
    for row, name in enumerate(NAMES):
        spots = [at(log, figures[name]["cpu_us"]) for (_, _, figures, _), log in zip(points, logs)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        out.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[name]}"/>' for x, y in spots]
        out.append(f'<text x="{width - right}" y="{20 + 14 * row}" text-anchor="end" fill="{COLOURS[name]}">{NAMES[name]}</text>')
    return "\n".join(out + ["</svg>", ""])


def table(axis, points):
    more = list(points[0][3])
    heads = [axis, "CPU per download", f"with {NAMES[NULL]}", "ratio", "requests per second", "ratio", "p99", *more]
    rows = [f"| {' | '.join(heads)} |", f"|{' ---: |' * len(heads)}"]
    for label, _, figures, extra in points:
        ours, null = figures[LINKGATE], figures[NULL]
        rows.append(f"| {label} | {ours['cpu_us']:.1f} µs | {null['cpu_us']:.1f} µs | {ours['cpu_us'] / null['cpu_us']:.2f} | "
                    f"{ours['rps']:.0f} | {ours['rps'] / null['rps']:.2f} | {ours['p99_ms']:.1f} ms | "
                    + "".join(f"{value} | " for value in extra.values()))
    return "\n".join(row.rstrip() for row in rows)


SECTIONS = {
    "connections": (connections, "Connections", "open connections to nginx",
                    "Clients that ask without a pause, 20 KB files."),
    "revocations": (revocations, "Revocations", "revoked links",
                    "64 connections, 20 KB files; memory is the verifier's own."),
    "tokens": (tokens, "Tokens", "characters of a token",
               "64 connections, 20 KB files; longer tokens have longer paths, subjects and names for saving in them, which nginx handles as well."),
    "files": (files, "Files", "size of a file", "64 connections; from some 200 KB on, sending is all that costs."),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", required=True, metavar="SCRIPT", help="starts Linkgate: tests/bench/edge_project")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--only", default=",".join([*SECTIONS, "memory"]), help="sections, with commas between them")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2] / "docs")
    arguments = parser.parse_args()
    arguments.before = None
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kept = arguments.out / "growth" / "figures.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    figures = json.loads(kept.read_text()) if kept.exists() else {}
    bench = Growth(arguments)
    try:
        bench.setup([])
        for name in arguments.only.split(","):
            started = time.monotonic()
            figures[name] = list(SECTIONS[name][0](bench)) if name in SECTIONS else memory(bench)
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            kept.write_text(json.dumps(figures, indent=1) + "\n")
    finally:
        bench.stop()
    (arguments.out / "growth.md").write_text(page(figures, arguments.out / "growth"))


def page(figures, folder):
    parts = [INTRODUCTION]
    for name, (_, title, axis, words) in SECTIONS.items():
        if name in figures:
            (folder / f"{name}.svg").write_text(plot(f"CPU per download, µs: {axis}", axis, figures[name]))
            parts.append(f"## {title}\n\n{words}\n\n![CPU per download by {axis}](growth/{name}.svg)\n\n{table(axis, figures[name])}\n")
    if "memory" in figures:
        idle, held = figures["memory"]
        each = (held - idle) / OPEN_CONNECTIONS * 1000
        parts.append(f"## Memory\n\n| | resident |\n| --- | ---: |\n| idle, nothing revoked | {idle:.1f} MB |\n"
                     f"| {OPEN_CONNECTIONS} open connections, each used once | {held:.1f} MB: {each:.1f} KB each |\n")
    return "\n".join(parts)


INTRODUCTION = f"""# How cost grows

Made by one command, which measures all of this anew and writes this page:

```text
tests/bench/growth.py --project tests/bench/edge_project
```

Linkgate with every check on and its store in Redis, beside an upstream that checks nothing, through the same nginx with one
worker, in interleaved rounds on {os.cpu_count()} cores. CPU is that of everything that serves a download: nginx, the verifier, Redis. The machine
is shared: trust ratios, not absolute times.
"""


if __name__ == "__main__":
    main()
