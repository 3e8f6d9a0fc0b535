//! What a login costs beside an API key: `cargo bench --bench login`, with `openssl` installed.
//!
//! A server of its own mints over one kept-alive Unix socket; its CPU time per link is read from the kernel. The same
//! link is asked for with an API key, with logins that were seen before, and with logins that are seen for the first
//! time, all interleaved in rounds, so that ratios hold on a machine that others use as well.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench that cannot go on fails, and measures time itself"
)]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../integration/support/identity.rs"]
mod identity;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use identity::{KeyServer, Signer, seconds};
use serde_json::{Value, json};

const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];
const ROUNDS: usize = 9;
/// Links of one kind in one round.
const LINKS: usize = 1_000;
/// Users whose logins come again and again.
const USERS: usize = 100;

/// A server of our own, ended with the bench.
struct Server {
    process: Child,
    folder: tempfile::TempDir,
    api_key: String,
}

impl Server {
    fn start(providers: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("lg").tempdir_in("/tmp").unwrap();
        let socket = folder.path().join("all.sock");
        let configuration = format!(
            "public_url = \"http://links.test\"\ndata_dir = {:?}\n[listen]\ndownload = \"unix:{s}\"\napi = \"unix:{s}\"\n\
             ops = \"unix:{s}\"\n[log]\nlevel = \"error\"\n[collections.image]\nedge = \"nginx\"\n{providers}",
            folder.path().join("data"),
            s = socket.display(),
        );
        std::fs::write(folder.path().join("linkgate.toml"), configuration).unwrap();
        run(folder.path(), &["keys", "new"]);
        let added =
            run(folder.path(), &["clients", "add", "backend", "--role", "mint", "--allow", "users/**", "--json"]);
        let added: Value = serde_json::from_slice(&added).unwrap();
        let process = command(folder.path(), &["serve"]).stdout(Stdio::null()).spawn().unwrap();
        while UnixStream::connect(&socket).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, folder, api_key: added["key"].as_str().unwrap().to_owned() }
    }

    fn connection(&self) -> Connection {
        let stream = UnixStream::connect(self.folder.path().join("all.sock")).unwrap();
        Connection { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    /// Nanoseconds of processor time that every thread has used.
    fn cpu(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let files: Vec<PathBuf> = tasks.map(|task| task.unwrap().path().join("schedstat")).collect();
        let used = |file: &PathBuf| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or_default()
        };
        files.iter().map(used).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkgate"));
    command.args(arguments).arg("--config").arg(folder.join("linkgate.toml")).env_clear().stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = command(folder, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

/// One connection, kept alive.
struct Connection {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Connection {
    /// Asks for a link; answers the status.
    fn mint(&mut self, credential: &str, user: usize) -> u16 {
        let body = format!("{{\"path\":\"users/{user}/holiday/IMG_0001.jpg\"}}");
        let request = format!(
            "POST /v1/links HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAuthorization: Bearer \
             {credential}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).unwrap();
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).unwrap();
            let line = line.trim_end().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        self.reader.read_exact(&mut vec![0; length]).unwrap();
        status
    }
}

/// A login as providers make them, with a few claims besides those we look at.
fn login(signer: &Signer, user: usize, number: usize) -> String {
    signer.login(&json!({
        "iss": format!("https://{}.example.com/", signer.algorithm()), "aud": ["photos", "https://example.com/userinfo"],
        "sub": user.to_string(), "iat": seconds(), "exp": seconds() + 3_600, "jti": number.to_string(),
        "azp": "kxDPj2fGEmbc6yT0y0FqkTkbGq3vsVwb", "scope": "openid profile email", "email": "user@example.com",
        "permissions": ["read:photos", "write:photos"],
    }))
}

/// Something that mints, and what a link cost it in each round.
struct Contender {
    name: String,
    /// Credentials and their users for one round, made anew for each where they must be new.
    credentials: Box<dyn FnMut(usize) -> Vec<(String, usize)>>,
    costs: Vec<f64>,
}

impl Contender {
    fn new(name: String, credentials: impl FnMut(usize) -> Vec<(String, usize)> + 'static) -> Self {
        Self { name, credentials: Box::new(credentials), costs: Vec::new() }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut sections = String::new();
    let mut servers = Vec::new();
    let mut contenders = Vec::new();
    for algorithm in ALGORITHMS {
        let signer = std::rc::Rc::new(Signer::new(algorithm, "one"));
        let server = KeyServer::publishing(&[&signer]);
        sections += &format!(
            "[[identity_providers]]\nname = \"{algorithm}\"\nissuer = \"https://{algorithm}.example.com/\"\n\
             audience = \"photos\"\nalgorithms = [\"{algorithm}\"]\njwks_url = \"{}\"\nallow = [\"users/{{sub}}/**\"]\n",
            server.url()
        );
        servers.push(server);
        let known: Vec<(String, usize)> = (0..USERS).map(|user| (login(&signer, user, 0), user)).collect();
        contenders.push(Contender::new(format!("{algorithm}, seen before"), move |_| {
            known.iter().cycle().take(LINKS).cloned().collect()
        }));
        contenders.push(Contender::new(format!("{algorithm}, for the first time"), move |round| {
            (0..LINKS).map(|n| (login(&signer, n, (round + 1) * LINKS + n), n)).collect()
        }));
    }
    let server = Server::start(&sections);
    let key = server.api_key.clone();
    contenders
        .insert(0, Contender::new("API key".into(), move |_| (0..LINKS).map(|n| (key.clone(), n % USERS)).collect()));
    let mut connection = server.connection();
    // The first round only warms up. Until the keys are there, logins are refused.
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            let credentials = (contender.credentials)(round);
            while connection.mint(&credentials[0].0, credentials[0].1) == 503 {
                std::thread::sleep(Duration::from_millis(50));
            }
            let before = server.cpu();
            for (credential, user) in &credentials {
                let status = connection.mint(credential, *user);
                assert_eq!(status, 201, "{}", contender.name);
            }
            let cost = (server.cpu() - before) as f64 / credentials.len() as f64 / 1e3;
            if round > 0 {
                contender.costs.push(cost);
            }
        }
    }
    let base = contenders[0].costs.clone();
    println!("processor time of the server per link, median of {ROUNDS} interleaved rounds of {LINKS} links");
    for contender in &contenders {
        let ratios: Vec<f64> = contender.costs.iter().zip(&base).map(|(cost, base)| cost / base).collect();
        println!(
            "{:<28} {:>7.1} µs   {:>5.2} of an API key's (worst round {:.2})",
            contender.name,
            median(&contender.costs),
            median(&ratios),
            ratios.iter().copied().fold(0.0, f64::max),
        );
    }
}
