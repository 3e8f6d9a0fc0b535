//! The files in `deploy/`, as far as this machine can run them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use linkgate::collection::EdgeKind;
use linkgate::config::{Config, Overrides, StoreConfig};
use linkgate::http::listen::Address;
use linkgate::http::server::Limits;
use linkgate::revocation::redis::RedisConfig;
use linkgate::span::parse_span;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::http::{Place, raw, request};
use crate::support::linkgate::repository_file;
use crate::support::{Process, binary, eventually, folder, free_port, repository};

const PASSWORD: &str = "0123abc";

/// Runs a program that must be there.
fn run(command: &mut Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{name} cannot be started ({error}): run tests/run"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The value of a line `Name=value` of the service.
fn unit(name: &str) -> String {
    line_of("linkgate.service", name)
}

fn line_of(file: &str, name: &str) -> String {
    let text = repository_file(&format!("deploy/{file}"));
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("{file} has no {name}")).to_owned()
}

fn parsed(text: &str, environment: BTreeMap<String, String>) -> Config {
    Config::parse("deploy/linkgate.toml", text, environment, &Overrides::default())
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

#[test]
fn systemd_understands_the_unit_and_finds_it_well_shut() {
    let folder = folder();
    let copies = ["linkgate.service", "linkgate.socket"].map(|name| {
        let text = repository_file(&format!("deploy/{name}")).replace("/usr/local/bin/linkgate", "/bin/true");
        // Users that this machine does not have are no fault of the unit.
        let text =
            text.replace("SocketUser=linkgate", "SocketUser=root").replace("SocketGroup=www-data", "SocketGroup=root");
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    });
    let output = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&copies));
    let said_of_ours = said(&output).lines().any(|line| line.contains("linkgate."));
    assert!(output.status.success() && !said_of_ours, "{}", said(&output));

    let output = run(Command::new("systemd-analyze")
        .args(["security", "--no-pager", "--offline=true", "--threshold=10"])
        .arg(repository().join("deploy/linkgate.service")));
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_unit_fits_what_linkgate_does() {
    let seconds: u64 = unit("TimeoutStopSec").parse().unwrap();
    assert!(Duration::from_secs(seconds) > Limits::default().drain_timeout, "it is not killed while it drains");
    let files: usize = unit("LimitNOFILE").parse().unwrap();
    assert!(files > Limits::default().connections, "every connection has its descriptor");
    assert_eq!(unit("RestartPreventExitStatus"), "2", "the exit code of a wrong configuration");
    assert_eq!(unit("ExecReload"), "/bin/kill -HUP $MAINPID");

    let shipped = parsed(&repository_file("deploy/linkgate.toml"), BTreeMap::new());
    assert_eq!(shipped.data_dir, Path::new("/var/lib").join(unit("StateDirectory")));
    let Some(Address::Unix(socket)) = shipped.listen.download else { panic!("nginx is expected on a socket") };
    assert_eq!(socket, Path::new(&line_of("linkgate.socket", "ListenStream")));
    assert_eq!(line_of("linkgate.socket", "FileDescriptorName"), "download");
    assert_eq!((unit("Type"), unit("Requires")), ("notify".into(), "linkgate.socket".into()));
    let folder = folder();
    let file = folder.path().join("linkgate.toml");
    std::fs::write(&file, "speed = 3").unwrap();
    for name in ["ExecStart", "ExecStartPre"] {
        let command = unit(name);
        let words: Vec<&str> = command.trim_start_matches('-').split(' ').collect();
        let ["/usr/local/bin/linkgate", command, "--config", "/etc/linkgate/linkgate.toml"] = words[..] else {
            panic!("{words:?}");
        };
        let output = run(Command::new(binary()).arg(command).arg("--config").arg(&file).env_clear());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("`speed` is not a setting"), "{}", said(&output));
    }
}

