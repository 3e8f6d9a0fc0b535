//! A Linkgate of one's own: configuration, keys, clients, a process.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::clock::{ShiftedClock, source_address};
use super::http::{Place, Response, request};
use super::{Process, binary, eventually, folder};

/// How a Linkgate is to be.
pub struct Builder {
    folder: TempDir,
    edge: &'static str,
    settings: String,
    store: String,
    revocation: String,
    sections: String,
    environment: Vec<(String, String)>,
    /// Whether its Redis is set up by hand before it starts.
    is_set_up: bool,
    /// The API keys of a client that the store has already: an admin's and one that mints.
    api_keys: Option<(String, String)>,
}

/// A Linkgate that runs, or has run.
pub struct Linkgate {
    pub folder: TempDir,
    pub process: Process,
    pub admin_key: String,
    pub mint_key: String,
    environment: Vec<(String, String)>,
}

impl Builder {
    /// Sends files itself and keeps revocations itself, unless told otherwise.
    pub fn new() -> Self {
        Self {
            folder: folder(),
            edge: "direct",
            settings: String::new(),
            store: String::new(),
            revocation: String::new(),
            sections: String::new(),
            environment: Vec::new(),
            is_set_up: false,
            api_keys: None,
        }
    }

    /// Judges by a Redis, with the shortest staleness that may be asked for, so that tests need not wait long.
    pub fn following(url: &str) -> Self {
        Self::new().redis(url).revocation("max_staleness = \"3s\"")
    }

    pub fn edge(mut self, edge: &'static str) -> Self {
        self.edge = edge;
        self
    }

    pub fn redis(self, url: &str) -> Self {
        Self { is_set_up: true, ..self }.store(&format!("url = \"{url}\""))
    }

    /// Leaves setting up its Redis to whoever comes first.
    pub fn newcomer(self) -> Self {
        Self { is_set_up: false, ..self }
    }

    /// Lines for `[store]`.
    pub fn store(mut self, lines: &str) -> Self {
        self.store += &format!("{lines}\n");
        self
    }

    /// Lines for `[revocation]`.
    pub fn revocation(mut self, lines: &str) -> Self {
        self.revocation += &format!("{lines}\n");
        self
    }

    /// Lines for the collection `image`.
    pub fn setting(mut self, line: &str) -> Self {
        self.settings += &format!("{line}\n");
        self
    }

