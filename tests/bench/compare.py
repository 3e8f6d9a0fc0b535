#!/usr/bin/env python3
"""Today's figures beside those of the last release, or of any commit: the ratio of each, and which one got worse.

  tests/bench/compare.py [COMMIT]           without one: the newest tag

Builds the other version in target/compare, then runs for both, in turn: the verdict bench, downloads through nginx (CPU and
requests a second; needs what edge_peers.py needs), and the start (startup.py). A ratio above 1.00 means that today's figure is
the worse one; above TOLERANCE it is called WORSE, and the exit code is 1. Some fifteen minutes.
"""
import argparse, json, os, pathlib, re, statistics, subprocess, sys, tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCH = ROOT / "tests/bench"
# What the same version shows against itself on a shared machine.
TOLERANCE = 1.10
ROUNDS = 3
NANOSECONDS = {"ps": 1e-3, "ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}


def run(*command, cwd=ROOT, **more):
    return subprocess.run(command, cwd=cwd, check=True, text=True, stdout=subprocess.PIPE, **more).stdout


def other_tree(commit):
    tree = ROOT / "target/compare/tree"
    if not tree.exists():
        run("git", "worktree", "add", "--force", "--detach", tree, commit)
    run("git", "checkout", "--quiet", "--force", "--detach", commit, cwd=tree)
    return tree


def build(tree):
    run("cargo", "build", "--release", "--locked", "--quiet", cwd=tree)
    out = run("cargo", "bench", "--locked", "--bench", "verdict", "--no-run", "--message-format=json", cwd=tree, stderr=subprocess.DEVNULL)
    bench = next(found["executable"] for found in map(json.loads, out.splitlines())
                 if found.get("executable") and found["target"]["name"] == "verdict")
    return tree / "target/release/linkgate", bench


def verdicts(bench):
    """Nanoseconds of each judgement."""
    text = run(bench, "--bench", stderr=subprocess.DEVNULL)
    found = re.findall(r"^(verdict/\S+)\s+time:\s+\[\S+ \S+ (\S+) (\S+) ", text, re.M)
    return {name: float(value) * NANOSECONDS[unit] for name, value, unit in found}


def start(binary):
    text = subprocess.run([BENCH / "startup.py"], env={**os.environ, "BINARY": str(binary)}, text=True, capture_output=True).stdout
    return {name.strip(): float(value) for name, value in re.findall(r"^(.+?)\s+([\d.]+) M?[ms]?[sB]", text, re.M)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?")
    commit = parser.parse_args().commit
    if not commit:
        found = subprocess.run(["git", "describe", "--tags", "--abbrev=0"], cwd=ROOT, text=True, capture_output=True)
        if found.returncode:
            sys.exit("there is no release yet: name a commit to compare with")
        commit = found.stdout.strip()
    today, before = build(ROOT), build(other_tree(commit))
    ratios = {}
    rounds = [(verdicts(before[1]), verdicts(today[1]), start(before[0]), start(today[0])) for _ in range(ROUNDS)]
    for then, now in ((0, 1), (2, 3)):
        for name in rounds[0][then].keys() & rounds[0][now].keys():
            values = [[figures[side][name] for figures in rounds] for side in (then, now)]
            ratios[name] = statistics.median(b / a for a, b in zip(*values)), *map(statistics.median, values)
    with tempfile.NamedTemporaryFile() as file:
        run(BENCH / "edge_peers.py", "--project", BENCH / "edge_project", "--before", before[0], "--only", "null_unix", "--rounds", "5",
            "--seconds", "3", "--json", file.name)
        edge = json.loads(pathlib.Path(file.name).read_text())
    then, now = edge["before"], edge["project"]
    ratios["download through nginx, CPU (µs)"] = now["cpu_us"] / then["cpu_us"], then["cpu_us"], now["cpu_us"]
    ratios["download through nginx, requests/s"] = then["rps"] / now["rps"], then["rps"], now["rps"]
    worse = [name for name, (ratio, *_) in ratios.items() if ratio > TOLERANCE]
    print(f"{'':44}{commit[:12]:>12}{'today':>12}{'ratio':>8}")
    for name, (ratio, then, now) in sorted(ratios.items()):
        print(f"{name:44}{then:12.2f}{now:12.2f}{ratio:8.2f}{'  WORSE' if name in worse else ''}")
    sys.exit(bool(worse))


if __name__ == "__main__":
    main()
