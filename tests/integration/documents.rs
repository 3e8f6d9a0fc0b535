//! The documents: every command of the README is run, in its order.
//!
//! The blocks are run as they stand, but for three things a test must do otherwise: ports that may be taken are
//! replaced by free ones, the folders `photos` and `demo` by ones of the test's own, and a block that stays in the
//! foreground (`<!-- run: serve -->`) is put into the background.

use std::process::{Command, Stdio};

use crate::support::linkgate::repository_file;
use crate::support::{Process, eventually, folder, free_port, repository};

struct Block {
    stays: bool,
    text: String,
}

/// The blocks marked to be run.
fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut rest = document;
    while let Some(at) = rest.find("<!-- run") {
        let (marker, after) = rest[at..].split_once("-->").unwrap();
        let (_, code) = after.split_once("```sh\n").unwrap();
        let (text, after) = code.split_once("\n```").unwrap();
        blocks.push(Block { stays: marker.contains("serve"), text: text.to_owned() });
        rest = after;
    }
    blocks
}

#[test]
fn every_command_block_of_the_readme_is_marked_to_be_run() {
    let readme = repository_file("README.md");
    let shown = readme.matches("```sh\n").count();
    // All but the one that runs the tests themselves.
    assert_eq!(blocks(&readme).len() + 1, shown);
    assert!(readme.contains("```sh\ntests/run\n```"));
}

#[test]
fn a_newcomer_who_follows_the_readme_gets_what_it_promises() {
    let readme = repository_file("README.md");
    let home = folder();
    let at = home.path().display();
    let ports: Vec<(&str, u16)> = ["8000", "8080", "8081", "8082", "6379"].map(|port| (port, free_port())).into();
    let adapt = |text: &str| {
        let text = text.replace("photos", &format!("{at}/photos")).replace("demo/", &format!("{at}/demo/"));
        let text = text.replace("cd demo", &format!("cd {at}/demo")).replace("--release", "--release --quiet");
        let text = ports.iter().fold(text, |text, (from, to)| {
            text.replace(&format!(":{from}"), &format!(":{to}"))
                .replace(&format!("--port {from}"), &format!("--port {to}"))
        });
        text.replace("redis-cli -p 6379", &format!("redis-cli -p {}", ports[4].1))
            .replace("*.conf\nsudo", &format!("*.conf\nsed -i 's/8000/{}/' example.conf\nsudo", ports[0].1))
    };
    let blocks = blocks(&readme);
    let (first, rest) = blocks.split_first().unwrap();
    assert!(first.stays);

    let bash = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]).current_dir(repository()).stdin(Stdio::null());
        command.env("LINKGATE_DATA_DIR", home.path().join("data")).env_remove("LINKGATE_CONFIG");
        for audience in ["DOWNLOAD", "API", "OPS"] {
            command.env(format!("LINKGATE_LISTEN__{audience}"), format!("127.0.0.1:{}", ports[1].1));
        }
        command
    };
    let printed = home.path().join("printed.txt");
    let serving = format!("{}\n", adapt(&first.text).replace("cargo run", "exec cargo run"));
    let mut server = Process::start(bash(&serving).stdout(std::fs::File::create(&printed).unwrap()));
    let printed = || std::fs::read_to_string(&printed).unwrap();
    // The release binary may have to be built first.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(900);
    while !printed().contains("/download/image/") {
        assert!(std::time::Instant::now() < end, "no link was printed: {}", printed());
        assert!(server.0.try_wait().unwrap().is_none(), "it ended: {}", printed());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let link = printed().split_whitespace().find(|word| word.contains("/download/image/")).unwrap().to_owned();
    let fetched = Command::new("curl").args(["-fsS", &link]).output().unwrap();
    assert_eq!(fetched.stdout, b"hello from behind the edge\n");

    // One shell for the rest, as a newcomer has one. curl saves into the folder it is in.
    let mut script = "command -v sudo >/dev/null || sudo() { \"$@\"; }\n".to_owned();
    for (number, block) in rest.iter().enumerate() {
        script += &adapt(&block.text)
            .replace("curl -fOJ", &format!("curl -fOJ --output-dir {at}"))
            .replace("&& cat 'a file.txt'", &format!("&& cat '{at}/a file.txt'"));
        script += &format!("\necho 'block {number} done'\n");
        if number == 1 {
            script += "unset ${!LINKGATE_*}\n";
        }
    }
    // Each tutorial's own configuration counts, not the variables that moved the first one.
    let output = bash(&script).output().unwrap();
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}\n{said}");
    server.signal("TERM");
    assert!(server.0.wait().unwrap().success());

    assert_eq!(std::fs::read(home.path().join("hello.txt")).unwrap(), b"hello from behind the edge\n");
    assert!(shown.contains("HTTP/1.1 410 Gone"), "{shown}");
    assert!(shown.contains("\"path\":\"hello.txt\""), "{shown}");
    assert!(shown.contains("hidden behind nginx"), "{shown}");
    let statuses: Vec<&str> = shown.lines().filter(|line| line.len() == 3 && line.parse::<u16>().is_ok()).collect();
    assert_eq!(statuses, ["404", "410"], "{shown}");
    for number in 0..rest.len() {
        assert!(shown.contains(&format!("block {number} done")), "{shown}");
    }
    eventually("nothing is left running", || {
        let left = Command::new("pgrep").args(["-f", &format!("{at}/demo")]).output().unwrap().stdout;
        left.is_empty()
    });
}

#[test]
fn links_between_documents_lead_somewhere() {
    let documents = [
        "README.md",
        "docs/architecture.md",
        "docs/guide-backend.md",
        "docs/guide-mobile.md",
        "docs/token.md",
        "docs/nginx.md",
        "docs/http-api.md",
        "docs/configuration.md",
        "docs/deployment.md",
        "docs/performance.md",
        "docs/reliability.md",
        "docs/security.md",
    ];
    for document in documents {
        let text = repository_file(document);
        let folder = repository().join(document).parent().unwrap().to_owned();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(folder.join(target).exists(), "{document} links to {target}");
            }
        }
    }
}

/// A promise whose test is gone or renamed is nobody's promise.
#[test]
fn every_test_that_the_promises_name_is_there() {
    for (document, least) in [("docs/reliability.md", 30), ("docs/security.md", 30)] {
        let count = tests_named_in(document);
        assert!(count > least, "{document} names only {count} tests");
    }
}

/// How many tests a document names; each of them is there.
fn tests_named_in(document: &str) -> usize {
    let text = repository_file(document);
    let names = text.split('`').filter(|word| word.contains("::") && !word.contains(' ') && !word.ends_with("::"));
    let mut count = 0;
    for name in names {
        let (module, test) = name.rsplit_once("::").unwrap();
        let path = format!("tests/integration/{}", module.replace("::", "/"));
        let source = [format!("{path}.rs"), format!("{path}/mod.rs")]
            .iter()
            .find_map(|file| std::fs::read_to_string(repository().join(file)).ok())
            .unwrap_or_else(|| panic!("{name}: there is no such file"));
        // With a parameter where it runs in several settings.
        assert!(source.contains(&format!("fn {test}(")), "{name} is not there");
        count += 1;
    }
    count
}
