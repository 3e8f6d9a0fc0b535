//! `linkgate clients`: on the store itself, and through a server.

use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::linkgate::{Builder, Linkgate};
use crate::support::redis::Redis;

/// How the commands reach the clients.
enum Way {
    Store,
    Server(String),
}

impl Way {
    fn run(&self, linkgate: &Linkgate, arguments: &[&str]) -> Output {
        let mut command = linkgate.command(arguments);
        if let Self::Server(server) = self {
            command.env("LINKGATE_SERVER", server).env("LINKGATE_API_KEY", &linkgate.admin_key);
        }
        command.output().unwrap()
    }

    fn json(&self, linkgate: &Linkgate, arguments: &[&str]) -> Value {
        let output = self.run(linkgate, &[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must not work; answers what it says.
    fn fails(&self, linkgate: &Linkgate, arguments: &[&str]) -> String {
        let output = self.run(linkgate, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{arguments:?}: {said}");
        said
    }
}

fn each_way(test: impl Fn(&Linkgate, &Way)) {
    let redis = Redis::start();
    for builder in [Builder::new(), Builder::new().redis(&redis.url())] {
        let linkgate = builder.environment("LINKGATE_LISTEN__API", "127.0.0.1:0").start();
        let log = linkgate.log();
        let address = log.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
        for way in [Way::Store, Way::Server(format!("http://{address}"))] {
            test(&linkgate, &way);
        }
    }
}

#[test]
fn both_ways_do_and_show_the_same() {
    each_way(|linkgate, way| {
        let add = ["clients", "add", "backend", "--role", "mint", "--allow", "users/**", "--require", "subject"];
        let added = way.json(linkgate, &[&add[..], &["--links-per-second", "50", "--max-ttl", "1h"]].concat());
        assert_eq!(added.as_object().unwrap().keys().collect::<Vec<_>>(), ["client", "key"]);
        assert!(added["key"].as_str().unwrap().starts_with("lgk_backend_"));

        let shown = way.json(linkgate, &["clients", "show", "backend"]);
        let policy = json!({ "allow": ["users/**"], "max_ttl": 3600, "require": ["subject"], "links_per_second": 50 });
        assert_eq!((&shown["policy"], &shown["roles"]), (&policy, &json!(["mint"])));
        assert_eq!(way.json(linkgate, &["clients", "policy", "backend"]), shown, "nothing given, nothing changed");
        assert!(!shown.to_string().contains("sha256"), "{shown}");

        let changed = way.json(
            linkgate,
            &["clients", "policy", "backend", "--links-per-second", "5", "--clear", "max_ttl", "--permit", "subject"],
        );
        let policy = json!({
            "allow": ["users/**"], "require": ["subject"], "permit": ["subject"], "links_per_second": 5 });
        assert_eq!((&changed["policy"], &changed["keys"]), (&policy, &shown["keys"]));
        let set = r#"{"require": null, "permit": [], "subject_links_per_second": 2}"#;
        let changed = way.json(linkgate, &["clients", "policy", "backend", "--set", set, "--role", "inspect"]);
        let policy =
            json!({ "allow": ["users/**"], "permit": [], "links_per_second": 5, "subject_links_per_second": 2 });
        assert_eq!((&changed["policy"], &changed["roles"]), (&policy, &json!(["inspect"])));
        let said = String::from_utf8(way.run(linkgate, &["clients", "policy", "backend"]).stdout).unwrap();
        for words in ["client", "backend", "users/**", "nothing", "last used -"] {
            assert!(said.contains(words), "{words}: {said}");
        }

        way.json(linkgate, &["clients", "rotate", "backend"]);
        let keys = way.json(linkgate, &["clients", "show", "backend"])["keys"].clone();
        assert_eq!(keys.as_array().unwrap().len(), 2);
        let id = keys[0]["id"].as_str().unwrap();
        let removed = way.json(linkgate, &["clients", "remove", "backend", "--key", id]);
        assert_eq!(removed, json!({ "removed": id, "client": "backend" }));
        assert_eq!(way.json(linkgate, &["clients", "show", "backend"])["keys"], json!([keys[1]]));

        let listed = way.json(linkgate, &["clients", "list"])["clients"].clone();
        assert_eq!(listed.as_array().unwrap().len(), 3);
        assert_eq!(way.json(linkgate, &["clients", "remove", "backend"]), json!({ "removed": "backend" }));
        for command in ["show", "policy", "rotate", "remove"] {
            assert!(way.fails(linkgate, &["clients", command, "backend"]).contains("no client"), "{command}");
        }
    });
}

#[test]
fn both_ways_refuse_the_same_in_words() {
    each_way(|linkgate, way| {
        let add = |more: &[&str]| {
            way.fails(linkgate, &[&["clients", "add", "x", "--role", "mint", "--allow", "**"], more].concat())
        };
        for (more, words) in [
            (&["--collection", "film"][..], "no collection film"),
            (&["--links-per-second", "0"], "`links_per_second` must be a whole number from 1 to 1000000"),
            (&["--links-burst", "5"], "`links_burst` goes with `links_per_second`"),
            (&["--require", "stable", "--permit", "subject"], "`stable` is required and not permitted"),
            (&["--max-ttl", "1h", "--default-ttl", "2h"], "max_ttl"),
            (&["--allow", "users/{name}"], "identity_providers"),
        ] {
            assert!(add(more).contains(words), "{more:?}: {}", add(more));
        }
        way.json(linkgate, &["clients", "add", "x", "--role", "mint", "--allow", "**"]);
        assert!(add(&[]).contains("already"));
        for (set, words) in [
            (r#"{"speed": 1}"#, "unknown field `speed`"),
            (r#"{"max_ttl": "1h"}"#, "invalid type"),
            (r#"{"allow": []}"#, "at least one pattern"),
        ] {
            let said = way.fails(linkgate, &["clients", "policy", "x", "--set", set]);
            assert!(said.contains(words), "{set}: {said}");
        }
        assert!(way.fails(linkgate, &["clients", "remove", "x", "--key", "abc"]).contains("no key of that id"));
        way.json(linkgate, &["clients", "remove", "x"]);
        for arguments in [
            &["clients", "policy", "x", "--set", "no json"][..],
            &["clients", "policy", "x", "--set", "[]"],
            &["clients", "policy", "x", "--require", "wings"],
            &["clients", "policy", "x", "--clear", "everything"],
            &["clients", "policy", "x", "--links-per-second", "many"],
        ] {
            assert_eq!(way.run(linkgate, arguments).status.code(), Some(2), "{arguments:?}");
        }
    });
}

#[test]
fn a_client_of_the_store_that_the_configuration_hides_is_shown_and_can_be_removed() {
    let section =
        format!("[[clients]]\nname = \"twin\"\nroles = [\"inspect\"]\nkey_hashes = [\"sha256:{}\"]", "0a".repeat(32));
    let linkgate = Builder::new().prepare();
    linkgate.succeed(&["clients", "add", "twin", "--role", "mint", "--allow", "**"]);
    let file = linkgate.folder.path().join("linkgate.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{before}\n{section}\n")).unwrap();
    let twins = || {
        let listed: Value = serde_json::from_str(&linkgate.succeed(&["clients", "list", "--json"])).unwrap();
        let clients = listed["clients"].as_array().unwrap().clone();
        clients.into_iter().filter(|client| client["name"] == "twin").collect::<Vec<_>>()
    };
    let [configured, stored] = twins().try_into().unwrap();
    assert_eq!((&configured["kept"], configured.get("shadowed")), (&json!("configuration"), None));
    assert_eq!((&stored["kept"], &stored["shadowed"]), (&json!("store"), &json!(true)));
    assert!(linkgate.succeed(&["clients", "list"]).contains("store, not in force"));
    for command in ["rotate", "remove"] {
        if command == "remove" {
            linkgate.succeed(&["clients", "remove", "twin"]);
        }
        let output = linkgate.run(&["clients", command, "twin"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("kept in the configuration"), "{said}");
    }
    assert_eq!(twins(), [configured]);
}

#[test]
fn changes_by_many_commands_at_once_are_all_kept() {
    let redis = Redis::start();
    for linkgate in [Builder::new().prepare(), Builder::new().redis(&redis.url()).prepare()] {
        linkgate.succeed(&["clients", "add", "x", "--role", "inspect"]);
        let mut children: Vec<_> = (0..8)
            .map(|_| linkgate.command(&["clients", "rotate", "x"]).stdout(Stdio::null()).spawn().unwrap())
            .collect();
        assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
        let shown: Value = serde_json::from_str(&linkgate.succeed(&["clients", "show", "x", "--json"])).unwrap();
        assert_eq!(shown["keys"].as_array().unwrap().len(), 9);
    }
}

#[test]
fn a_policy_that_is_changed_by_a_command_counts_on_a_running_server() {
    let linkgate = Builder::new().start();
    let key = linkgate.succeed(&["clients", "add", "x", "--role", "mint", "--allow", "a/**"]);
    let mint = || linkgate.api_with(&key, "POST", "/v1/links", &json!({ "path": "b/c" })).status;
    eventually("the client is known", || mint() == 403);
    linkgate.succeed(&["clients", "policy", "x", "--allow", "a/**", "--allow", "b/**"]);
    eventually("the new policy counts", || mint() == 201);
    linkgate.succeed(&["clients", "policy", "x", "--require", "max_downloads"]);
    eventually("and the next one", || mint() == 403);
}