#[test]
fn linkgate_and_nginx_agree_on_socket_prefix_and_root() {
    let shipped = parsed(&repository_file("deploy/linkgate.toml"), BTreeMap::new());
    let image = &shipped.collections["image"];
    assert_eq!(image.edge, EdgeKind::Nginx);
    let root = format!("{}/", image.root.display());
    let Some(Address::Unix(socket)) = &shipped.listen.download else { panic!("nginx is expected on a socket") };

    let upstream = repository_file("nginx/linkgate-http.conf");
    assert!(upstream.contains(&format!("server unix:{};", socket.display())), "{upstream}");
    let server = repository_file("nginx/linkgate-server.conf");
    assert!(server.contains(&format!("location ^~ {} {{", image.internal_prefix)), "{server}");
    assert!(server.contains(&format!("alias {root};")), "{server}");
    let variant = repository_file("nginx/linkgate-auth-request.conf");
    assert!(variant.contains("location ^~ /download/image/ {") && variant.contains(&format!("root {root};")));
    let idle = upstream.lines().find_map(|line| line.trim().strip_prefix("keepalive_timeout")).unwrap();
    let idle = parse_span(idle.trim().split(';').next().unwrap()).unwrap();
    assert!(idle < shipped.limits.header_timeout, "nginx lets go of an idle connection first");
}

/// nginx, Linkgate and Redis from `deploy/`, with nothing edited but paths and ports.
struct Stack {
    folder: TempDir,
    redis_port: u16,
    _redis: Process,
    linkgate: Option<Process>,
    nginx: Option<Process>,
}

/// A killed nginx would leave its workers behind.
impl Drop for Stack {
    fn drop(&mut self) {
        if let Some(nginx) = &mut self.nginx {
            nginx.stop();
        }
    }
}

impl Stack {
    /// Starts Redis alone, by the very command of `compose.yaml`.
    fn with_redis() -> Self {
        let folder = folder();
        let at = folder.path().display().to_string();
        std::fs::copy(repository().join("deploy/redis.conf"), folder.path().join("shipped.conf")).unwrap();
        let redis_port = free_port();
        let script = compose_command("redis")
            .replace("/etc/redis.conf", &format!("{at}/shipped.conf"))
            .replace("/tmp/redis.conf", &format!("{at}/redis.conf"));
        assert!(script.ends_with(&format!("exec redis-server {at}/redis.conf")), "{script}");
        let script = format!("{script} --port {redis_port} --bind 127.0.0.1 --dir {at} > {at}/redis.log");
        let redis = Process::start(
            Command::new("sh").args(["-c", &script]).env("REDIS_PASSWORD", PASSWORD).stdin(Stdio::null()),
        );
        let stack = Self { folder, redis_port, _redis: redis, linkgate: None, nginx: None };
        eventually("redis answers", || stack.redis("PING").contains("PONG"));
        let conf = std::fs::metadata(stack.path("redis.conf")).unwrap();
        assert_eq!(conf.permissions().mode() & 0o077, 0, "a password stands in it");
        stack
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command in Redis as Linkgate's user.
    fn redis(&self, command: &str) -> String {
        self.redis_as(&format!("AUTH linkgate {PASSWORD}\r\n"), command)
    }

    fn redis_as(&self, sign_in: &str, command: &str) -> String {
        let place = Place::Tcp(format!("127.0.0.1:{}", self.redis_port));
        let answer = raw(&place, format!("{sign_in}{command}\r\nQUIT\r\n").as_bytes()).unwrap_or_default();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn command(&self, arguments: &str) -> Command {
        let at = self.folder.path().display();
        // As strict as the unit's UMask=, which must not keep nginx off the socket.
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask 077; exec \"$0\" {arguments} --config {at}/linkgate.toml")]);
        command.arg(binary()).env_clear().env("LINKGATE_LISTEN__API", format!("unix:{at}/api.sock"));
        command.env("LINKGATE_LISTEN__OPS", format!("unix:{at}/ops.sock"));
        let url = format!("redis://linkgate:{PASSWORD}@127.0.0.1:{}/0", self.redis_port);
        command.env("LINKGATE_STORE__URL", url).stdin(Stdio::null());
        command
    }

    fn linkgate(&self, arguments: &str) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Starts Linkgate with `deploy/linkgate.toml`.
    fn start_linkgate(&mut self) {
        let at = self.folder.path().display().to_string();
        std::fs::create_dir(self.path("media")).unwrap();
        let text = repository_file("deploy/linkgate.toml");
        let text = ["/run/linkgate/", "/var/lib/linkgate"].iter().fold(text, |text, known| {
            assert!(text.contains(known));
            text.replace(known, &format!("{at}/{}", if known.ends_with('/') { "" } else { "data" }))
        });
        std::fs::write(self.path("linkgate.toml"), text.replace("/var/www/media", &format!("{at}/media"))).unwrap();
        self.linkgate("keys new");
        let log = std::fs::File::create(self.path("serve.log")).unwrap();
        self.linkgate = Some(Process::start(self.command("serve").stdout(Stdio::null()).stderr(log)));
        eventually("linkgate is ready", || self.command("healthcheck").output().unwrap().status.success());
    }

    /// Starts nginx with `deploy/nginx.conf`, where compose mounts it.
    fn start_nginx(&mut self) {
        let arguments = self.write_nginx();
        self.nginx = Some(Process::start(Command::new("nginx").args(&arguments).stdin(Stdio::null())));
        eventually("nginx listens", || std::os::unix::net::UnixStream::connect(self.path("front.sock")).is_ok());
    }

    /// Writes nginx's files; answers its arguments.
    fn write_nginx(&self) -> [String; 4] {
        let at = self.folder.path().display().to_string();
        for name in ["deploy/nginx.conf", "nginx/linkgate-http.conf", "nginx/linkgate-server.conf"] {
            let text = repository_file(name)
                .replace("/tmp/", &format!("{at}/"))
                .replace("/var/log/nginx/", &format!("{at}/"))
                .replace("/run/linkgate/", &format!("{at}/"))
                .replace("/var/www/media/", &format!("{at}/media/"))
                .replace("listen 8000;", &format!("listen unix:{at}/front.sock;"));
            std::fs::write(self.path(name.rsplit('/').next().unwrap()), text).unwrap();
        }
        // In the container nginx is an ordinary user already; here it must reach a folder of root's.
        ["-c".into(), format!("{at}/nginx.conf"), "-g".into(), "user root;".into()]
    }
}

