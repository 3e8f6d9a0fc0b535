#!/usr/bin/env python3
"""Linkgate beside its peers and limits: one signed download through nginx, side by side in one run.

Every contender serves the same 100 files of 20 KiB through the same front nginx (one worker, sendfile) to the same wrk, in
interleaved rounds. Figures per contender, median over the rounds:

  rps      requests a second as wrk saw them (a shared machine: compare within one run only)
  cpu_us   CPU microseconds per request of everything that serves it (front nginx, verifier, stores)
  front_us the front nginx' part of them
  p99_ms   wrk's 99th percentile

Contenders:

  static       nginx without any check
  secure_link  nginx by itself: MD5 over path and time, no revocation
  null         an upstream nginx over TCP that always answers X-Accel-Redirect without checking anything
  null_unix    the same over a Unix socket: the limit of this design
  null_like    the same, asked with Linkgate's links and answering with Linkgate's header fields: what those cost by themselves
  lua_redis    Lua in nginx: HMAC-SHA1, and one Redis EXISTS a request
  django       a view, a row in PostgreSQL, X-Accel-Redirect; gunicorn with sync workers
  project      Linkgate, started by the script that --project names, such as tests/bench/edge_project
  before       with --before BINARY: another Linkgate, started by the same script, to compare with

The script is started with MEDIA_DIR (the collection's root), REDIS_URL, UPSTREAM_SOCKET, INTERNAL_PREFIX (/media/), PUBLIC_URL
and URLS_OUT in its environment. It starts the verifier on $UPSTREAM_SOCKET, writes one download path a line to $URLS_OUT,
prints READY, and stays until it is killed.

Needs nginx, libnginx-mod-http-lua, lua-nginx-redis, redis-server, wrk and, for django, postgresql; to be run as root. The
django contender uses the virtual environment at $DJANGO_VENV, or makes one beside the work folder.
"""
import argparse, base64, hashlib, hmac, json, os, pathlib, re, shutil, signal, statistics, subprocess, sys, tempfile, time

W = pathlib.Path(os.environ.get("EDGE_WORK") or pathlib.Path(tempfile.gettempdir()) / "edge-peers")
FRONT, NULLP, REDISP, DJP, BEFORE = 18080, 18081, 18082, 18083, 18086
SECRET = b"bench-secret"
CONTENDERS = "static,secure_link,null,null_unix,lua_redis,django"


def port_of(name):
    return BEFORE if name == "before" else FRONT


def sh(cmd, **k):
    return subprocess.run(cmd, shell=True, check=True, text=True, capture_output=True, **k).stdout


def proc_tree(pid):
    out, todo = [], [pid]
    kids = {}
    for p in pathlib.Path("/proc").iterdir():
        if p.name.isdigit():
            try:
                f = (p / "stat").read_text().rsplit(")", 1)[1].split()
                kids.setdefault(int(f[1]), []).append(int(p.name))
            except OSError:
                pass
    while todo:
        x = todo.pop()
        out.append(x)
        todo += kids.get(x, [])
    return out


def cpu(pids):
    t = 0.0
    hz = os.sysconf("SC_CLK_TCK")
    for root in pids:
        for p in proc_tree(root):
            try:
                f = pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()
                t += (int(f[11]) + int(f[12])) / hz
            except OSError:
                pass
    return t


