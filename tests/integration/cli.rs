//! The command line.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use linkgate::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::http::{Place, Response, parse, request};
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::redis::Redis;
use crate::support::{Process, binary, eventually, folder, uninterrupted};

const PICTURE: &[u8] = b"\x89PNG these are the bytes of a picture \x00\xff";

/// `linkgate serve --media media` in an empty folder, with no configuration at all.
struct Trial {
    folder: TempDir,
    process: Process,
}

impl Trial {
    fn new() -> Self {
        let folder = folder();
        std::fs::create_dir(folder.path().join("media")).unwrap();
        Self { folder, process: Process::start(Command::new("true").stdin(Stdio::null())) }
    }

    fn with_a_picture() -> Self {
        let trial = Self::new();
        std::fs::create_dir(trial.folder.path().join("media/2026")).unwrap();
        std::fs::write(trial.folder.path().join("media/2026/cat 1.jpg"), PICTURE).unwrap();
        trial
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts it on a port that is free; answers what it prints until it listens.
    fn start(&mut self, more: &[&str]) -> String {
        let create = |name: &str| std::fs::File::create(self.folder.path().join(name)).unwrap();
        let arguments = [&["serve", "--media", "media", "--listen", "127.0.0.1:0"], more].concat();
        self.process = Process::start(self.command(&arguments).stdout(create("out.txt")).stderr(create("err.txt")));
        eventually("linkgate listens", || self.read("err.txt").contains("listening address="));
        self.read("out.txt")
    }

    fn stop(&mut self) {
        self.process.signal("TERM");
        assert_eq!(self.process.0.wait().unwrap().code(), Some(0), "{}", self.read("err.txt"));
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

/// The word behind a label of what `serve --media` prints.
fn word(printed: &str, label: &str) -> Option<String> {
    let line = printed.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next().map(str::to_owned)
}

/// Fetches an `http://` address.
fn fetch(url: &str) -> Response {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    request(&Place::Tcp(host.to_owned()), "GET", &format!("/{path}"), &[], b"")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The JSON on stdout.
fn data(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}"))
}

/// Runs a command that must print JSON and succeed.
fn json_of(linkgate: &Linkgate, arguments: &[&str]) -> Value {
    serde_json::from_str(&linkgate.succeed(&[arguments, &["--json"]].concat())).unwrap()
}

/// Runs a command that must not work; answers what it says.
fn fails(linkgate: &Linkgate, arguments: &[&str]) -> String {
    let output = linkgate.run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    assert_eq!(stdout(&output), "", "{arguments:?}");
    let said = stderr(&output);
    assert!(said.starts_with("error: ") && said.lines().count() == 1, "{arguments:?}: {said}");
    let parts: Vec<&str> = said["error: ".len()..].trim().split(": ").collect();
    let half = parts.len() / 2;
    assert!(half == 0 || parts[..half] != parts[half..], "it is said twice: {said}");
    said
}

/// Runs a command with something on its stdin.
fn piped(linkgate: &Linkgate, arguments: &[&str], input: &str) -> Output {
    let mut command = linkgate.command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Arguments without spaces in them.
fn split(arguments: &str) -> Vec<&str> {
    arguments.split_whitespace().collect()
}

fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A Linkgate with one picture.
fn site() -> Linkgate {
    let linkgate = Builder::new().start();
    linkgate.file("users/42/cat 1.jpg", PICTURE);
    linkgate
}

/// A Linkgate whose API is on a port; answers its address, too.
fn site_with_a_port() -> (Linkgate, String) {
    let linkgate = Builder::new().environment("LINKGATE_LISTEN__API", "127.0.0.1:0").start();
    linkgate.file("users/42/cat 1.jpg", PICTURE);
    let log = linkgate.log();
    let address = log.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
    (linkgate, format!("http://{address}"))
}

#[test]
fn a_media_folder_is_all_it_takes_for_keys_and_a_link_that_works() {
    let mut trial = Trial::with_a_picture();
    let printed = trial.start(&[]);
    let link = word(&printed, "link").unwrap();
    let answer = fetch(&link);
    assert_eq!((answer.status, answer.body.as_slice()), (200, PICTURE));
    assert_eq!(answer.header("content-disposition").as_deref(), Some("attachment; filename=\"cat 1.jpg\""));

    let host = link.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let call = |key: &str, path: &str, body: &[u8]| {
        let authorization = format!("Bearer {key}");
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        request(&Place::Tcp(host.clone()), "POST", path, &headers, body).status
    };
    let (admin, app) = (word(&printed, "admin key").unwrap(), word(&printed, "mint key").unwrap());
    assert_eq!(call(&app, "/v1/links", br#"{"path":"2026/cat 1.jpg"}"#), 201);
    assert_eq!(call(&app, "/v1/revocations", br#"{"everything":true}"#), 403);
    assert_eq!(call(&admin, "/v1/revocations", br#"{"subject":"user-42"}"#), 201);

    let data = trial.folder.path().join("linkgate-data");
    assert_eq!(mode(&data), 0o700);
    for name in ["keys.toml", "clients.json", "revocations.redb", "operator.sock"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }

    trial.stop();
    let again = trial.start(&[]);
    assert!(!again.contains("lgk_") && !again.contains("key"), "keys are shown once: {again}");
    let fresh = word(&again, "link").unwrap();
    assert_eq!(fetch(&fresh).body, PICTURE);
    let place = fresh.split("/download").next().unwrap();
    let old = link.split_once("/download").unwrap().1;
    assert_eq!(fetch(&format!("{place}/download{old}")).body, PICTURE, "a restart breaks no link");
}

#[test]
fn what_a_first_start_shows_can_be_had_as_json() {
    let mut trial = Trial::with_a_picture();
    let shown: Value = serde_json::from_str(&trial.start(&["--json"])).unwrap();
    assert_eq!(names(&shown), ["admin_key", "app_key", "url", "link"]);
    assert!(shown["link"].as_str().unwrap().starts_with(shown["url"].as_str().unwrap()));
    trial.stop();
    let shown: Value = serde_json::from_str(&trial.start(&["--json"])).unwrap();
    assert_eq!(names(&shown), ["url", "link"]);
}

#[test]
fn an_empty_media_folder_gets_a_hint_instead_of_a_link() {
    let mut trial = Trial::new();
    std::fs::write(trial.folder.path().join("media/.hidden"), b"x").unwrap();
    std::fs::create_dir(trial.folder.path().join("media/empty")).unwrap();
    let printed = trial.start(&[]);
    assert!(printed.contains("holds no file yet") && printed.contains("linkgate mint"), "{printed}");
    assert_eq!(word(&printed, "link"), None);
}

#[test]
fn a_media_folder_that_cannot_be_served_is_refused_before_anything_is_made() {
    let trial = Trial::new();
    std::fs::write(trial.folder.path().join("file"), b"x").unwrap();
    for media in ["absent", "file"] {
        let output = trial.run(&["serve", "--media", media, "--listen", "127.0.0.1:0"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(&format!("the media folder {media} cannot be read")), "{output:?}");
    }
    for (media, data) in
        [(".", "linkgate-data"), ("media", "media/keys"), ("media", "media"), ("media", "./media/../media/x")]
    {
        let output = trial.run(&["serve", "--media", media, "--data-dir", data, "--listen", "127.0.0.1:0"]);
        assert_eq!(output.status.code(), Some(2), "{media} {data}");
        assert!(stderr(&output).contains("keys must not be downloadable"), "{output:?}");
    }
    assert_eq!(std::fs::read_dir(trial.folder.path().join("media")).unwrap().count(), 0);
    assert!(!trial.folder.path().join("linkgate-data").exists());
}

#[test]
fn an_address_that_is_taken_is_named() {
    let trial = Trial::with_a_picture();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = trial.run(&["serve", "--media", "media", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains(&format!("cannot listen on {address}")) && said.contains("--listen"), "{said}");
}

#[test]
fn a_first_start_that_failed_leaves_the_keys_to_be_shown_by_the_next() {
    let mut trial = Trial::with_a_picture();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    trial.run(&["serve", "--media", "media", "--listen", &address]);
    let printed = trial.start(&[]);
    assert!(word(&printed, "admin key").is_some() && word(&printed, "mint key").is_some(), "{printed}");
}

#[test]
fn keys_that_could_not_be_shown_are_made_again_and_shown_by_the_next_start() {
    let mut trial = Trial::with_a_picture();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = trial.command(&["serve", "--media", "media", "--listen", "127.0.0.1:0"]).stdout(full).status();
    assert_eq!(status.unwrap().code(), Some(1));
    let printed = trial.start(&[]);
    assert!(word(&printed, "admin key").is_some() && word(&printed, "mint key").is_some(), "{printed}");
}

#[test]
fn a_process_that_ends_leaves_the_socket_of_the_one_that_came_after_it() {
    let mut first = Builder::new().start();
    let mut second = Builder::new().start();
    second.process.stop();
    let place = first.socket();
    std::fs::remove_file(&place).unwrap();
    let file = second.folder.path().join("linkgate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(second.socket().to_str().unwrap(), place.to_str().unwrap())).unwrap();
    second.process = Process::start(second.command(&["serve"]).stderr(Stdio::null()));
    eventually("the second one listens", || UnixStream::connect(&place).is_ok());
    first.process.stop();
    assert_eq!(first.get("/livez").status, 200, "the second one answers in its place");
    second.process.stop();
    assert!(!place.exists(), "and removes what is its own");
}

#[test]
fn a_second_process_on_the_same_folder_is_refused_and_told_who_has_it() {
    let linkgate = site();
    let output = linkgate.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains(&format!("process {}", linkgate.process.0.id())), "{said}");
    assert!(said.contains("--server"), "{said}");
    assert_eq!(linkgate.get("/readyz").status, 200, "the first goes on");
}

#[test]
fn a_link_made_without_a_server_downloads_from_one() {
    let linkgate = site();
    let link = linkgate.succeed(&[
        "mint",
        "users/42/cat 1.jpg",
        "--subject",
        "user-42",
        "--filename",
        "Cat.png",
        "--content-type",
        "image/png",
        "--disposition",
        "inline",
        "--expires-in",
        "10m",
    ]);
    let answer = linkgate.get(link.strip_prefix("http://links.test").unwrap());
    assert_eq!((answer.status, answer.body.as_slice()), (200, PICTURE));
    assert_eq!(answer.header("content-disposition").as_deref(), Some("inline; filename=\"Cat.png\""));
    assert_eq!(answer.header("content-type").as_deref(), Some("image/png"));

    let link = json_of(&linkgate, &["mint", "users/42/cat 1.jpg", "--network", "203.0.113.0/24", "--client", "batch"]);
    let fields = ["url", "token", "id", "collection", "path", "issued_at", "expires_at", "refresh_after"];
    assert_eq!(names(&link), fields);
    assert_eq!(linkgate.get(&path_of(&link)).status, 403, "it is bound to a network that this is not");
    let inspection = json_of(&linkgate, &["inspect", link["token"].as_str().unwrap()]);
    assert_eq!((&inspection["client"], &inspection["client_networks"]), (&json!("batch"), &json!(["203.0.113.0/24"])));
}

#[test]
fn a_link_that_may_not_be_made_is_refused_in_words() {
    let linkgate = Builder::new().prepare();
    for (arguments, words) in [
        ("../keys.toml", "path"),
        ("/users/42/cat.jpg", "path"),
        (".env", "path"),
        ("cat.jpg --collection film", "collection"),
        ("cat.jpg --expires-in 8d", "604800 seconds"),
        ("cat.jpg --expires-at 2020-01-01T00:00:00Z", "expire"),
        ("cat.jpg --expires-at tomorrow", "RFC 3339"),
        ("cat.jpg --network home", "network"),
        ("cat.jpg --subject=", "subject"),
    ] {
        let said = fails(&linkgate, &split(&format!("mint {arguments}")));
        assert!(said.contains(words), "{arguments}: {said}");
    }
    std::fs::remove_file(linkgate.data_dir().join("keys.toml")).unwrap();
    assert!(fails(&linkgate, &["mint", "cat.jpg"]).contains("linkgate keys new"));
}

#[test]
fn a_server_is_asked_with_the_key_from_the_environment() {
    let (linkgate, server) = site_with_a_port();
    let ask = |arguments: &[&str], key: Option<&str>| {
        let mut command = linkgate.command(arguments);
        command.env("LINKGATE_SERVER", &server).envs(key.map(|key| ("LINKGATE_API_KEY", key))).output().unwrap()
    };
    let minted = ask(&["mint", "users/42/cat 1.jpg", "--json"], Some(&linkgate.mint_key));
    let link = data(&minted);
    assert_eq!(linkgate.get(&path_of(&link)).status, 200);
    let revoked = ask(&["revoke", link["token"].as_str().unwrap(), "--json"], Some(&linkgate.admin_key));
    assert!(data(&revoked)["created_by"].as_str().unwrap().starts_with("admin-test"), "{revoked:?}");
    assert_eq!(linkgate.get(&path_of(&link)).status, 410);

    for (key, words) in [
        (None, "LINKGATE_API_KEY"),
        (Some("lgk_nobody_0000000000000000000000000000000000000000000"), "A valid API key or login is needed"),
        (Some(linkgate.mint_key.as_str()), "roles do not allow this"),
    ] {
        let output = ask(&["revoke", "--everything"], key);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(words), "{output:?}");
        assert!(key.is_none_or(|key| !stderr(&output).contains(key)), "{output:?}");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = linkgate.command(&["revocations", "--server", &format!("http://{closed}")]);
    let output = command.env("LINKGATE_API_KEY", &linkgate.admin_key).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("{closed} cannot be reached")), "{output:?}");
}

#[test]
fn inspect_says_with_its_exit_code_whether_a_link_works() {
    let linkgate = site();
    let judged = |link: &str| {
        let output = linkgate.run(&["inspect", link, "--json"]);
        let answer = data(&output);
        assert_eq!(output.status.code(), Some(if answer["valid"] == true { 0 } else { 3 }), "{output:?}");
        (answer["check"].as_str().unwrap().to_owned(), answer["status"].as_u64().unwrap())
    };
    let link = linkgate.succeed(&["mint", "users/42/cat 1.jpg"]);
    let short = linkgate.succeed(&["mint", "users/42/cat 1.jpg", "--expires-in", "1s"]);
    assert_eq!(judged(&link), ("permitted".to_owned(), 200));
    assert_eq!(judged(link.rsplit('/').next().unwrap()).1, 200, "a token alone will do");
    assert_eq!(judged("garbage").1, 403);
    assert_eq!(judged(&link.replace("/image/", "/film/")).1, 403);
    let id = linkgate.succeed(&["revoke", &link]);
    assert_eq!(judged(&link), ("revoked".to_owned(), 410));
    linkgate.succeed(&["reinstate", &id]);
    assert_eq!(judged(&link).1, 200);
    eventually("the short link ends", || judged(&short) == ("expired".to_owned(), 410));

    let plain = linkgate.succeed(&["inspect", &link]);
    for (name, value) in [("valid", "true"), ("path", "users/42/cat 1.jpg"), ("client", "operator"), ("key", "1")] {
        let is_there = plain.lines().any(|line| line.starts_with(name) && line.ends_with(value));
        assert!(is_there, "{name} {value}: {plain}");
    }
}

#[test]
fn a_link_is_read_from_stdin_so_that_no_list_of_processes_shows_it() {
    let linkgate = site();
    let link = linkgate.succeed(&["mint", "users/42/cat 1.jpg"]);
    for arguments in [&["inspect", "-"][..], &["inspect"]] {
        let output = piped(&linkgate, arguments, &format!("  {link}\n"));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!(piped(&linkgate, &["revoke", "-"], &link).status.code(), Some(0));
    assert_eq!(piped(&linkgate, &["inspect", "-"], &link).status.code(), Some(3));
    let nothing = piped(&linkgate, &["inspect", "-"], "\n");
    assert!(nothing.status.code() == Some(1) && stderr(&nothing).contains("no link"), "{nothing:?}");
}

#[test]
fn a_running_server_is_found_through_its_data_folder_and_obeys_at_once() {
    let linkgate = site();
    let link = linkgate.mint(&json!({ "path": "users/42/cat 1.jpg", "subject": "user-42" }));
    let (path, token, id) = (path_of(&link), link["token"].as_str().unwrap(), link["id"].as_str().unwrap());
    let inspected = json_of(&linkgate, &["inspect", token]);
    let client = inspected["client"].as_str().unwrap();
    let soon = SystemClock::new().now().wall.plus(Duration::from_secs(1)).to_string();
    for target in [
        &[token][..],
        &["--id", id],
        &["--subject", "user-42"],
        &["--path", "users/42/cat 1.jpg", "--collection", "image"],
        &["--path-prefix", "users/"],
        &["--client", client],
        &["--key", "1"],
        &["--everything", "--reason", "leaked"],
        &["--everything", "--whenever"],
        &["--subject", "user-42", "--issued-before", &soon],
    ] {
        assert_eq!(linkgate.get(&path).status, 200, "before {target:?}");
        let revocation = linkgate.succeed(&[&["revoke"], target].concat());
        assert_eq!(linkgate.get(&path).status, 410, "{target:?}");
        linkgate.succeed(&["reinstate", &revocation]);
        assert_eq!(linkgate.get(&path).status, 200, "after {target:?}");
    }
    assert!(fails(&linkgate, &["reinstate", "rev_AAAAAAAAAAAAAAAAAAAAAA"]).contains("nothing here"));
    assert!(fails(&linkgate, &["revoke", "garbage"]).contains("no link of ours"));
}

#[test]
fn what_begins_with_a_hyphen_is_a_value_like_any_other() {
    let linkgate = site();
    for what in [
        &["--id", "-w7_ww1cN9Os0cGB8TBDaA"][..],
        &["--subject", "-ann"],
        &["--path", "-a.txt"],
        &["--path-prefix", "--/"],
        &["--client", "backend", "--reason", "--json"],
    ] {
        let revocation = linkgate.succeed(&[&["revoke"], what].concat());
        linkgate.succeed(&["reinstate", &revocation]);
    }
    let link = linkgate.succeed(&["mint", "a.txt", "--subject", "--help", "--filename", "-"]);
    assert!(link.contains("/download/image/"), "{link}");
}

#[test]
fn revocations_are_listed_newest_first_and_searched() {
    let linkgate = site();
    for subject in ["user-1", "user-2", "user-3"] {
        linkgate.succeed(&["revoke", "--subject", subject, "--reason", "left the company"]);
    }
    linkgate.succeed(&["revoke", "--path-prefix", "users/42/"]);
    let targets = |arguments: &[&str]| -> Vec<String> {
        let page = json_of(&linkgate, &[&["revocations"], arguments].concat());
        let rows = page["revocations"].as_array().unwrap();
        rows.iter().map(|row| row["target"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(targets(&[])[1..], ["user-3", "user-2", "user-1"]);
    assert_eq!(targets(&["--kind", "path_prefix"]).len(), 1);
    assert_eq!(targets(&["--search", "user-2"]), ["user-2"]);
    let first = json_of(&linkgate, &["revocations", "--kind", "subject", "--limit", "2"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(targets(&["--kind", "subject", "--limit", "2", "--cursor", cursor]), ["user-1"]);

    let output = linkgate.run(&["revocations", "--kind", "subject", "--limit", "2"]);
    let table = stdout(&output);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.starts_with("ID ") && table.contains("left the company"), "{table}");
    assert!(stderr(&output).contains("--cursor"), "there is more, which is said beside the data: {output:?}");
}

#[test]
fn without_a_server_the_embedded_store_itself_is_changed() {
    let mut linkgate = Builder::new().prepare();
    linkgate.file("cat.jpg", PICTURE);
    let (kept, revoked) = (linkgate.succeed(&["mint", "cat.jpg"]), linkgate.succeed(&["mint", "cat.jpg"]));
    linkgate.succeed(&["revoke", &revoked]);
    let lifted = linkgate.succeed(&["revoke", &kept]);
    linkgate.succeed(&["reinstate", &lifted]);
    assert_eq!(linkgate.run(&["inspect", &revoked]).status.code(), Some(3));
    assert_eq!(json_of(&linkgate, &["revocations"])["revocations"].as_array().unwrap().len(), 1);
    linkgate.launch();
    linkgate.until_ready();
    assert_eq!(linkgate.get(kept.strip_prefix("http://links.test").unwrap()).status, 200);
    assert_eq!(linkgate.get(revoked.strip_prefix("http://links.test").unwrap()).status, 410);
}

#[test]
fn with_redis_no_server_is_needed_and_every_running_one_obeys() {
    let redis = Redis::start();
    let mut linkgate = Builder::new().redis(&redis.url()).start();
    linkgate.file("cat.jpg", PICTURE);
    let link = linkgate.link("cat.jpg");
    let token = link.rsplit('/').next().unwrap();
    let id = linkgate.succeed(&["revoke", token]);
    eventually("the running server has followed", || linkgate.get(&link).status == 410);
    linkgate.process.stop();
    assert_eq!(linkgate.run(&["inspect", token]).status.code(), Some(3));
    assert_eq!(json_of(&linkgate, &["revocations"])["revocations"][0]["id"], json!(id));
    linkgate.succeed(&["reinstate", &id]);
    assert_eq!(linkgate.run(&["inspect", token]).status.code(), Some(0));

    drop(redis);
    let said = fails(&linkgate, &["revoke", "--everything"]);
    assert!(said.contains("reached"), "{said}");
}

#[test]
fn a_store_that_lost_everything_is_set_up_again_only_when_the_loss_is_accepted() {
    let redis = Redis::start();
    let mut linkgate = Builder::new().redis(&redis.url()).start();
    linkgate.process.stop();
    redis.cli(&["FLUSHALL"]);
    let said = fails(&linkgate, &["store", "init"]);
    assert!(said.contains("will work again") && said.contains("--accept-loss"), "{said}");
    let refused = linkgate.run(&["revocations"]);
    assert!(refused.status.code() == Some(1) && stderr(&refused).contains("accept the loss"), "{refused:?}");
    linkgate.succeed(&["store", "init", "--accept-loss"]);
    assert_eq!(json_of(&linkgate, &["revocations"])["revocations"], json!([]));

    let embedded = Builder::new().prepare();
    assert!(fails(&embedded, &["store", "init", "--accept-loss"]).contains("embedded"));
}

#[test]
fn rotating_the_key_breaks_no_link_and_retiring_it_refuses_its_links() {
    let linkgate = site();
    let old = linkgate.link("users/42/cat 1.jpg");
    let key_of = |link: &str| json_of(&linkgate, &["inspect", link.rsplit('/').next().unwrap()])["key"].clone();
    assert_eq!(linkgate.succeed(&["keys", "new"]), "key 2 is verifying");
    assert_eq!(linkgate.succeed(&["keys", "activate", "2"]), "key 2 is active");
    eventually("the server signs with the new key", || key_of(&linkgate.link("users/42/cat 1.jpg")) == 2);
    let new = linkgate.link("users/42/cat 1.jpg");
    assert_eq!((linkgate.get(&old).status, linkgate.get(&new).status), (200, 200));

    linkgate.succeed(&["keys", "retire", "1"]);
    eventually("the server refuses the retired key", || linkgate.get(&old).status == 403);
    assert_eq!(linkgate.get(&new).status, 200);
    let answer = json_of(&linkgate, &["keys", "list"]);
    let keys = answer["keys"].as_array().unwrap();
    assert_eq!(keys.iter().map(|key| key["state"].as_str().unwrap()).collect::<Vec<_>>(), ["retired", "active"]);
    assert_eq!(names(&keys[0]), ["id", "state", "created_at"]);
    assert_eq!(mode(&linkgate.data_dir().join("keys.toml")), 0o600);

    for (arguments, words) in [
        (["retire", "2"], "active one"),
        (["activate", "1"], "retired"),
        (["activate", "7"], "no key 7"),
        (["retire", "7"], "no key 7"),
    ] {
        assert!(fails(&linkgate, &["keys", arguments[0], arguments[1]]).contains(words), "{arguments:?}");
    }
}

#[test]
fn a_key_file_without_an_active_key_can_be_mended() {
    let linkgate = Builder::new().prepare();
    let file = linkgate.data_dir().join("keys.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("active", "verifying")).unwrap();
    assert!(fails(&linkgate, &["mint", "a.jpg"]).contains("linkgate keys activate"));
    assert_eq!(json_of(&linkgate, &["keys", "list"])["keys"][0]["state"], "verifying");
    assert_eq!(linkgate.succeed(&["keys", "activate", "1"]), "key 1 is active");
    linkgate.succeed(&["mint", "a.jpg"]);

    std::fs::write(&file, "").unwrap();
    assert!(fails(&linkgate, &["mint", "a.jpg"]).contains("linkgate keys new"));
    assert_eq!(linkgate.succeed(&["keys", "new"]), "key 1 is active");
}

#[test]
fn a_broken_key_file_changes_nothing_for_a_running_server() {
    let linkgate = site();
    let link = linkgate.link("users/42/cat 1.jpg");
    std::fs::write(linkgate.data_dir().join("keys.toml"), "[[key]]\nid = 1\n").unwrap();
    eventually("the server complains", || linkgate.log().contains("going on with the old ones"));
    assert_eq!(linkgate.get(&link).status, 200);
}

#[test]
fn a_hangup_takes_up_the_clients_of_the_file_and_a_broken_file_changes_nothing() {
    let linkgate = site();
    let file = linkgate.folder.path().join("linkgate.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let key = format!("lgk_phone_{}", "Ab3_-".repeat(9).split_at(43).0);
    let hash = format!("{:x}", bytes::Bytes::copy_from_slice(&Sha256::digest(&key)));
    let with = |allow: &str| {
        let client = format!("[[clients]]\nname = \"phone\"\nroles = [\"mint\"]\nallow = [\"{allow}\"]\n");
        std::fs::write(&file, format!("{before}\n{client}key_hashes = [\"sha256:{hash}\"]\n")).unwrap();
        linkgate.process.signal("HUP");
    };
    let mint = || linkgate.api_with(&key, "POST", "/v1/links", &json!({ "path": "users/42/cat 1.jpg" })).status;
    assert_eq!(mint(), 401);
    with("**");
    eventually("the client of the file may mint", || mint() == 201);
    with("users/7/**");
    eventually("its new policy counts", || mint() == 403);
    std::fs::write(&file, format!("{before}\nspeed = 3\n")).unwrap();
    linkgate.process.signal("HUP");
    eventually("the server complains", || linkgate.log().contains("`collections.image.speed` is not a setting"));
    assert_eq!(mint(), 403);
    assert_eq!(linkgate.get("/readyz").status, 200);
}

#[test]
fn the_clients_of_the_file_count_even_when_those_of_the_store_cannot_be_read() {
    let key = format!("lgk_phone_{}", "x".repeat(43));
    let hash = format!("{:x}", bytes::Bytes::copy_from_slice(&Sha256::digest(&key)));
    let client = "[[clients]]\nname = \"phone\"\nroles = [\"mint\"]\nallow = [\"**\"]\n";
    let linkgate = Builder::new().section(&format!("{client}key_hashes = [\"sha256:{hash}\"]")).start();
    let mint = |key: &str| linkgate.api_with(key, "POST", "/v1/links", &json!({ "path": "a.jpg" })).status;
    assert_eq!((mint(&key), mint(&linkgate.mint_key)), (201, 201));
    std::fs::write(linkgate.data_dir().join("clients.json"), "no json").unwrap();
    let file = linkgate.folder.path().join("linkgate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.split("[[clients]]").next().unwrap()).unwrap();
    linkgate.process.signal("HUP");
    eventually("a client that was taken out is refused", || mint(&key) == 401);
    assert_eq!(mint(&linkgate.mint_key), 201, "the others stay known");
}

#[test]
fn changes_of_clients_count_on_a_running_server() {
    let redis = Redis::start();
    for linkgate in [Builder::new().start(), Builder::new().redis(&redis.url()).start()] {
        let mint = |key: &str| linkgate.api_with(key, "POST", "/v1/links", &json!({ "path": "users/42/a" })).status;
        let key_of = |answer: &Value| answer["key"].as_str().unwrap().to_owned();
        let add = ["clients", "add", "backend", "--role", "mint", "--allow", "users/42/**", "--max-ttl", "1h"];
        let added = json_of(&linkgate, &add);
        assert_eq!(names(&added), ["client", "key"]);
        let first = key_of(&added);
        assert!(first.starts_with("lgk_backend_") && first.len() == "lgk_backend_".len() + 43, "{first}");
        eventually("the new client may mint", || mint(&first) == 201);
        let elsewhere = json!({ "path": "users/7/a" });
        assert_eq!(linkgate.api_with(&first, "POST", "/v1/links", &elsewhere).status, 403);

        let second = key_of(&json_of(&linkgate, &["clients", "rotate", "backend"]));
        eventually("both keys work", || mint(&second) == 201 && mint(&first) == 201);
        let third = linkgate.succeed(&["clients", "rotate", "backend", "--drop-old"]);
        eventually("only the last works", || mint(&third) == 201 && mint(&first) == 401 && mint(&second) == 401);

        let listed = json_of(&linkgate, &["clients", "list"]);
        let row = listed["clients"].as_array().unwrap().iter().find(|row| row["name"] == "backend").unwrap();
        assert_eq!(names(row), ["name", "roles", "policy", "kept", "created_at", "keys"]);
        assert_eq!(row["policy"], json!({ "allow": ["users/42/**"], "max_ttl": 3600 }));
        assert_eq!((&row["roles"], &row["kept"]), (&json!(["mint"]), &json!("store")));
        assert_eq!(row["keys"].as_array().unwrap().len(), 1);
        assert!(!listed.to_string().contains("lgk_") && !listed.to_string().contains("sha256"), "{listed}");
        assert!(fails(&linkgate, &add).contains("already"));
        linkgate.succeed(&["clients", "remove", "backend"]);
        eventually("nobody knows it any more", || mint(&third) == 401);
        for arguments in [["clients", "remove", "backend"], ["clients", "rotate", "backend"]] {
            assert!(fails(&linkgate, &arguments).contains("no client backend"));
        }
    }
}

#[test]
fn a_client_that_makes_no_sense_is_not_added() {
    let linkgate = Builder::new().prepare();
    let before = linkgate.succeed(&["clients", "list"]);
    for (arguments, words) in [
        ("a/b --role inspect", "name"),
        ("x --role mint", "allow"),
        ("x --role mint --allow users/***", "pattern"),
        ("x --role mint --allow ** --collection film", "no collection film"),
        ("x --role mint --allow ** --max-ttl 1h --default-ttl 2h", "max_ttl"),
    ] {
        let said = fails(&linkgate, &split(&format!("clients add {arguments}")));
        assert!(said.contains(words), "{arguments}: {said}");
    }
    assert_eq!(linkgate.succeed(&["clients", "list"]), before);
}

#[test]
fn a_health_check_says_ready_not_ready_or_nobody_there() {
    let mut ready = site();
    assert_eq!(ready.succeed(&["healthcheck"]), "ready");
    assert_eq!(json_of(&ready, &["healthcheck"]), json!({ "status": "ready" }));
    ready.process.stop();
    assert!(fails(&ready, &["healthcheck"]).contains("all.sock"));

    let mut waiting = Builder::new().redis("redis://127.0.0.1:1/0").prepare();
    waiting.launch();
    let output = waiting.run(&["healthcheck"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).starts_with("not ready: "), "{output:?}");

    let off = Builder::new().environment("LINKGATE_LISTEN__OPS", "off").prepare();
    assert!(fails(&off, &["healthcheck"]).contains("listen.ops"));
}

#[test]
fn check_looks_at_keys_media_and_store() {
    let linkgate = Builder::new().prepare();
    let findings = json_of(&linkgate, &["check"])["findings"].clone();
    let all_well = findings.as_array().unwrap().iter().all(|finding| finding["grade"] == "ok");
    assert!(all_well && findings.as_array().unwrap().len() == 4, "{findings}");
    assert_eq!(names(&findings[0]), ["grade", "subject", "message"]);

    std::fs::remove_dir(linkgate.media()).unwrap();
    std::fs::remove_file(linkgate.data_dir().join("keys.toml")).unwrap();
    let output = linkgate.run(&["check"]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("linkgate keys new") && said.contains("media cannot be read"), "both at once: {said}");

    let redis = Redis::with(&["--appendonly", "no", "--save", "", "--maxmemory-policy", "allkeys-lru"]);
    let output = Builder::new().redis(&redis.url()).newcomer().prepare().run(&["check"]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "warnings are no errors: {said}");
    for words in ["noeviction", "appendonly yes", "not set up yet"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// Every command there is.
const COMMANDS: &str = "serve, mint, inspect, revoke, reinstate, revocations, verifiers, keys, keys new, keys list, \
    keys activate, keys retire, clients, clients add, clients list, clients show, clients policy, clients rotate, \
    clients remove, store, store init, check, healthcheck, openapi, completions";

#[test]
fn every_command_explains_itself_and_every_option() {
    let trial = Trial::new();
    let top = stdout(&trial.run(&["--help"]));
    for command in COMMANDS.split(", ") {
        let output = trial.run(&split(&format!("{command} --help")));
        assert_eq!(output.status.code(), Some(0), "{command}");
        let help = stdout(&output);
        let purpose = help.lines().next().unwrap();
        assert!(purpose.len() > 10 && !purpose.starts_with("Usage"), "{command} does not say what it is for: {help}");
        assert!(command.contains(' ') || top.contains(&format!("\n  {command} ")), "{command}: {top}");
        let lines: Vec<&str> = help.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with('-')) {
            let is_beside = line.trim().contains("  ");
            let is_below = lines.get(at + 1).is_some_and(|next| next.starts_with("          "));
            assert!(is_beside || is_below, "{command} does not explain {line}");
        }
    }
    let listed = top.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let listed = listed.filter_map(|line| line.split_whitespace().next()).filter(|command| *command != "help");
    for command in listed {
        assert!(COMMANDS.split(", ").any(|known| known == command), "{command} is tested, too");
    }
    let version = stdout(&trial.run(&["--version"]));
    assert_eq!(version.trim(), format!("linkgate {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_completion_script_knows_every_command() {
    let trial = Trial::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&trial.run(&["completions", shell]));
        for word in COMMANDS.split(", ").flat_map(str::split_whitespace) {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let linkgate = Builder::new().prepare();
    for arguments in ["completions bash", "openapi", "--help", "keys list", "mint a.jpg", "check --json"] {
        let mut command = linkgate.command(&split(arguments));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments}: {output:?}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let trial = Trial::new();
    for arguments in [
        "",
        "download",
        "serve --mdeia x",
        "serve --listen nowhere",
        "mint",
        "mint a --expires-in soon",
        "mint a --expires-in 1h --expires-at 2099-01-01T00:00:00Z",
        "mint a --disposition both",
        "revoke",
        "revoke --everything --subject user-42",
        "revoke --everything --whenever --issued-before 2099-01-01T00:00:00Z",
        "keys retire one",
        "clients add x",
        "clients add x --role king",
        "completions basic",
        "check --config absent.toml",
    ] {
        let output = trial.run(&split(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(stdout(&output).is_empty() && !output.stderr.is_empty(), "{arguments}: {output:?}");
    }
}

#[test]
fn no_output_and_no_log_holds_a_secret() {
    let mut linkgate = Builder::new().section("[log]\nlevel = \"trace\"").start();
    linkgate.file("cat.jpg", PICTURE);
    linkgate.file("geheim.jpg", PICTURE);
    let link = linkgate.mint(&json!({ "path": "geheim.jpg", "subject": "user-42" }));
    let token = link["token"].as_str().unwrap();
    let mut said = String::new();
    for arguments in [
        &["inspect", token][..],
        &["revoke", token],
        &["revoke", &token[1..]],
        &["revocations"],
        &["keys", "new"],
        &["keys", "activate", "2"],
        &["keys", "list"],
        &["clients", "list"],
        &["check"],
        &["clients", "remove", &linkgate.mint_key],
        &["mint", "cat.jpg", "--server", "http://127.0.0.1:1"],
    ] {
        let mut command = linkgate.command(arguments);
        let output = command.env("LINKGATE_API_KEY", &linkgate.admin_key).output().unwrap();
        let echoed = arguments.contains(&linkgate.mint_key.as_str());
        said += &if echoed { String::new() } else { stdout(&output) + &stderr(&output) };
    }
    assert_eq!(linkgate.get(&path_of(&link)).status, 410);
    linkgate.process.signal("HUP");
    linkgate.process.stop();
    let log = linkgate.log();
    let keys = std::fs::read_to_string(linkgate.data_dir().join("keys.toml")).unwrap();
    let secrets = keys.lines().filter_map(|line| line.strip_prefix("secret = \"")).map(|rest| rest.trim_matches('"'));
    let secrets: Vec<&str> =
        secrets.chain([&linkgate.admin_key[20..], &linkgate.mint_key[20..], &token[40..]]).collect();
    assert_eq!(secrets.len(), 5);
    for secret in secrets {
        assert!(!said.contains(secret), "{said}");
        assert!(!log.contains(secret), "{log}");
    }
    assert!(!log.contains("geheim"), "nor does a log hold a path: {log}");
    assert!(!log.contains('\u{1b}') && !said.contains('\u{1b}'), "colour belongs on a terminal");
}

const FILM_BYTES: usize = 8 << 20;

fn film() -> Vec<u8> {
    (0..FILM_BYTES).map(|at| (at % 251) as u8).collect()
}

/// Asks for a film and reads only its first byte.
fn begin_download(linkgate: &Linkgate) -> (UnixStream, Vec<u8>) {
    linkgate.file("film.mp4", &film());
    let link = linkgate.link("film.mp4");
    let mut stream = UnixStream::connect(linkgate.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {link} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut first = vec![0];
    stream.read_exact(&mut first).unwrap();
    (stream, first)
}

/// Tells it to stop and waits until nobody new gets in.
fn stop_listening(linkgate: &Linkgate) {
    linkgate.process.signal("TERM");
    eventually("new connections are refused", || UnixStream::connect(linkgate.socket()).is_err());
}

/// Its exit code, which must come sooner than the 30 s for which it would wait for requests under way.
fn ended(linkgate: &mut Linkgate) -> Option<i32> {
    let process = &mut linkgate.process.0;
    eventually("it has ended", || process.try_wait().unwrap().is_some());
    process.wait().unwrap().code()
}

#[test]
fn a_download_under_way_is_finished_before_the_process_ends() {
    let mut linkgate = Builder::new().start();
    let (mut stream, mut answer) = begin_download(&linkgate);
    stop_listening(&linkgate);
    let mut piece = vec![0; 1 << 20];
    for _ in 0..4 {
        let read = uninterrupted(|| stream.read(&mut piece)).unwrap();
        answer.extend(&piece[..read]);
        std::thread::sleep(Duration::from_millis(50));
        assert!(linkgate.process.0.try_wait().unwrap().is_none(), "it waits for a slow reader");
    }
    stream.read_to_end(&mut answer).unwrap();
    let answer = parse(&answer, "GET").expect("the download is whole");
    assert_eq!(answer.status, 200);
    assert!(answer.body == film());
    assert_eq!(ended(&mut linkgate), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut linkgate = Builder::new().start();
    let (_stream, _) = begin_download(&linkgate);
    stop_listening(&linkgate);
    assert!(linkgate.process.0.try_wait().unwrap().is_none(), "it waits for the download");
    linkgate.process.signal("TERM");
    assert_eq!(ended(&mut linkgate), Some(1));
}

#[test]
fn draining_ends_when_its_time_is_up() {
    let mut linkgate = Builder::new().section("[limits]\ndrain_timeout = \"300ms\"").start();
    let (_stream, _) = begin_download(&linkgate);
    linkgate.process.signal("TERM");
    assert_eq!(ended(&mut linkgate), Some(0));
    assert!(linkgate.log().contains("still under way"), "{}", linkgate.log());
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let mut linkgate = Builder::new().start();
    let mut idle = UnixStream::connect(linkgate.socket()).unwrap();
    write!(idle, "GET /livez HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    idle.read_exact(&mut [0]).unwrap();
    let _silent = UnixStream::connect(linkgate.socket()).unwrap();
    linkgate.process.signal("INT");
    assert_eq!(ended(&mut linkgate), Some(0));
}