#[test]
fn nginx_accepts_its_files() {
    let stack = Stack::with_redis();
    std::fs::create_dir(stack.path("media")).unwrap();
    let output = run(Command::new("nginx").arg("-t").args(stack.write_nginx()));
    assert!(output.status.success() && !said(&output).contains("[warn]"), "{}", said(&output));
}

#[test]
fn everything_that_is_shipped_works_together() {
    let mut stack = Stack::with_redis();
    stack.start_linkgate();
    stack.start_nginx();
    let mode = std::fs::metadata(stack.path("edge.sock")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660, "nginx's group may connect");
    std::fs::create_dir_all(stack.path("media/users/42")).unwrap();
    std::fs::write(stack.path("media/users/42/cat 1.jpg"), b"a picture").unwrap();
    let get = |path: &str| {
        let front = Place::from(stack.path("front.sock").as_path());
        request(&front, "GET", path, &[], b"")
    };
    assert_eq!(get("/healthz").text(), "ok\n");
    assert_eq!(get("/").status, 404);
    assert_eq!(get("/media/users/42/cat%201.jpg").status, 404);

    // Every command of the API uses the Redis user with the few rights, so a right too few shows here.
    let key = stack.linkgate("clients add admin --role admin --allow '**'");
    let api = |method: &str, path: &str, body: &Value| {
        let authorization = format!("Bearer {key}");
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        request(&Place::from(stack.path("api.sock").as_path()), method, path, &headers, body.as_bytes())
    };
    let mint = || api("POST", "/v1/links", &json!({ "path": "users/42/cat 1.jpg", "subject": "user-42" }));
    eventually("the new client may mint", || mint().status == 201);
    let link = mint().json();
    let path = link["url"].as_str().unwrap().strip_prefix("https://dl.example.com").unwrap().to_owned();
    assert_eq!((get(&path).status, get(&path).text()), (200, "a picture".to_owned()));
    for what in [json!({ "link": link["url"] }), json!({ "subject": "user-42" }), json!({ "everything": true })] {
        let answer = api("POST", "/v1/revocations", &what);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(get(&path).status, 410);
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(api("GET", &format!("/v1/revocations/{id}"), &Value::Null).json()["id"], id.as_str());
        assert_eq!(api("GET", "/v1/revocations?q=x&kind=subject", &Value::Null).status, 200);
        assert_eq!(api("DELETE", &format!("/v1/revocations/{id}"), &Value::Null).status, 204);
        assert_eq!(get(&path).status, 200);
    }
    stack.linkgate("revoke --subject user-42");
    stack.linkgate("revocations --search user-42");
    eventually("the command line revokes, too", || get(&path).status == 410);
    let own = api("GET", "/v1/clients/admin", &Value::Null).json();
    assert!(own["keys"][0]["last_used_at"].is_string(), "{own}");
    let faster = json!({ "policy": { "links_per_second": 1000 } });
    assert_eq!(api("PATCH", "/v1/clients/admin", &faster).status, 200);
    stack.linkgate("clients policy admin --requests-per-second 1000");
    stack.linkgate("clients rotate admin");
    stack.linkgate("clients list");
    stack.linkgate("clients remove admin");
    let found = stack.linkgate("check");
    assert!(!found.contains("warning") && !found.contains("ERROR"), "redis.conf satisfies check: {found}");
    let log = std::fs::read_to_string(stack.path("serve.log")).unwrap();
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert_ne!(event["level"], "ERROR", "{log}");
    }
    assert!(!log.contains("NOPERM"), "{log}");
}