class Bench:
    def __init__(self, a):
        self.a, self.procs, self.pids = a, [], {}
        shutil.rmtree(W, ignore_errors=True)
        W.mkdir(parents=True)
        W.chmod(0o755)
        self.media = W / "media"
        self.media.mkdir()
        for i in range(100):
            (self.media / f"{i}.jpg").write_bytes(os.urandom(20480))
        self.urls = {}

    def start(self, name, cmd, env=None, wait=None, patience=90):
        log = open(W / f"{name}.log", "w")
        p = subprocess.Popen(cmd, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                             env={**os.environ, **(env or {})})
        self.procs.append(p)
        self.pids[name] = p.pid
        for _ in range(patience * 10):
            if p.poll() is not None:
                sys.exit(f"{name} died: {(W / f'{name}.log').read_text()[-2000:]}")
            if wait is None or wait(W / f"{name}.log"):
                return
            time.sleep(0.1)
        sys.exit(f"{name} not ready: {(W / f'{name}.log').read_text()[-2000:]}")

    def port(self, n):
        import socket
        def ok(_):
            s = socket.socket()
            s.settimeout(0.2)
            try:
                s.connect(("127.0.0.1", n))
                return True
            except OSError:
                return False
            finally:
                s.close()
        return ok

    def nginx(self, name, conf, port):
        c = W / f"{name}.conf"
        c.write_text(conf)
        self.start(name, ["nginx", "-c", str(c), "-p", str(W), "-g", "daemon off;"], wait=self.port(port))

    def setup(self, only):
        exp = int(time.time()) + 86400
        self.start("redis", ["redis-server", "--port", str(REDISP), "--save", "", "--appendonly", "no", "--dir", str(W)],
                   wait=self.port(REDISP))
        common = f"""
pid {W}/%s.pid; error_log {W}/%s.err warn; worker_processes 1;
events {{ worker_connections 4096; }}
"""
        self.nginx("nullup", "user root;" + (common % ("nullup", "nullup")) + f"""
http {{ access_log off; keepalive_requests 1000000;
 server {{ listen 127.0.0.1:{NULLP}; listen unix:{W}/null.sock; location ~ ^/null/(.*)$ {{ add_header X-Accel-Redirect /media/$1; add_header Content-Disposition 'attachment; filename="a.jpg"'; return 200; }}
  location /like/ {{ add_header X-Accel-Redirect /media/0.jpg; add_header Content-Disposition 'attachment; filename="0.jpg"';
   add_header Cache-Control 'private, max-age=3599'; add_header X-Content-Type-Options nosniff; add_header Referrer-Policy no-referrer;
   add_header X-Linkgate-Token-Id iayFaQSMpSzR6I6WgAVJRA; return 200; }} }} }}
""", NULLP)
        mods = "".join(f"load_module /usr/lib/nginx/modules/{m}.so;\n" for m in ("ndk_http_module", "ngx_http_lua_module"))
        lua = "lua_redis" in only
        luablock = f"""
 lua_package_path "/usr/share/lua/5.1/?.lua;/usr/share/lua/5.1/?/init.lua;/usr/share/luajit-2.1/?.lua;;";
""" if lua else ""
        lualoc = f"""
  location /lua/ {{ access_by_lua_block {{
     local exp, sig, name = ngx.var.uri:match("^/lua/(%d+)/([^/]+)/(.*)$")
     if not exp then return ngx.exit(403) end
     local want = ngx.encode_base64(ngx.hmac_sha1("{SECRET.decode()}", exp .. name)):gsub("+","-"):gsub("/","_"):gsub("=","")
     if want ~= sig then return ngx.exit(403) end
     if tonumber(exp) < ngx.time() then return ngx.exit(410) end
     local redis = require "nginx.redis"
     local red = redis:new(); red:set_timeout(1000)
     local ok, err = red:connect("127.0.0.1", {REDISP}); if not ok then ngx.log(ngx.ERR, err) return ngx.exit(503) end
     local n = red:exists("revoked:" .. sig); red:set_keepalive(60000, 64)
     if n == 1 then return ngx.exit(410) end
     return ngx.exec("/media/" .. name)
   }} }}
""" if lua else ""
        self.nginx("front", (mods if lua else "") + "user root;" + (common % ("front", "front")) + f"""
http {{ {luablock} access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; open_file_cache max=1000;
 default_type application/octet-stream; types {{ image/jpeg jpg; }}
 upstream nullup {{ server 127.0.0.1:{NULLP}; keepalive 128; keepalive_requests 1000000; }}
 upstream nullux {{ server unix:{W}/null.sock; keepalive 128; keepalive_requests 1000000; }}
 upstream dj {{ server 127.0.0.1:{DJP}; keepalive 64; }}
 upstream proj {{ server unix:{W}/project.sock; keepalive 128; keepalive_requests 1000000; }}
 upstream before {{ server unix:{W}/before.sock; keepalive 128; keepalive_requests 1000000; }}
 proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass_request_body off; proxy_set_header Content-Length "";
 proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $remote_addr;
 server {{ listen 127.0.0.1:{BEFORE};
  location /media/ {{ internal; alias {self.media}/; }}
  location /download/ {{ proxy_buffer_size 8k; proxy_pass http://before; }}
 }}
 server {{ listen 127.0.0.1:{FRONT};
  location /static/ {{ alias {self.media}/; }}
  location /media/ {{ internal; alias {self.media}/; }}
  location /sl/ {{ secure_link $arg_md5,$arg_e; secure_link_md5 "$secure_link_expires$uri {SECRET.decode()}"; if ($secure_link = "") {{ return 403; }} if ($secure_link = "0") {{ return 410; }} alias {self.media}/; }}
  location /null/ {{ proxy_pass http://nullup; }}
  location /nullu/ {{ rewrite ^/nullu/(.*)$ /null/$1 break; proxy_pass http://nullux; }}
  location /like/ {{ proxy_pass http://nullux; }}
  location /dj/ {{ proxy_pass http://dj; }}
  location /download/ {{ proxy_buffer_size 8k; proxy_pass http://proj; }}
  {lualoc}
 }} }}
""", FRONT)
        names = [f"{i}.jpg" for i in range(100)]
        self.urls["static"] = [f"/static/{n}" for n in names]
        self.urls["null_unix"] = [f"/nullu/{n}" for n in names]
        self.urls["null"] = [f"/null/{n}" for n in names]
        def md5(n):
            d = hashlib.md5(f"{exp}/sl/{n} ".encode() + SECRET).digest()
            return base64.urlsafe_b64encode(d).decode().rstrip("=")
        self.urls["secure_link"] = [f"/sl/{n}?md5={md5(n)}&e={exp}" for n in names]
        def h(n):
            return base64.urlsafe_b64encode(hmac.new(SECRET, f"{exp}{n}".encode(), hashlib.sha1).digest()).decode().rstrip("=")
        self.urls["lua_redis"] = [f"/lua/{exp}/{h(n)}/{n}" for n in names]
        self.groups = {"static": ["front"], "secure_link": ["front"], "null": ["front", "nullup"], "null_unix": ["front", "nullup"],
                       "null_like": ["front", "nullup"],
                       "lua_redis": ["front", "redis"], "django": ["front", "django", "pg"], "project": ["front", "project", "redis"],
                       "before": ["front", "before", "redis_before"]}
        if "django" in only:
            self.django()
        if "project" in only and self.a.project:
            self.project("project", REDISP)
            self.urls["null_like"] = [f"/like{url}" for url in self.urls["project"]]
        if "before" in only:
            self.start("redis_before", ["redis-server", "--port", str(REDISP + 5), "--save", "", "--appendonly", "no", "--dir", str(W)],
                       wait=self.port(REDISP + 5))
            self.project("before", REDISP + 5, {"BINARY": os.path.abspath(self.a.before)})

    def project(self, name, redis, more=None, patience=90):
        urls = W / f"{name}.urls"
        self.start(name, [os.path.abspath(self.a.project)], env={
            "MEDIA_DIR": str(self.media), "REDIS_URL": f"redis://127.0.0.1:{redis}/", "UPSTREAM_SOCKET": str(W / f"{name}.sock"),
            "INTERNAL_PREFIX": "/media/", "PUBLIC_URL": f"http://127.0.0.1:{FRONT}", "URLS_OUT": str(urls), **(more or {})},
            wait=lambda log: "READY" in log.read_text(), patience=patience)
        self.urls[name] = [re.sub(r"^https?://[^/]+", "", url) for url in urls.read_text().split()]

    def django(self):
        d = W / "dj"
        d.mkdir()
        v = os.environ.get("DJANGO_VENV")
        if not v:
            v = str(W) + "-venv"
            if not os.path.exists(v + "/bin/gunicorn"):
                sh(f"python3 -m venv {v} && {v}/bin/pip -q install 'django==5.2.*' gunicorn 'psycopg[binary]'")
        pgbin = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        pg = W / "pg"
        pg.mkdir()
        shutil.chown(pg, "postgres")
        sh(f"su postgres -c '{pgbin}/initdb -D {pg} -A trust'")
        self.start("pg", ["su", "postgres", "-c", f"exec {pgbin}/postgres -D {pg} -p 18085 -k {pg}"], wait=self.port(18085))
        (d / "app.py").write_text('''
import os, django
from django.conf import settings
settings.configure(DEBUG=False, SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="app", INSTALLED_APPS=["imgs"], MEDIA_URL="/media/",
  DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": "127.0.0.1", "PORT": "18085", "CONN_MAX_AGE": 600}},
  DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
django.setup()
from django.http import HttpResponse
from django.urls import path
from django.core.signing import TimestampSigner
from imgs.models import Image
signer = TimestampSigner(salt="dl")
def download(request, token):
    image = Image.objects.get(id=signer.unsign(token, max_age=86400))
    r = HttpResponse()
    r["X-Accel-Redirect"] = "/media/" + image.file
    r["Content-Disposition"] = 'attachment; filename="%s"' % image.file
    return r
urlpatterns = [path("dj/download/image/<str:token>", download)]
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
''')
        (d / "imgs").mkdir()
        (d / "imgs/__init__.py").write_text("")
        (d / "imgs/models.py").write_text("from django.db import models\nclass Image(models.Model):\n    file = models.CharField(max_length=200)\n")
        urls = sh(f"cd {d} && {v}/bin/python -c \"import app; from django.db import connection; from imgs.models import Image\n"
                  "with connection.schema_editor() as s: s.create_model(Image)\n"
                  "for i in range(100): im=Image.objects.create(file='%d.jpg'%i); print('/dj/download/image/'+app.signer.sign(im.id))\"").split()
        self.urls["django"] = urls
        self.start("django", [f"{v}/bin/gunicorn", "-w", "4", "-b", f"127.0.0.1:{DJP}", "--chdir", str(d), "app:application"], wait=self.port(DJP))

    def wrk(self, name, secs, connections=64):
        u = W / f"{name}.lst"
        u.write_text("\n".join(self.urls[name]))
        s = W / f"{name}.lua"
        s.write_text(f'''local t={{}}
init=function() for l in io.lines("{u}") do t[#t+1]=wrk.format("GET", l) end end
local i=0 request=function() i=i%#t+1 return t[i] end
done=function(su,la,re) io.write(string.format("R %d %d %d %d %f\\n", su.requests, su.duration, su.errors.status, su.errors.connect+su.errors.read+su.errors.timeout, la:percentile(99)/1000)) end''')
        g = [self.pids[x] for x in self.groups[name] if x in self.pids]
        front = [self.pids["front"]]
        c0, f0 = cpu(g), cpu(front)
        o = sh(f"wrk -t1 -c{connections} -d{secs}s -s {s} http://127.0.0.1:{port_of(name)}")
        c1, f1 = cpu(g), cpu(front)
        n, us, bad, err, p99 = re.search(r"^R (\d+) (\d+) (\d+) (\d+) ([\d.]+)", o, re.M).groups()
        n = int(n)
        return {"rps": n / (int(us) / 1e6), "cpu_us": (c1 - c0) / max(n, 1) * 1e6, "front_us": (f1 - f0) / max(n, 1) * 1e6, "p99_ms": float(p99), "bad": int(bad) + int(err)}

    def stop(self, *procs):
        for p in procs or self.procs[::-1]:
            try:
                os.killpg(p.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        for p in procs or self.procs:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=int, default=4)
    ap.add_argument("--only", default=CONTENDERS, help=f"some of {CONTENDERS}, and with --project null_like")
    ap.add_argument("--project", metavar="SCRIPT", help="starts Linkgate: tests/bench/edge_project")
    ap.add_argument("--before", metavar="BINARY", help="another linkgate to compare with")
    ap.add_argument("--json")
    a = ap.parse_args()
    if unknown := set(a.only.split(",")) - {*CONTENDERS.split(","), "null_like", "project"}:
        ap.error(f"no contender is called {', '.join(sorted(unknown))}; there are {CONTENDERS}")
    only = a.only.split(",") + (["project"] if a.project and "project" not in a.only else [])
    only += ["before"] if a.project and a.before else []
    b = Bench(a)
    try:
        b.setup(only)
        for n in only:
            code = sh(f"curl -s -o /dev/null -w '%{{http_code}} %{{size_download}}' 'http://127.0.0.1:{port_of(n)}{b.urls[n][0]}'")
            if code != "200 20480":
                sys.exit(f"{n}: sanity request got {code}")
            b.wrk(n, 1)
        res = {n: [] for n in only}
        for _ in range(a.rounds):
            for n in only:
                res[n].append(b.wrk(n, a.seconds))
        med = {n: {k: statistics.median(r[k] for r in v) for k in v[0]} for n, v in res.items()}
        base = med.get("null_unix") or med[only[0]]
        print(f"{'contender':<12}{'rps':>9}{'cpu_us':>9}{'front_us':>9}{'p99_ms':>9}{'bad':>6}{'rps/limit':>10}{'cpu/limit':>10}")
        for n in only:
            m = med[n]
            print(f"{n:<12}{m['rps']:>9.0f}{m['cpu_us']:>9.1f}{m['front_us']:>9.1f}{m['p99_ms']:>9.2f}{m['bad']:>6.0f}{m['rps'] / base['rps']:>10.2f}{m['cpu_us'] / base['cpu_us']:>10.2f}")
        if a.json:
            pathlib.Path(a.json).write_text(json.dumps(med, indent=1))
    finally:
        b.stop()


if __name__ == "__main__":
    main()