    /// Whole sections.
    pub fn section(mut self, text: &str) -> Self {
        self.sections += &format!("\n{text}\n");
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Has this wall clock instead of the machine's.
    pub fn clock(self, clock: &ShiftedClock) -> Self {
        clock.environment().into_iter().fold(self, |builder, (name, value)| builder.environment(name, &value))
    }

    /// Connects from this address, by which networks may tell it from others.
    pub fn source_address(self, address: IpAddr) -> Self {
        source_address(address).into_iter().fold(self, |builder, (name, value)| builder.environment(name, &value))
    }

    /// Has clients already, whose keys these are: one that mints, and an admin.
    pub fn api_keys(mut self, [mint, admin]: [&str; 2]) -> Self {
        self.api_keys = Some((admin.into(), mint.into()));
        self
    }

    /// Another instance with the same keys, clients and store: only the Redis makes sense for it.
    pub fn beside(mut self, other: &Linkgate) -> Self {
        self.api_keys = Some((other.admin_key.clone(), other.mint_key.clone()));
        self.newcomer().beside_keys_of(other)
    }

    /// Another instance with the same keys and nothing else in common.
    pub fn beside_keys_of(self, other: &Linkgate) -> Self {
        std::fs::create_dir(self.folder.path().join("data")).unwrap();
        std::fs::copy(other.data_dir().join("keys.toml"), self.folder.path().join("data/keys.toml")).unwrap();
        self
    }

    /// Writes everything down without starting it.
    pub fn prepare(self) -> Linkgate {
        let folder = self.folder.path();
        let (media, data, socket) = (folder.join("media"), folder.join("data"), folder.join("all.sock"));
        std::fs::create_dir_all(&media).unwrap();
        let Self { edge, settings, .. } = &self;
        let named = [("store", &self.store), ("revocation", &self.revocation)];
        let named = named.iter().filter(|(_, lines)| !lines.is_empty());
        let sections: String = named.map(|(name, lines)| format!("[{name}]\n{lines}\n")).collect();
        let sections = sections + &self.sections;
        let configuration = format!(
            "public_url = \"http://links.test\"\ndata_dir = {data:?}\n\n\
             [listen]\ndownload = \"unix:{socket}\"\napi = \"unix:{socket}\"\nops = \"unix:{socket}\"\n\
             trusted_proxies = [\"unix\"]\n\n\
             [collections.image]\nroot = {media:?}\nedge = \"{edge}\"\n{settings}\n{sections}",
            socket = socket.display(),
        );
        std::fs::write(folder.join("linkgate.toml"), configuration).unwrap();
        let mut linkgate = Linkgate {
            process: Process::start(Command::new("true").stdin(Stdio::null())),
            folder: self.folder,
            admin_key: String::new(),
            mint_key: String::new(),
            environment: self.environment,
        };
        if !data.join("keys.toml").exists() {
            linkgate.succeed(&["keys", "new"]);
        }
        if self.is_set_up {
            // Whoever sets a Redis up by hand need not wait for others that might object.
            linkgate.run(&["store", "init"]);
        }
        (linkgate.admin_key, linkgate.mint_key) = self.api_keys.unwrap_or_else(|| {
            (linkgate.new_client("admin-test", &["admin"]), linkgate.new_client("app-test", &["mint"]))
        });
        linkgate
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Linkgate {
        let mut linkgate = self.prepare();
        linkgate.launch();
        linkgate.until_ready();
        linkgate
    }
}

impl Linkgate {
    /// The command, with this one's configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(self.folder.path().join("linkgate.toml"));
        command.env_clear().envs(self.environment.iter().cloned()).current_dir(self.folder.path());
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must work; answers its stdout.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Adds a client with a name of its own; answers its key.
    pub fn new_client(&self, name: &str, roles: &[&str]) -> String {
        // Several may share one Redis; each has a folder of its own.
        let name = format!("{name}-{}", self.folder.path().file_name().unwrap().to_string_lossy());
        let mut arguments = vec!["clients", "add", &name, "--allow", "**", "--json"];
        for role in roles {
            arguments.extend(["--role", role]);
        }
        let output = self.run(&arguments);
        if !output.status.success() {
            // A store that cannot be reached keeps no clients: such a test calls no API.
            return String::new();
        }
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["key"].as_str().unwrap().to_owned()
    }

    /// Starts the process, its log in `log.txt`.
    pub fn launch(&mut self) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log.txt")).unwrap();
        self.launch_with_log(log);
    }

    /// Starts the process, its log wherever that leads.
    pub fn launch_with_log(&mut self, log: impl Into<Stdio>) {
        self.process = Process::start(self.command(&["serve"]).stderr(log).stdout(Stdio::null()));
        eventually("linkgate listens", || std::os::unix::net::UnixStream::connect(self.socket()).is_ok());
    }

    pub fn until_ready(&self) {
        eventually("linkgate is ready", || {
            let answer = self.get("/readyz");
            answer.status == 200 || {
                assert!(std::fs::metadata(self.socket()).is_ok(), "{}", self.log());
                false
            }
        });
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("all.sock")
    }

    pub fn place(&self) -> Place {
        Place::from(self.socket().as_path())
    }

    pub fn media(&self) -> PathBuf {
        self.folder.path().join("media")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log.txt")).unwrap_or_default()
    }

    /// Puts a file into the media folder.
    pub fn file(&self, path: &str, contents: &[u8]) {
        let path = self.media().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    pub fn get(&self, path: &str) -> Response {
        self.get_as("GET", path, &[])
    }

    /// The status of a download.
    pub fn status(&self, path: &str) -> u16 {
        self.get(path).status
    }

    /// A request without a key, with headers of its own.
    pub fn get_as(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        request(&self.place(), method, path, headers, b"")
    }

    pub fn is_ready(&self) -> bool {
        self.status("/readyz") == 200
    }

    /// Why it is not ready.
    pub fn reason(&self) -> String {
        self.get("/readyz").json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// The value of a metric, named with its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").text();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
    }

    /// Calls the API as the admin.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Response {
        self.api_with(&self.admin_key, method, path, body)
    }

    /// Calls the API with a key.
    pub fn api_with(&self, key: &str, method: &str, path: &str, body: &Value) -> Response {
        let authorization = format!("Bearer {key}");
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        request(&self.place(), method, path, &headers, body.as_bytes())
    }

    /// Mints a link; answers it whole.
    pub fn mint(&self, wish: &Value) -> Value {
        let answer = self.api_with(&self.mint_key, "POST", "/v1/links", wish);
        assert_eq!(answer.status, 201, "{}\n{}", answer.text(), self.log());
        answer.json()
    }

    /// Mints a link to a path; answers the part of it behind the host.
    pub fn link(&self, path: &str) -> String {
        path_of(&self.mint(&json!({ "path": path })))
    }

    /// Asks to revoke one link, given the part of it behind the host.
    pub fn try_revoke(&self, path: &str) -> Response {
        self.api("POST", "/v1/revocations", &json!({ "link": format!("http://links.test{path}") }))
    }

    /// Revokes; answers the revocation.
    pub fn revoke(&self, what: &Value) -> Value {
        let answer = self.api("POST", "/v1/revocations", what);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    pub fn reinstate(&self, revocation: &Value) {
        let id = revocation["id"].as_str().unwrap();
        let answer = self.api("DELETE", &format!("/v1/revocations/{id}"), &Value::Null);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

/// The part of a link behind the host.
pub fn path_of(link: &Value) -> String {
    link["url"].as_str().unwrap().strip_prefix("http://links.test").unwrap().to_owned()
}

/// Reads a file of the repository.
pub fn repository_file(path: &str) -> String {
    let path = super::repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", Path::new(&path).display()))
}