#[test]
fn linkgates_user_in_redis_may_do_what_linkgate_does_and_nothing_else() {
    let stack = Stack::with_redis();
    for command in ["FLUSHALL", "CONFIG GET requirepass", "KEYS *", "SHUTDOWN", "ACL LIST", "MONITOR"] {
        assert!(stack.redis(command).contains("NOPERM"), "{command}: {}", stack.redis(command));
    }
    for command in ["HGETALL linkgatf:clients", "HGETALL other", "ZADD x 1 y", "EVAL \"return 1\" 1 other"] {
        assert!(stack.redis(command).contains("NOPERM"), "{command}: {}", stack.redis(command));
    }
    assert!(stack.redis("HGETALL linkgate:x").contains("*0"));
    assert!(stack.redis_as("", "PING").contains("NOAUTH"), "nobody else may log in");
    assert!(stack.redis_as("AUTH default x\r\n", "PING").contains("WRONGPASS"));
    assert!(stack.redis_as("AUTH linkgate PASSWORD\r\n", "PING").contains("WRONGPASS"));
}

/// The lines of a block of `compose.yaml`, without their comments; `key` includes its indentation.
fn compose_block(text: &str, key: &str) -> String {
    let indentation = key.len() - key.trim_start().len();
    let is_inside = |line: &&str| line.trim().is_empty() || line.len() - line.trim_start().len() > indentation;
    let mut lines = text.lines().skip_while(|line| *line != key && !line.starts_with(&format!("{key} ")));
    assert!(lines.next().is_some(), "there is no {key}");
    lines.take_while(is_inside).map(without_comment).fold(String::new(), |block, line| block + line + "\n")
}

fn without_comment(line: &str) -> &str {
    let line = if line.trim_start().starts_with('#') { "" } else { line };
    line.split("  #").next().unwrap().trim_end()
}

fn compose() -> String {
    repository_file("deploy/compose.yaml")
}

