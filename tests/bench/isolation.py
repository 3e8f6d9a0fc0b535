#!/usr/bin/env python3
"""What one caller's worst costs the others: downloads, revoking, and another login.

  tests/bench/isolation.py                                    target/release/linkgate
  tests/bench/isolation.py --binary OLD --binary NEW          several, one after the other

Every load comes from processes of its own on loopback and ends after some seconds. Needs redis-server and openssl, which
signs the logins. Figures are milliseconds unless they say otherwise.
"""
import argparse, base64, hashlib, http.client, json, multiprocessing, os, pathlib, re, socket, statistics, subprocess, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 5
BODY = 4 << 20
CONFIGURATION = """
public_url = "https://files.example"
data_dir = "{folder}/data"
[listen]
download = "unix:{folder}/edge.sock"
api = "unix:{folder}/api.sock"
ops = "unix:{folder}/ops.sock"
[limits]
connections = 500
[collections.image]
root = "{folder}/media"
edge = "nginx"
[collections.direct]
root = "{folder}/media"
edge = "direct"
{more}
"""
PROVIDER = """
[[identity_providers]]
name = "app"
issuer = "https://login.example/"
audience = "photos"
algorithms = ["RS256"]
jwks_file = "{folder}/keys.json"
allow = ["users/{{sub}}/**"]
requests_per_second = 50
links_per_second = 100
"""


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def call(self, method, path, body=None, key=None, headers=()):
        fields = dict(headers) | ({"Authorization": f"Bearer {key}"} if key else {})
        if body is not None:
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            fields["Content-Type"] = "application/json"
        self.request(method, path, body, fields)
        answer = self.getresponse()
        return answer.status, answer.read()


