//! The API and its description: one says what the other does.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::http::{Place, Response, request};
use crate::support::linkgate::{Builder, Linkgate, repository_file};
use crate::support::{Process, binary, eventually, in_each, repository};

/// What `linkgate openapi` prints.
fn printed() -> String {
    let output = Command::new(binary()).arg("openapi").env_clear().output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_committed_document_is_what_the_code_says() {
    let is_same = repository_file("docs/openapi.json") == printed();
    assert!(is_same, "docs/openapi.json is out of date: cargo run -- openapi > docs/openapi.json");
}

#[test]
fn everybody_may_read_the_description_and_the_page_may_load_nothing() {
    let linkgate = Builder::new().start();
    let document = linkgate.get("/openapi.json");
    assert_eq!((document.status, document.text()), (200, printed()));
    assert_eq!(document.header("content-type").as_deref(), Some("application/json"));
    let page = linkgate.get("/docs");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type").as_deref(), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for path in document.json()["paths"].as_object().unwrap().keys() {
        assert!(page.text().contains(path), "{path}");
    }
    assert_eq!(linkgate.get_as("POST", "/docs", &[]).status, 405);
}

#[test]
fn only_the_api_listener_describes_the_api() {
    let linkgate = Builder::new().prepare();
    let socket = linkgate.folder.path().join("api.sock");
    let mut command = linkgate.command(&["serve"]);
    command.env("LINKGATE_LISTEN__API", format!("unix:{}", socket.display()));
    let _process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let get = |place: &Place, path: &str| request(place, "GET", path, &[], b"").status;
    eventually("linkgate listens", || [linkgate.socket(), socket.clone()].iter().all(|socket| socket.exists()));
    for path in ["/openapi.json", "/docs"] {
        assert_eq!(get(&linkgate.place(), path), 404, "{path}");
        assert_eq!(get(&Place::from(socket.as_path()), path), 200, "{path}");
    }
}

/// A Linkgate on a port, for tools that know no Unix sockets.
struct Site {
    linkgate: Linkgate,
    address: String,
}

impl Site {
    fn new() -> Self {
        let mut linkgate = Builder::new().prepare();
        linkgate.file("users/42/cat 1.jpg", b"a cat, in pixels");
        let log = linkgate.folder.path().join("log.txt");
        let mut command = linkgate.command(&["serve", "--listen", "127.0.0.1:0"]);
        let command = command.stdout(Stdio::null()).stderr(std::fs::File::create(log).unwrap());
        linkgate.process = Process::start(command);
        let address = || Some(linkgate.log().split_once("listening address=")?.1.split_whitespace().next()?.to_owned());
        eventually("linkgate listens", || address().is_some_and(|address| TcpStream::connect(address).is_ok()));
        Self { address: address().unwrap(), linkgate }
    }

    /// Asks with an API key, which may be empty.
    fn get(&self, path: &str, key: &str) -> Response {
        let authorization = format!("Bearer {key}");
        request(&Place::Tcp(self.address.clone()), "GET", path, &[("Authorization", &authorization)], b"")
    }
}

/// Schemathesis, made by `tests/run`.
fn schemathesis() -> Command {
    let program = repository().join("target/schemathesis/bin/schemathesis");
    assert!(program.exists(), "{} is missing: run tests/run", program.display());
    Command::new(program)
}

/// Sends what the description allows and what it forbids, as a client with a role or as nobody, and compares each
/// answer with the description. Whoever may do everything gets furthest; with the others it is about what they are
/// refused.
fn holds(role: Option<&str>) {
    let site = Site::new();
    let folder = site.linkgate.folder.path();
    let mut document = site.get("/openapi.json", "").json();
    // With a collection that is there, more requests get past the door.
    for schema in ["MintRequest", "RevokeRequest"] {
        document["components"]["schemas"][schema]["properties"]["collection"]["enum"] = json!(["image", null]);
    }
    std::fs::write(folder.join("openapi.json"), document.to_string()).unwrap();

    let mut command = schemathesis();
    command.arg("--config-file").arg(repository().join("tests/schemathesis.toml")).args(["run", "openapi.json"]);
    command.args(["--url", &format!("http://{}", site.address), "--seed", "1", "--generation-database", "none"]);
    command.args(["--continue-on-failure", "--no-color", "--warnings", "off"]);
    if let Some(role) = role {
        let key = site.linkgate.new_client(role, &[role]);
        eventually("the client is known", || site.get("/v1/verifiers", &key).status != 401);
        command.args(["-H", &format!("Authorization: Bearer {key}")]);
    }
    let (examples, phases) = match role {
        Some("admin") => ("20", "examples,coverage,fuzzing,stateful"),
        _ => ("5", "examples,fuzzing,stateful"),
    };
    command.args(["--max-examples", examples, "--phases", phases]);
    let output = command.current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}\n{said}\n{}", site.linkgate.log());

    let operations: usize =
        document["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
    assert!(shown.contains(&format!("Tested: {operations}\n")), "{shown}");
    assert_eq!(site.get("/livez", "").status, 200, "{}", site.linkgate.log());
}

in_each!([holds]:
    for_nobody = None,
    for_mint = Some("mint"),
    for_inspect = Some("inspect"),
    for_revoke = Some("revoke"),
    for_admin = Some("admin"),
);