/// Every service with its lines.
fn services() -> Vec<(String, String)> {
    let all = compose_block(&compose(), "services:");
    let names = all.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
    let names: Vec<_> = names.filter(|name| !name.starts_with(' ')).collect();
    names.iter().map(|name| ((*name).to_owned(), compose_block(&all, &format!("  {name}:")))).collect()
}

fn service(name: &str) -> String {
    services().into_iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no service {name}")).1
}

/// The script of a service's `sh -c`.
fn compose_command(name: &str) -> String {
    let command = compose_block(&service(name), "    command:");
    let script = command.split_once("- -c\n      - ").expect("sh -c and a script").1;
    script.trim_start_matches(">-").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The variables of a block such as `    environment:`, the braces filled in as by `deploy/.env`.
fn variables(block: &str) -> BTreeMap<String, String> {
    let lines = block.lines().filter_map(|line| line.trim().split_once(": "));
    let fill = |value: &str| match value.split_once("${") {
        None => value.to_owned(),
        Some((before, rest)) => {
            let (inside, after) = rest.split_once('}').unwrap();
            let default = inside.split_once(":-").map_or(PASSWORD, |(_, default)| default);
            format!("{before}{default}{after}")
        }
    };
    lines.map(|(name, value)| (name.to_owned(), fill(value))).collect()
}

#[test]
fn no_container_has_more_than_it_needs() {
    let hardened = compose_block(&compose(), "x-hardened:");
    for line in ["read_only: true", "cap_drop: [ALL]", "security_opt: [\"no-new-privileges:true\"]"] {
        assert!(hardened.contains(line), "{line}");
    }
    let services = services();
    assert_eq!(
        services.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["nginx", "linkgate", "first-key", "redis"]
    );
    for (name, text) in &services {
        assert!(text.contains("<<: *hardened"), "{name}");
        let user = text.lines().find_map(|line| line.strip_prefix("    user: ")).expect(name);
        assert!(!["0", "root", "\"0"].iter().any(|root| user.starts_with(root)), "{name}: {user}");
        for never in ["privileged", "cap_add", "docker.sock", "network_mode: host", "pid: host", "ipc: host"] {
            assert!(!text.contains(never), "{name}: {never}");
        }
    }
    let ports = |name: &str| {
        service(name).split_once("    ports:\n").map(|(_, rest)| rest.lines().next().unwrap().trim().to_owned())
    };
    assert_eq!(ports("nginx").as_deref(), Some("- \"${HTTP_PORT:-8000}:8000\""));
    assert_eq!(ports("linkgate").as_deref(), Some("- \"127.0.0.1:8081:8081\""), "the API is for this host only");
    assert_eq!((ports("redis"), ports("first-key")), (None, None));
    assert!(service("redis").contains("networks: [store]") && !service("nginx").contains("store"));
    assert!(compose_block(&compose(), "  store:").contains("internal: true"), "Redis has no way out");
}

#[test]
fn what_compose_mounts_and_builds_is_there() {
    let mut mounted = 0;
    for line in compose().lines().map(|line| without_comment(line).trim()) {
        let source = line.strip_prefix("- ").filter(|item| item.starts_with("./") || item.starts_with("../"));
        if let Some(source) = source {
            let path = repository().join("deploy").join(source.split(':').next().unwrap());
            assert!(path.is_file(), "{line}");
            assert!(line.ends_with(":ro"), "{line}");
            mounted += 1;
        }
        if let Some(file) = line.strip_prefix("dockerfile: ") {
            assert!(repository().join(file).is_file(), "{line}");
        }
        if let Some(target) = line.strip_prefix("target: ").filter(|target| !target.starts_with('/')) {
            assert!(repository_file("deploy/Dockerfile").contains(&format!(" AS {target}\n")), "{line}");
        }
    }
    assert!(mounted >= 5, "{mounted}");
    let volumes = compose_block(&compose(), "volumes:");
    for name in ["data:", "redis:", "socket:"] {
        assert!(volumes.contains(name), "{name}");
    }
}

#[test]
fn the_variables_of_compose_and_image_are_settings_that_fit() {
    let image = image_variables();
    let mut alone = image.clone();
    alone.insert("LINKGATE_PUBLIC_URL".into(), "http://links.test".into());
    let alone = parsed("", alone);
    assert_eq!(alone.data_dir, Path::new("/data"));

    let mut both = image;
    both.extend(variables(&compose_block(&service("linkgate"), "    environment:")));
    let config = parsed(&repository_file("deploy/linkgate.toml"), both);
    assert_eq!(config.data_dir, Path::new("/data"), "where the volume is mounted");
    assert_eq!(config.listen.download, Some(Address::Unix("/run/linkgate/edge.sock".into())));
    assert_eq!(config.listen.api, Some(Address::Tcp("0.0.0.0:8081".into())));
    let url = format!("redis://linkgate:{PASSWORD}@redis:6379/0");
    assert_eq!(config.store, StoreConfig::Redis(Box::new(RedisConfig { url, ..RedisConfig::default() })));
    let grace =
        service("linkgate").split_once("stop_grace_period: ").map(|(_, rest)| rest.lines().next().unwrap().to_owned());
    assert!(parse_span(&grace.unwrap()).unwrap() > config.limits.drain_timeout, "it is not killed while it drains");
}

/// The variables that the image sets.
fn image_variables() -> BTreeMap<String, String> {
    last_stage()
        .into_iter()
        .filter_map(|line| line.strip_prefix("ENV ").map(str::to_owned))
        .flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap())
        .collect()
}