class Site:
    """A Linkgate of a binary, with a key that mints, one that revokes and a plain link."""

    def __init__(self, binary, more="", provider=False):
        self.home = tempfile.TemporaryDirectory(prefix="linkgate-")
        self.folder, self.binary = pathlib.Path(self.home.name), binary
        (self.folder / "media/users/bob").mkdir(parents=True)
        (self.folder / "media/a.txt").write_bytes(b"x" * (1 << 20))
        if provider:
            self.make_keys()
            more += PROVIDER.format(folder=self.folder)
        (self.folder / "linkgate.toml").write_text(CONFIGURATION.format(folder=self.folder, more=more))
        self.run("keys", "new")
        self.run("store", "init")
        add = lambda name, role: json.loads(self.run("clients", "add", name, "--role", role, "--allow", "**", "--json"))["key"]
        self.admin, self.minter = add("boss", "admin"), add("minter", "mint")
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen([binary, "serve", "--config", self.folder / "linkgate.toml"], stderr=self.log, stdout=self.log)
        self.until_ready()
        self.link = self.mint({"path": "a.txt"})

    def run(self, *arguments):
        done = subprocess.run([self.binary, *arguments, "--config", self.folder / "linkgate.toml"], capture_output=True, text=True)
        return done.stdout

    def until_ready(self):
        for _ in range(200):
            try:
                if Connection(self.folder / "ops.sock").call("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit("Linkgate does not become ready: " + (self.folder / "log").read_text())

    def make_keys(self):
        key, encode = self.folder / "rsa.pem", lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        modulus = subprocess.run(["openssl", "rsa", "-in", key, "-noout", "-modulus"], check=True, capture_output=True, text=True).stdout
        number = bytes.fromhex(modulus.strip().split("=")[1])
        jwk = {"kty": "RSA", "kid": "one", "use": "sig", "n": encode(number), "e": "AQAB"}
        (self.folder / "keys.json").write_text(json.dumps({"keys": [jwk]}))
        self.encode = encode

    def login(self, user):
        now = int(time.time())
        claims = {"iss": "https://login.example/", "aud": "photos", "sub": user, "iat": now, "exp": now + 600}
        text = ".".join(self.encode(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "one"}, claims))
        signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.folder / "rsa.pem"], input=text.encode(), capture_output=True, check=True)
        return f"{text}.{self.encode(signed.stdout)}"

    def api(self):
        return Connection(self.folder / "api.sock")

    def mint(self, wish):
        status, body = self.api().call("POST", "/v1/links", wish, self.minter)
        assert status == 201, body
        return json.loads(body)["url"].removeprefix("https://files.example")

    def memory(self, field):
        return int(re.search(rf"{field}:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # It has shown what it can: a drain that waits for slow links is not measured.
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.home.cleanup()


def repeat(path, method, target, body, key, until, named):
    """One caller that asks the same without pause."""
    number = 0
    while time.monotonic() < until:
        try:
            connection = Connection(path)
            while time.monotonic() < until:
                headers = {"Idempotency-Key": f"{os.getpid()}-{number}"} if named else {}
                connection.call(method, target, body, key, headers)
                number += 1
        except (OSError, http.client.HTTPException):
            time.sleep(0.01)


class Load:
    """Callers in processes of their own, while the block runs."""

    def __init__(self, count, *arguments, named=False):
        until = time.monotonic() + 60
        self.callers = [multiprocessing.Process(target=repeat, args=(*arguments, until, named), daemon=True) for _ in range(count)]

    def __enter__(self):
        [caller.start() for caller in self.callers]
        time.sleep(1)

    def __exit__(self, *_):
        [caller.kill() for caller in self.callers]
        [caller.join() for caller in self.callers]


def times(work, seconds=SECONDS, pause=0.0):
    taken, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1e3)
        time.sleep(pause)
    return sorted(taken)


def percentile(sorted_times, part):
    return sorted_times[min(len(sorted_times) - 1, int(len(sorted_times) * part))]


def show(what, taken):
    print(f"  {what:58} p50 {statistics.median(taken):9.2f}   p99 {percentile(taken, 0.99):9.2f}   of {len(taken)}", flush=True)


def downloads(site):
    connection = Connection(site.folder / "edge.sock")

    def ask():
        assert connection.call("GET", site.link)[0] == 200

    return times(ask, pause=0.001)


def revocations(site):
    statuses = {}

    def revoke():
        try:
            status = Connection(site.folder / "api.sock", 5).call("POST", "/v1/revocations", {"subject": os.urandom(8).hex()}, site.admin)[0]
        except OSError:
            status = "no answer"
        statuses[status] = statuses.get(status, 0) + 1

    return times(revoke, pause=0.02), statuses


def bodies(binary):
    """Downloads beside the worst bodies, and the memory that these take."""
    long = "/".join(["p" * 100] * 9) + "/" + "f" * 80 + ".jpg"
    with Site(binary) as site:
        old = site.mint({"path": long, "filename": "ä" * 60, "subject": "s" * 128})
        worst = {
            "nobody else": None,
            "one batch of 1000 paths of 1000 bytes": ("/v1/links/batch", json.dumps({"links": [{"path": long}] * 1000}).encode()),
            "one refresh of 1000 links of 4 KB": ("/v1/links/refresh", json.dumps({"links": ["https://files.example" + "/x" * 1_000 + old] * 1000}).encode()),
            "one body of 4 MiB of zeros in a list": ("/v1/links/batch", b'{"links":[' + b"0," * ((BODY - 20) // 2) + b"0]}"),
            "one refresh of 4 MiB of empty texts": ("/v1/links/refresh", b'{"links":[' + b'"",' * ((BODY - 20) // 3) + b'""]}'),
        }
        for what, call in worst.items():
            if call is None:
                show(f"downloads, {what}", downloads(site))
                continue
            target, body = call
            pathlib.Path(f"/proc/{site.process.pid}/clear_refs").write_text("5")
            before = site.memory("VmRSS")
            answer = site.api().call("POST", target, body, site.minter)[1]
            peak, bound = site.memory("VmHWM") - before, 4 * (len(body) + len(answer)) / (1 << 20)
            with Load(1, site.folder / "api.sock", "POST", target, body, site.minter):
                show(f"downloads, {what}", downloads(site))
            print(f"  {'':58} memory {peak:.1f} MiB, 4 x (body + answer) {bound:.1f} MiB")


def kept_answers(binary):
    """Revoking while minting keeps as many answers as it may."""
    body = json.dumps({"links": [{"path": f"p/{number}.jpg"} for number in range(1000)]}).encode()
    folder = tempfile.TemporaryDirectory(prefix="linkgate-redis-")
    socket_path = f"{folder.name}/redis.sock"
    port = free_port()
    redis = subprocess.Popen(["redis-server", "--port", str(port), "--unixsocket", socket_path, "--dir", folder.name, "--save", "", "--maxmemory", "64mb", "--maxmemory-policy", "noeviction"], stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        for store, more in (("Redis of 64 MB", f'[store]\nurl = "redis://127.0.0.1:{port}/0"\n'), ("embedded", "")):
            with Site(binary, more) as site:
                files = lambda: sum(file.stat().st_size for file in (site.folder / "data").glob("*.redb")) / (1 << 20)
                before = files()
                with Load(2, site.folder / "api.sock", "POST", "/v1/links/batch", body, site.minter, named=True):
                    time.sleep(3)
                    taken, statuses = revocations(site)
                show(f"revoking, minting keeps answers, {store}", taken)
                print(f"  {'':58} {statuses}, files grew by {files() - before:.1f} MiB")
    finally:
        redis.terminate()
        redis.wait()
        folder.cleanup()


def free_port():
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


def counted(binary):
    with Site(binary) as site:
        link = site.mint({"path": "a.txt", "max_downloads": 1_000_000})
        with Load(60, site.folder / "edge.sock", "GET", link, None, None):
            show("revoking, 60 callers download a counted link", revocations(site)[0])


def paced(binary):
    with Site(binary) as site:
        link = site.mint({"path": "a.txt", "collection": "direct", "rate_limit": 64})
        crowd = []
        for _ in range(500):
            crowd.append(socket.socket(socket.AF_UNIX))
            crowd[-1].connect(str(site.folder / "edge.sock"))
            crowd[-1].sendall(f"GET {link} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(2)
        taken, statuses = revocations(site)
        show("revoking, paced links hold all 500 slots", taken)
        print(f"  {'':58} {statuses}")
        for connection in crowd:
            connection.close()


def logins(binary):
    with Site(binary, provider=True) as site:
        mallory, bob = site.login("mallory"), site.login("bob")
        with Load(2, site.folder / "api.sock", "POST", "/v1/links", b"{}", mallory):
            statuses = []
            for _ in range(20):
                try:
                    statuses.append(site.api().call("POST", "/v1/links", {"path": "users/bob/a.jpg"}, bob)[0])
                except OSError:
                    # Refused before the body was read.
                    statuses.append(429)
                time.sleep(0.25)
        print(f"  another login mints while one floods: {statuses.count(201)} of {len(statuses)}")


def log(binary):
    with Site(binary) as site:
        before = (site.folder / "log").stat().st_size
        with Load(2, site.folder / "edge.sock", "GET", "/download/image/garbage", None, None):
            begun = time.monotonic()
            before = (site.folder / "log").stat().st_size
            time.sleep(SECONDS)
            written = (site.folder / "log").stat().st_size - before
            print(f"  log under garbage: {written / (time.monotonic() - begun):,.0f} bytes a second")


def main():
    parser = argparse.ArgumentParser(description="What one caller's worst costs the others.")
    parser.add_argument("--binary", action="append", type=pathlib.Path)
    parser.add_argument("--only", action="append", help="bodies, kept_answers, counted, paced, logins, log")
    given = parser.parse_args()
    for binary in given.binary or [ROOT / "target/release/linkgate"]:
        print(binary, hashlib.sha256(binary.read_bytes()).hexdigest()[:12], flush=True)
        for measure in (bodies, kept_answers, counted, paced, logins, log):
            if not given.only or measure.__name__ in given.only:
                measure(binary.resolve())


if __name__ == "__main__":
    main()