/// The image's own variables, with ports that are free here.
#[test]
fn the_port_that_the_image_publishes_answers_downloads_alone_and_the_health_check_works() {
    let exposed: Vec<_> = last_stage().into_iter().filter(|line| line.starts_with("EXPOSE")).collect();
    assert_eq!(exposed, ["EXPOSE 8080"], "what --publish-all publishes");
    let mut variables = image_variables();
    assert!(variables["LINKGATE_LISTEN__DOWNLOAD"].ends_with(":8080"));
    let folder = folder();
    variables.insert("LINKGATE_DATA_DIR".into(), folder.path().join("data").display().to_string());
    variables.insert("LINKGATE_PUBLIC_URL".into(), "http://links.test".into());
    let mut moved = BTreeMap::new();
    let mut place = |audience: &str| {
        let address = variables.get_mut(&format!("LINKGATE_LISTEN__{audience}")).unwrap();
        let port = *moved.entry(address.clone()).or_insert_with(free_port);
        *address = format!("127.0.0.1:{port}");
        Place::Tcp(address.clone())
    };
    let (download, api, ops) = (place("DOWNLOAD"), place("API"), place("OPS"));
    let linkgate = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(arguments).env_clear().envs(&variables).current_dir(folder.path()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    std::fs::create_dir(folder.path().join("media")).unwrap();
    let _process = Process::start(&mut linkgate(&["serve", "--media", "media"]));
    eventually("it is healthy", || linkgate(&["healthcheck"]).status().unwrap().success());

    let status = |place: &Place, path: &str| request(place, "GET", path, &[], b"").status;
    for path in ["/metrics", "/readyz", "/livez", "/v1/links", "/v1/clients", "/docs", "/openapi.json"] {
        assert_eq!(status(&download, path), 404, "{path} on the port of downloads");
    }
    assert_eq!(status(&download, "/download/image/x"), 403);
    assert_eq!((status(&ops, "/metrics"), status(&ops, "/v1/clients")), (200, 404));
    assert_eq!((status(&api, "/v1/clients"), status(&api, "/metrics")), (401, 404));
}

/// The instructions of a Dockerfile, continued lines joined, comments left out.
fn instructions() -> Vec<String> {
    let text = repository_file("deploy/Dockerfile");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    lines.replace("\\\n", " ").lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn last_stage() -> Vec<String> {
    let all = instructions();
    let start = all.iter().rposition(|line| line.starts_with("FROM")).unwrap();
    all[start..].to_vec()
}

#[test]
fn the_image_is_the_binary_and_nothing_else_and_nobody_is_root() {
    let last = last_stage();
    assert_eq!(last[0], "FROM scratch");
    let copied: Vec<&str> =
        last.iter().filter(|line| line.starts_with("COPY")).map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(copied, ["/etc/ssl/certs/ca-certificates.crt", "/linkgate", "/data"]);
    assert!(last.contains(&"USER 65532:65532".to_owned()), "{last:?}");
    assert!(last.contains(&"ENTRYPOINT [\"/linkgate\"]".to_owned()) && last.contains(&"CMD [\"serve\"]".to_owned()));
    assert!(!instructions().iter().any(|line| line.starts_with("ADD") || line.contains("--no-verify")));
    let ignored = repository_file(".dockerignore");
    for line in ["target", ".git", "**/keys.toml", "**/.env"] {
        assert!(ignored.lines().any(|known| known == line), "{line} must not get into a layer");
    }
}

/// What `.dockerignore` keeps away from `COPY . .`, for tar.
fn left_out() -> String {
    let text = repository_file(".dockerignore");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let pattern = |line: &str| match line.strip_prefix("**/") {
        Some(anywhere) => anywhere.to_owned(),
        None => format!("./{}", line.trim_start_matches('/')),
    };
    lines.map(|line| format!("--exclude='{}' ", pattern(line))).collect::<Vec<_>>().concat()
}

/// Notes how it was called, sees to it that the manifest is valid, and leaves an empty program behind.
const CARGO: &str = r#"#!/bin/sh
echo "$*" >> "$CALLS"
grep -c . src/main.rs >> "$CALLS"
"$REAL_CARGO" metadata --no-deps --offline --format-version 1 > /dev/null || exit 1
while [ "$1" != --target ]; do shift; done
mkdir -p "target/$2/release" && : > "target/$2/release/linkgate"
"#;

#[test]
fn the_builders_steps_work_and_build_what_is_locked_as_a_static_program() {
    let folder = folder();
    let (build, programs, calls) =
        (folder.path().join("build"), folder.path().join("bin"), folder.path().join("calls.txt"));
    for (name, text) in [("cargo", CARGO), ("rustup", "#!/bin/sh\necho \"rustup $*\" >> \"$CALLS\"\n")] {
        std::fs::create_dir_all(&programs).unwrap();
        std::fs::write(programs.join(name), text).unwrap();
        std::fs::set_permissions(programs.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::create_dir(&build).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let step = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(&build).env("PATH", &path).env("CALLS", &calls).env("TARGET", "");
        let output = run(command.env("REAL_CARGO", env!("CARGO")));
        assert!(output.status.success(), "{script}: {}", said(&output));
    };
    let from = repository().display();
    let mut stages = 0;
    for line in instructions() {
        match line.split_once(' ').unwrap() {
            ("FROM", _) if stages == 1 => break,
            ("FROM", image) => {
                assert!(image.starts_with("rust:"), "{image}");
                stages += 1;
            }
            ("RUN", script) if script.starts_with("apt-get") => {}
            ("RUN", script) => step(script),
            ("COPY", ". .") => step(&format!("tar --directory {from} {} --create . | tar --extract", left_out())),
            ("COPY", files) => {
                let files = files.strip_suffix(" ./").expect("several files go into the folder");
                step(&format!("tar --directory {from} --create {files} | tar --extract"));
            }
            ("ARG", argument) => assert_eq!(argument, "TARGET="),
            ("WORKDIR", folder) => assert_eq!(folder, "/build"),
            (other, _) => panic!("{other} is not known here"),
        }
    }
    let calls = std::fs::read_to_string(&calls).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    assert_eq!(calls[0], format!("rustup target add {target}"));
    let wanted = format!("build --release --locked --target {target}");
    assert_eq!((calls[1], calls[2], calls[3]), (wanted.as_str(), "1", wanted.as_str()), "first the dependencies alone");
    assert_ne!(calls[4], "1", "then the program");
    assert!(build.join("out/linkgate").is_file() && build.join("out/data").is_dir());
}
