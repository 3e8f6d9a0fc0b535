//! The configuration: every error at once, with its place.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use linkgate::config::{Config, Overrides, SETTING_NAMES, StoreConfig};
use linkgate::http::listen::TrustedProxies;
use linkgate::revocation::redis::RedisConfig;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::linkgate::{Builder, Linkgate, repository_file};
use crate::support::redis::Redis;
use crate::support::{Process, binary, eventually, folder, free_port};

/// A folder with a configuration file and a key.
struct Trial(TempDir);

impl Trial {
    fn new(text: &str) -> Self {
        let trial = Self(folder());
        trial.write(text);
        trial
    }

    fn with_a_key(text: &str) -> Self {
        let trial = Self::new("");
        assert!(trial.run(&["keys", "new"], &[]).status.success());
        trial.write(text);
        trial
    }

    fn write(&self, text: &str) {
        std::fs::write(self.0.path().join("linkgate.toml"), text).unwrap();
    }

    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).env_clear().envs(environment.iter().copied());
        command.current_dir(self.0.path()).stdin(Stdio::null()).output().unwrap()
    }

    /// What `check` says about a configuration that is wrong.
    fn errors(&self, environment: &[(&str, &str)]) -> Vec<String> {
        let output = self.run(&["check"], environment);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        said.lines().map(|line| line.strip_prefix("error: ").unwrap().to_owned()).collect()
    }

    /// What `check` finds when the configuration is right.
    fn findings(&self, environment: &[(&str, &str)]) -> String {
        let output = self.run(&["check", "--json"], environment);
        assert_ne!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn parsed(text: &str, environment: &[(&str, &str)]) -> Config {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse("linkgate.toml", text, environment, &Overrides::default())
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

#[test]
fn every_error_of_a_file_is_reported_at_once_with_its_line() {
    let text = r#"
public_url = "dl.example.com"                   # wrong
speed = 3                                       # wrong
[listen]
download = "127.0.0.1"                          # wrong
api = 8081                                      # wrong
socket_mode = "rw-rw----"                       # wrong
trusted_proxies = ["the edge"]                  # wrong
[limits]
headers = 5                                     # wrong
drain_timeout = 30                              # wrong
[stor]                                          # wrong
url = "embedded"
[store]
url = "http://127.0.0.1:6379"                   # wrong
key_prefix = "a b"                              # wrong
[revocation]
max_staleness = "1s"                            # wrong
on_stale = "allow"                              # wrong
leeway = "1m"                                   # wrong
[collections.image]
root = "/var/www/media"
internal_prefix = "/media"                      # wrong
default_ttl = "1h30m"                           # wrong
disposition = "save"                            # wrong
dotfiles = "yes"                                # wrong
[collections.Film]                              # wrong
root = "/var/www/films"
[[clients]]                                     # wrong
name = "app"
roles = ["mint"]
[[clients]]
name = "backend"
roles = ["inspect"]
colour = "red"                                  # wrong
key_hashes = ["sha256:0dcbe9e61cb1c0dd0b0ae2a8e64c3f1c9e1a5a7c4c3cf4e4d2a5c0a9d1f2b3c4"]
[log]
level = "loud"                                  # wrong
format = ["json"]                               # wrong
"#;
    let wrong = text.lines().enumerate().filter(|(_, line)| line.ends_with("# wrong")).map(|(at, _)| at + 1);
    let errors = Trial::new(text).errors(&[]);
    let reported = errors.iter().filter_map(|error| error.strip_prefix("linkgate.toml:")?.split(':').next());
    let reported: BTreeSet<usize> = reported.map(|line| line.parse().unwrap()).collect();
    assert_eq!(reported, wrong.collect(), "{errors:#?}");
}

#[test]
fn an_error_names_the_setting_and_what_it_should_be() {
    let trial = Trial::new("");
    for (text, words) in [
        ("x = 1", "`x` is not a setting"),
        ("[store]\nurls = \"embedded\"", "`store.urls` is not a setting"),
        ("[collections.image]\nroots = \"/x\"", "`collections.image.roots` is not a setting"),
        ("[[clients]]\nname = \"a\"\nkey = \"x\"", "`clients.key` is not a setting"),
        ("store = \"embedded\"", "`store` must be a section: `[store]`"),
        ("[clients]\nname = \"a\"", "`clients` must be a list of sections: `[[clients]]`"),
        ("public_url = 5", "`public_url` must be text in quotes"),
        ("public_url = \"https://dl.example.com/?a=b\"", "URL without query"),
        ("[listen]\napi = \"unix:api.sock\"", "`listen.api` must be \"host:port\", \"unix:/path.sock\" or \"off\""),
        ("[listen]\ndownload = \"off\"\napi = \"off\"\nops = \"off\"", "nothing to serve"),
        ("[listen]\ndownload = \"unix:/run/edge.sock\"", "`public_url` must be set"),
        ("[limits]\nconnections = 0", "`limits.connections` must be a whole number from 1 to 1000000"),
        ("[limits]\nheader_timeout = \"30\"", "`limits.header_timeout` must be a span of time such as \"30s\""),
        ("[collections.image]\nedge = \"direct\"", "`collections.image.root` must be set"),
        ("[collections.image]\ninternal_prefix = \"/media\"", "must look like \"/media/\""),
        ("[collections.image]\ninternal_prefix = \"media/\"", "must look like \"/media/\""),
        ("[collections.image]\ninternal_prefix = \"/a/b/\"", "must look like \"/media/\""),
        ("[collections.image]\ndefault_ttl = \"2h\"\nmax_ttl = \"1h\"", "from \"1s\" to `max_ttl`"),
        ("[collections.image]\nmax_ttl = \"0s\"", "`collections.image.max_ttl` must be at least \"1s\""),
        ("data_dir = \"files/keys\"\n[collections.image]\nroot = \"files\"", "keys must not be downloadable"),
        ("[[clients]]\nroles = [\"mint\"]", "`clients.name` must be set"),
        ("[[clients]]\nname = \"a\"\nroles = [\"king\"]", "`clients.roles` may hold mint, inspect, revoke and admin"),
        ("[[clients]]\nname = \"a\"\nroles = [\"inspect\"]", "client `a`: a client needs at least one key hash"),
        ("[[clients]]\nname = \"a\"\nroles = [\"inspect\"]\nkey_hashes = [\"lgk_a_x\"]", "a key hash is \"sha256:\""),
        ("[[clients]]\nname = \"a\"\ncollections = [\"film\"]", "there is no collection `film`"),
        (
            "[[clients]]\nname = \"a\"\nrequire = [\"wings\"]",
            "`clients.require` may hold not_before, subject, filename",
        ),
        ("[[clients]]\nname = \"a\"\npermit = \"stable\"", "`clients.permit` must be a list of texts"),
        (
            "[[clients]]\nname = \"a\"\nroles = [\"inspect\"]\nrequire = [\"stable\"]\npermit = []",
            "`stable` is required and not permitted",
        ),
        (
            "[[clients]]\nname = \"a\"\nlinks_per_second = 0",
            "`clients.links_per_second` must be a whole number from 1 to 1000000",
        ),
        (
            "[[clients]]\nname = \"a\"\nroles = [\"inspect\"]\nsubject_links_burst = 5",
            "client `a`: `subject_links_burst` goes with `subject_links_per_second`",
        ),
        ("[[clients]]\nname = \"a\"\n[[clients]]\nname = \"a\"", "client `a`"),
        ("a = = 1", "linkgate.toml:1: "),
        ("x = \"no end", "linkgate.toml:1: "),
    ] {
        std::fs::create_dir_all(trial.0.path().join("files")).unwrap();
        trial.write(text);
        let errors = trial.errors(&[]);
        assert!(errors.iter().any(|error| error.contains(words)), "{text}: {errors:#?}");
    }
}

#[test]
fn one_mistake_is_one_error() {
    let trial = Trial::new("");
    for text in [
        "[[clients]]\nname = \"a\"\nroles = [\"king\"]",
        "[listen]\ndownload = \"8080\"",
        "public_url = \"dl.example.com\"\n[listen]\ndownload = \"unix:/run/edge.sock\"",
    ] {
        trial.write(text);
        let errors = trial.errors(&[]);
        assert_eq!(errors.len(), 1, "{errors:#?}");
    }
    trial.write("");
    let output = trial.run(&["serve", "--listen", "8080"], &[]);
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
}

#[test]
fn a_key_file_among_the_files_of_a_collection_is_refused() {
    let trial = Trial::new("[collections.image]\nroot = \"media\"\n[keys]\nfile = \"media/sub/keys.toml\"");
    std::fs::create_dir(trial.0.path().join("media")).unwrap();
    let errors = trial.errors(&[]);
    assert!(errors[0].contains("keys must not be downloadable"), "{errors:?}");
}

#[test]
fn two_collections_share_no_internal_location_unless_they_are_one_folder() {
    let trial = Trial::with_a_key("");
    let folder = trial.0.path();
    for name in ["one", "two", "one/below"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    std::os::unix::fs::symlink("one", folder.join("alias")).unwrap();
    let collections = |image: &str, docs: &str| {
        format!("[collections.image]\nedge = \"nginx\"\n{image}\n[collections.docs]\nedge = \"nginx\"\n{docs}\n")
    };
    for (image, docs, line) in [
        ("root = \"one\"", "root = \"two\"", 1),
        ("", "", 1),
        ("root = \"one\"", "", 1),
        ("root = \"one\"", "root = \"one/below\"", 1),
        ("root = \"absent\"", "root = \"missing\"", 1),
        ("internal_prefix = \"/media/\"", "root = \"two\"", 3),
        ("internal_prefix = \"/files/\"", "internal_prefix = \"/files/\"", 3),
    ] {
        trial.write(&collections(image, docs));
        let errors = trial.errors(&[]);
        assert_eq!(errors.len(), 1, "{errors:?}");
        let is_named =
            errors[0].starts_with(&format!("linkgate.toml:{line}: ")) && errors[0].contains("(linkgate.toml:");
        assert!(is_named && errors[0].contains("`docs`") && errors[0].contains("`image`"), "{errors:?}");
    }
    for (image, docs) in [
        ("root = \"one\"", "root = \"two\"\ninternal_prefix = \"/docs/\""),
        ("internal_prefix = \"/files/\"", ""),
        ("root = \"one\"", "root = \"one\""),
        ("root = \"one\"", "root = \"./one/\""),
        ("root = \"one\"", "root = \"alias\""),
        ("root = \"absent\"", "root = \"absent/\""),
        ("root = \"one/absent\"", "root = \"alias/absent\""),
    ] {
        trial.write(&collections(image, docs));
        trial.findings(&[]);
    }
    // Linkgate sends these itself, and knows whose they are.
    for docs in ["root = \"two\"", "edge = \"nginx\""] {
        trial.write(&format!("[collections.image]\nroot = \"one\"\n[collections.docs]\n{docs}"));
        trial.findings(&[]);
    }
    // A variable counts as the file does.
    trial.write(&collections("root = \"one\"", "root = \"two\"\ninternal_prefix = \"/docs/\""));
    for (name, value, is_good) in [
        ("LINKGATE_COLLECTIONS__DOCS__INTERNAL_PREFIX", "/media/", false),
        ("LINKGATE_COLLECTIONS__IMAGE__INTERNAL_PREFIX", "/docs/", false),
        ("LINKGATE_COLLECTIONS__DOCS__INTERNAL_PREFIX", "/images/", true),
    ] {
        if is_good {
            trial.findings(&[(name, value)]);
        } else {
            let errors = trial.errors(&[(name, value)]);
            assert!(errors.len() == 1 && errors[0].contains(name), "{errors:?}");
        }
    }
    // Three at once: each but the first is named.
    trial.write("[collections.a]\n[collections.b]\n[collections.c]\n");
    assert_eq!(trial.errors(&[]).len(), 2);
    // No other spelling leads to the same location, and none to where links lead.
    for prefix in
        ["/Media/", "/media", "media/", "/media/docs/", "//media/", "/media//", "/./media/", "/%6dedia/", "/download/"]
    {
        trial.write(&format!("[collections.image]\ninternal_prefix = \"{prefix}\""));
        assert!(trial.errors(&[])[0].contains("internal_prefix"), "{prefix}");
    }
}

#[test]
fn check_warns_of_files_with_two_names() {
    let trial = Trial::with_a_key("");
    std::fs::create_dir_all(trial.0.path().join("one/below")).unwrap();
    std::fs::create_dir(trial.0.path().join("onetwo")).unwrap();
    std::fs::create_dir(trial.0.path().join("one/below/deep")).unwrap();
    let warnings = |docs: &str| {
        trial.write(&format!("[collections.image]\nroot = \"one/below\"\n[collections.docs]\nroot = \"{docs}\""));
        trial.findings(&[]).matches("as well: revoking a path").count()
    };
    assert_eq!(["one/below/deep", "one/below", "./one/below/", "one", "onetwo"].map(warnings), [1, 1, 1, 1, 0]);
}

#[test]
fn check_warns_of_proxies_that_are_trusted_with_too_much_or_without_a_chosen_address_header() {
    let trial = Trial::with_a_key("");
    let warns = |listen: &str| {
        trial.write(&format!("[listen]\n{listen}"));
        trial.findings(&[]).contains("client_address_header")
    };
    assert!(warns("trusted_proxies = [\"10.0.0.0/8\"]"));
    assert!(warns("trusted_proxies = [\"unix\", \"127.0.0.1\"]"));
    for chosen in ["x-real-ip", "x-forwarded-for"] {
        assert!(!warns(&format!("trusted_proxies = [\"10.0.0.0/8\"]\nclient_address_header = \"{chosen}\"")));
    }
    assert!(!warns("") && !warns("trusted_proxies = [\"unix\"]"));
    let trusts_all = |proxies: &str| {
        trial.write(&format!("[listen]\ntrusted_proxies = [{proxies}]"));
        trial.findings(&[]).contains("everybody is in `trusted_proxies`")
    };
    assert!(trusts_all("\"0.0.0.0/0\"") && trusts_all("\"10.0.0.0/8\", \"::/0\""));
    for halves in [["0.0.0.0/1", "128.0.0.0/1"], ["::/1", "8000::/1"], ["0.0.0.0/2", "128.0.0.0/2"]] {
        assert!(trusts_all(&format!("{halves:?}").replace(['[', ']'], "")), "{halves:?}");
    }
    assert!(trusts_all("\"::ffff:0:0/96\"") && trusts_all("\"2000::/3\""));
    assert!(!trusts_all("\"unix\", \"10.0.0.0/8\"") && !trusts_all(""));
    for name in ["forwarded", "Forwarded"] {
        trial.write(&format!("[listen]\nclient_address_header = \"{name}\""));
        assert!(trial.errors(&[])[0].contains("client_address_header"), "{name}");
    }
}

#[test]
fn check_and_the_log_warn_of_a_unix_socket_that_every_user_may_open() {
    let trial = Trial::with_a_key("");
    let said = |listen: &str| {
        trial.write(&format!("public_url = \"http://localhost\"\n[listen]\n{listen}"));
        trial.findings(&[])
    };
    let socket = |mode: &str| format!("api = \"unix:/run/linkgate.sock\"\nsocket_mode = \"{mode}\"");
    let warns = |listen: &str| said(listen).contains("everybody on the machine may open the Unix sockets");
    for mode in ["0666", "0777", "0662", "0002"] {
        assert!(warns(&socket(mode)), "{mode}");
    }
    for mode in ["0660", "0600", "0664", "0775"] {
        assert!(!warns(&socket(mode)), "{mode}");
    }
    assert!(!warns("socket_mode = \"0666\""), "there is no Unix socket");
    let address = "say which address a client has";
    assert!(!said(&socket("0666")).contains(address));
    assert!(said(&format!("trusted_proxies = [\"unix\"]\n{}", socket("0666"))).contains(address));
    let open = Builder::new().environment("LINKGATE_LISTEN__SOCKET_MODE", "0666").start();
    eventually("it is in the log", || open.log().contains("everybody on the machine may open the Unix sockets"));
}

#[test]
fn a_variable_that_is_no_text_matters_only_when_it_is_ours() {
    use std::os::unix::ffi::OsStrExt;
    let trial = Trial::with_a_key("");
    let bytes = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let check = |name: &std::ffi::OsStr| {
        let mut command = Command::new(binary());
        command.arg("check").env_clear().env(name, bytes).current_dir(trial.0.path()).output().unwrap()
    };
    for name in [std::ffi::OsStr::new("OLD_LOCALE"), bytes, std::ffi::OsStr::new("LINKGATE_DB_ENV_GREETING")] {
        assert_eq!(check(name).status.code(), Some(0), "{:?}", check(name));
    }
    for name in ["LINKGATE_DATA_DIR", "LINKGATE_KEYS"] {
        let output = check(name.as_ref());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("error: {name}: is not UTF-8\n"));
    }
}

#[test]
fn what_is_planned_but_not_there_yet_says_so() {
    let trial = Trial::new("");
    for text in [
        "[collections.image]\nroot = \"/x\"\nedge = \"caddy\"",
        "[collections.image]\nroot = \"/x\"\nedge = \"x-sendfile\"",
    ] {
        trial.write(text);
        let errors = trial.errors(&[]);
        assert_eq!(errors.len(), 1, "{errors:?}");
        let wrong = text.lines().count();
        assert!(errors[0].starts_with(&format!("linkgate.toml:{wrong}: ")), "{errors:?}");
        assert!(errors[0].contains("yet"), "{errors:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let trial = Trial::new("");
    let folder = trial.0.path();
    std::fs::write(folder.join("latin1.toml"), b"public_url = \"http://\xe9\"").unwrap();
    std::fs::write(folder.join("huge.toml"), " ".repeat((1 << 20) + 1)).unwrap();
    for name in ["absent.toml", "latin1.toml", "huge.toml", "/"] {
        for environment in [&[][..], &[("LINKGATE_CONFIG", name)]] {
            let arguments = if environment.is_empty() { vec!["check", "--config", name] } else { vec!["check"] };
            let output = trial.run(&arguments, environment);
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.starts_with(&format!("error: {name}: ")), "{said}");
        }
    }
}

#[test]
fn the_command_line_counts_more_than_the_environment_and_that_more_than_the_file() {
    let trial = Trial::with_a_key("data_dir = \"file\"\npublic_url = \"http://file.test\"\n");
    let store = |arguments: &[&str], environment: &[(&str, &str)]| {
        let output = trial.run(&[&["check", "--json"], arguments].concat(), environment);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["findings"].as_array().unwrap().last().unwrap()["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(store(&[], &[]), "embedded, in file");
    assert_eq!(store(&[], &[("LINKGATE_DATA_DIR", "variable")]), "embedded, in variable");
    let both = store(&["--data-dir", "argument"], &[("LINKGATE_DATA_DIR", "variable")]);
    assert_eq!(both, "embedded, in argument");

    std::fs::write(trial.0.path().join("other.toml"), "data_dir = \"other\"").unwrap();
    assert_eq!(store(&[], &[("LINKGATE_CONFIG", "other.toml")]), "embedded, in other");
    let both = store(&["--config", "linkgate.toml"], &[("LINKGATE_CONFIG", "other.toml")]);
    assert_eq!(both, "embedded, in file");
    std::fs::remove_file(trial.0.path().join("linkgate.toml")).unwrap();
    assert_eq!(store(&[], &[]), "embedded, in linkgate-data", "without a file every default is in force");
}

#[test]
fn any_setting_can_be_set_by_a_variable() {
    let trial = Trial::with_a_key("");
    let redis = Redis::start();
    let findings = trial.findings(&[("LINKGATE_STORE__URL", &redis.url())]);
    assert!(findings.contains("Redis 7") || findings.contains("Redis 8"), "{findings}");

    let public_url = ("LINKGATE_PUBLIC_URL", "https://variable.test/links/");
    let shorter = ("LINKGATE_COLLECTIONS__IMAGE__MAX_TTL", "30m");
    let minted = trial.run(&["mint", "a.jpg"], &[public_url, shorter]);
    let link = String::from_utf8(minted.stdout).unwrap();
    assert!(link.starts_with("https://variable.test/links/download/image/"), "{link}");
    let refused = trial.run(&["mint", "a.jpg", "--expires-in", "31m"], &[public_url, shorter]);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("1800 seconds"));

    let text = "[collections.film]\nroot = \"/films\"\n[collections.image]\nroot = \"/images\"\n";
    let config = parsed(
        text,
        &[
            ("LINKGATE_COLLECTIONS__FILM__DOTFILES", "true"),
            ("LINKGATE_LIMITS__CONNECTIONS", "77"),
            ("LINKGATE_LISTEN__TRUSTED_PROXIES", "10.0.0.0/8, unix,"),
            ("LINKGATE_LISTEN__OPS", "off"),
            ("LINKGATE_STORE__URL", "rediss://cache.test/3"),
        ],
    );
    assert_eq!(config.limits.connections, 77);
    let proxies = TrustedProxies::parse(&["10.0.0.0/8".into(), "unix".into()]).unwrap();
    assert_eq!(config.listen.trusted_proxies, proxies);
    assert!(config.listen.ops.is_none() && config.listen.api.is_some());
    let url = "rediss://cache.test/3".into();
    assert_eq!(config.store, StoreConfig::Redis(Box::new(RedisConfig { url, ..RedisConfig::default() })));
    assert_eq!(config.collections["film"].dotfiles, linkgate::token::Dotfiles::Allowed);
    assert_eq!(config.collections["image"].dotfiles, linkgate::token::Dotfiles::Hidden);
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    let trial = Trial::new("[store]\nurl = \"embedded\"\n");
    for (variable, value, words) in [
        ("LINKGATE_SPEED", "3", "`speed` is not a setting"),
        ("LINKGATE_STORE_URL", "embedded", "`store_url` is not a setting"),
        ("LINKGATE_STORE__URL__X", "embedded", "`url` is not a section"),
        ("LINKGATE_STORE", "embedded", "`store` must be a section"),
        ("LINKGATE_COLLECTIONS__IMAGE__MAX_TTL", "soon", "`collections.image.max_ttl` must be a span"),
        ("LINKGATE_LIMITS__CONNECTIONS", "many", "`limits.connections` must be a whole number"),
        ("LINKGATE_LISTEN__TRUSTED_PROXIES", "unix,10.0.0.0/33", "`listen.trusted_proxies` may hold"),
        ("LINKGATE_CLIENTS__NAME", "app", "`clients` must be a list of sections"),
        ("LINKGATE_STORE__URL", "", "`store.url` must be \"embedded\""),
    ] {
        let errors = trial.errors(&[(variable, value)]);
        let is_named = |error: &String| error.starts_with(&format!("{variable}: ")) && error.contains(words);
        assert!(errors.iter().any(is_named), "{variable}: {errors:?}");
    }
    let both = trial.errors(&[("LINKGATE_SPEED", "3"), ("LINKGATE_LOG__LEVEL", "loud")]);
    assert_eq!(both.len(), 2, "{both:?}");
}

#[test]
fn variables_of_others_are_left_alone() {
    let trial = Trial::with_a_key("");
    let findings = trial.findings(&[
        ("LINKGATE_API_KEY", "lgk_app_x"),
        ("LINKGATE_SERVER", "http://127.0.0.1:1"),
        ("LINKGATES", "many"),
        ("PUBLIC_URL", "nonsense"),
    ]);
    assert!(!findings.contains("error"), "{findings}");
}

/// Kubernetes tells every pod of every service of its namespace, Docker every container of those it is linked to.
#[test]
fn a_service_beside_it_may_be_called_anything_that_begins_with_linkgate() {
    let trial = Trial::with_a_key("");
    for service in ["LINKGATE", "LINKGATE_API", "LINKGATE_EDGE", "LINKGATE_REDIS_MASTER", "LINKGATE_STORE"] {
        let variables = [
            ("SERVICE_HOST", "10.96.0.7"),
            ("SERVICE_PORT", "80"),
            ("SERVICE_PORT_TCP_REDIS", "6379"),
            ("PORT", "tcp://10.96.0.7:80"),
            ("PORT_80_TCP", "tcp://10.96.0.7:80"),
            ("PORT_80_TCP_PROTO", "tcp"),
            ("PORT_80_TCP_PORT", "80"),
            ("PORT_80_TCP_ADDR", "10.96.0.7"),
            ("PORT_53_UDP_ADDR", "10.96.0.7"),
            ("NAME", "/linkgate/linkgate-redis"),
            ("ENV_REDIS_VERSION", "7.0"),
        ]
        .map(|(rest, value)| (format!("{service}_{rest}"), value));
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let findings = trial.findings(&variables);
        assert!(!findings.contains("error"), "{service}: {findings}");
    }
    // What is a setting's name stays one, and what is nearly one is an error.
    let root = ("LINKGATE_COLLECTIONS__X_PORT_80_TCP__ROOT", "/x");
    assert!(parsed("", &[root]).collections.contains_key("x_port_80_tcp"));
    for (variable, value) in [
        ("LINKGATE_PORT", "8080"),
        ("LINKGATE_LISTEN_PORT", "8080"),
        ("LINKGATE_STORE__PORT", "6379"),
        ("LINKGATE_SERVICE_HOST", "dl.example.com"),
        ("LINKGATE_NAME", "app"),
        ("LINKGATE_LISTEN__API_PORT", "8080"),
    ] {
        let errors = trial.errors(&[(variable, value)]);
        assert!(errors.len() == 1 && errors[0].starts_with(&format!("{variable}: ")), "{variable}: {errors:?}");
    }
}

/// `serve` cannot start with these, and what `check` says of each. Where the file alone shows it, it is an error of the
/// configuration (2), otherwise one of the machine (1).
#[test]
fn check_refuses_every_address_that_serve_could_not_listen_on_or_that_no_link_could_start_with() {
    let trial = Trial::with_a_key("public_url = \"http://links.test\"\n");
    std::fs::write(trial.0.path().join("file"), "").unwrap();
    let folder = trial.0.path().display();
    let port = free_port();
    for (listen, code, words) in [
        (vec![("DOWNLOAD", format!("unix:/{}", "s".repeat(150)))], 2, "too long"),
        (vec![("OPS", format!("unix:/{}", "s".repeat(150)))], 2, "too long"),
        (vec![("API", "*:18080".into())], 2, "0.0.0.0"),
        (vec![("DOWNLOAD", "127.0.0.1:99999".into())], 2, "must be"),
        (vec![("DOWNLOAD", "no-such-host.invalid:80".into())], 1, "cannot listen on no-such-host.invalid:80"),
        (vec![("API", format!("192.0.2.1:{port}"))], 1, "cannot listen on 192.0.2.1"),
        (vec![("OPS", format!("unix:{folder}/none/a.sock"))], 1, "is no folder"),
        (vec![("OPS", format!("unix:{folder}/file"))], 1, "not a socket"),
        (vec![("OPS", format!("unix:{folder}/file/a.sock"))], 1, "cannot listen on"),
        (vec![("DOWNLOAD", format!("127.0.0.1:{port}")), ("API", format!("localhost:{port}"))], 1, "write both alike"),
        (vec![("DOWNLOAD", format!("0.0.0.0:{port}")), ("API", format!("127.0.0.1:{port}"))], 1, "write both alike"),
    ] {
        let variables: Vec<_> =
            listen.into_iter().map(|(name, value)| (format!("LINKGATE_LISTEN__{name}"), value)).collect();
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let checked = trial.run(&["check"], &variables);
        let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
        assert!(checked.status.code() == Some(code) && said.contains(words), "{variables:?}: {said}");
        let mut serve = Command::new(binary());
        serve.arg("serve").env_clear().envs(variables.iter().copied()).current_dir(trial.0.path());
        let mut process = Process::start(serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        eventually("it does not start either", || process.0.try_wait().unwrap().is_some());
        assert_eq!(process.0.wait().unwrap().code(), Some(code), "{variables:?}");
    }
    for data_dir in ["file", "file/data"] {
        let output = trial.run(&["check"], &[("LINKGATE_DATA_DIR", data_dir)]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("data folder"), "{output:?}");
    }
    // What is listened on already, by Linkgate most often, can be checked.
    let (tcp, socket) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), trial.0.path().join("a.sock"));
    let _unix = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let (tcp, unix) = (tcp.local_addr().unwrap().to_string(), format!("unix:{}", socket.display()));
    let output = trial.run(&["check"], &[("LINKGATE_LISTEN__DOWNLOAD", &tcp), ("LINKGATE_LISTEN__OPS", &unix)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn no_link_starts_with_a_wildcard_address_or_shows_a_password() {
    let trial = Trial::with_a_key("");
    for address in ["0.0.0.0:8080", "[::]:8080", "[::ffff:0.0.0.0]:8080", "0:8080", "0.0.0.0:0"] {
        let errors = trial.errors(&[("LINKGATE_LISTEN__DOWNLOAD", address)]);
        assert!(errors.len() == 1 && errors[0].contains("`public_url` must be set"), "{address}: {errors:?}");
        let known = ("LINKGATE_PUBLIC_URL", "http://links.test");
        parsed("", &[("LINKGATE_LISTEN__DOWNLOAD", address), known]);
        // Who makes no links needs to know nothing.
        parsed("", &[("LINKGATE_LISTEN__DOWNLOAD", address), ("LINKGATE_LISTEN__API", "off")]);
        let output = trial.run(&["serve", "--media", ".", "--listen", address], &[]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    // A port that is not known before it is bound is in no link that is made offline.
    let output = trial.run(&["mint", "a.jpg"], &[("LINKGATE_LISTEN__DOWNLOAD", "127.0.0.1:0")]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");

    for (url, words) in [
        ("https://me@dl.example.com", "user"),
        ("https://me:hunter2@dl.example.com", "password"),
        ("https://dl.example.com/?a=b", "without query"),
        ("https://dl.example.com/#top", "fragment"),
        ("https://dl.example.com:99999", "port"),
        ("http://0.0.0.0:8080", "every address"),
        ("http://*:8080", "every address"),
    ] {
        let errors = trial.errors(&[("LINKGATE_PUBLIC_URL", url)]);
        assert!(errors.len() == 1 && errors[0].contains(words), "{url}: {errors:?}");
        assert!(!errors[0].contains("hunter2"), "{errors:?}");
    }
}

#[test]
fn what_stands_behind_the_question_mark_of_the_store_s_url_is_known_or_an_error() {
    let trial = Trial::with_a_key("");
    let redis = Redis::start();
    for (url, words) in [
        (format!("{}?protocol=resp3", redis.url()), "RESP2"),
        (format!("{}?db=2", redis.url()), "the database stands in the path"),
        (format!("{}?family=6", redis.url()), "only `protocol`"),
        (format!("{}?ssl_cert_reqs=none", redis.url()), "only `protocol`"),
        (format!("{}#insecure", redis.url()), "%23"),
        ("rediss://h/0#insecure".into(), "%23"),
        ("redis-sentinel://h/main/0?sentinel_pasword=hunter2".into(), "`sentinel_password`"),
        ("redis-sentinel://h/main/0?sentinel_password=a&hunter2".into(), "`sentinel_password`"),
        ("redis-cluster://h?db=0".into(), "database 0"),
        ("redis+unix:///s?database=2".into(), "`db`, `user`, `pass`, `protocol`"),
    ] {
        let errors = trial.errors(&[("LINKGATE_STORE__URL", &url)]);
        assert!(errors.len() == 1 && errors[0].contains(words), "{url}: {errors:?}");
        assert!(!errors[0].contains("hunter2") && !errors[0].contains(&url), "{errors:?}");
    }
    for url in [redis.url(), format!("{}?", redis.url()), format!("{}?protocol=resp2", redis.url())] {
        let output = trial.run(&["check"], &[("LINKGATE_STORE__URL", &url)]);
        assert_eq!(output.status.code(), Some(0), "{url}: {output:?}");
    }
}

#[test]
fn an_origin_that_no_browser_sends_is_refused_with_the_reason() {
    let trial = Trial::with_a_key("");
    for (origin, words) in [
        ("https://*.example.com", "`*`"),
        ("https://a.example.com:443", "browsers leave out"),
        ("http://a.example.com:80", "browsers leave out"),
        ("https://A.example.com", "capitals"),
        ("https://a.example.com/", "slash"),
        ("https://a.example.com/app", "path"),
        ("https://a.example.com:99999", "port"),
        ("http://127.1:3000", "host"),
        ("null", "sandboxed"),
        ("*,https://a.example.com", "\"*\" alone"),
    ] {
        let errors = trial.errors(&[("LINKGATE_API__CORS_ORIGINS", origin)]);
        assert!(errors.len() == 1 && errors[0].contains(words), "{origin}: {errors:?}");
    }
}

#[test]
fn a_password_in_the_stores_address_is_never_shown() {
    let password = "hunter2hunter2";
    let trial = Trial::with_a_key("");
    for url in ["redis://app:PASSWORD@127.0.0.1:1/0", "rediss://:PASSWORD@127.0.0.1:1", "redis+unix:///x?pass=PASSWORD"]
    {
        let url = url.replace("PASSWORD", password);
        for arguments in [&["check"][..], &["check", "--json"], &["revocations"], &["clients", "list"]] {
            if arguments == ["revocations"] && !url.starts_with("redis://") {
                continue; // it waits five seconds for the store
            }
            let output = trial.run(arguments, &[("LINKGATE_STORE__URL", &url)]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(!format!("{output:?}").contains(password), "{output:?}");
        }
    }
    for text in [
        "redis://app:PASSWORD@[::1",
        "redis-sentinel://app:PASSWORD@h/0",
        "http://app:PASSWORD@h",
        "redis://h:PASSWORD",
    ] {
        let url = text.replace("PASSWORD", password);
        trial.write(&format!("[store]\nurl = \"{url}\"\n"));
        let said = format!("{:?}", trial.errors(&[]));
        assert!(said.contains("`store.url`") && !said.contains(password), "{said}");
        trial.write(&format!("[store]\nurl = \"{url}\n"));
        assert!(!format!("{:?}", trial.errors(&[])).contains(password));
        trial.write("");
        assert!(!format!("{:?}", trial.errors(&[("LINKGATE_STORE__URL", &url)])).contains(password));
    }
}

/// The text of a key file with such keys.
fn key_file(keys: &[(u32, &str, &str)]) -> String {
    let entry = |(id, state, secret): &(u32, &str, &str)| {
        let created = "2026-01-01T00:00:00Z";
        format!("[[key]]\nid = {id}\nstate = \"{state}\"\ncreated_at = \"{created}\"\nsecret = \"{secret}\"\n")
    };
    keys.iter().map(entry).collect()
}

/// Starts it although it cannot; answers what it says.
fn refused_start(linkgate: &Linkgate, environment: &[(&str, &str)]) -> String {
    let path = linkgate.folder.path().join("refused.txt");
    let log = std::fs::File::create(&path).unwrap();
    let mut command = linkgate.command(&["serve"]);
    let mut process = Process::start(command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(log));
    eventually("it refuses to start", || process.0.try_wait().unwrap().is_some());
    assert_eq!(process.0.wait().unwrap().code(), Some(1));
    std::fs::read_to_string(&path).unwrap()
}

#[test]
fn keys_that_are_missing_open_short_guessable_or_double_refuse_the_start() {
    let linkgate = Builder::new().prepare();
    let path = linkgate.data_dir().join("keys.toml");
    let random = |text: &str| URL_SAFE_NO_PAD.encode(Sha256::digest(text));
    let (one, two) = (random("one"), random("two"));
    let short = URL_SAFE_NO_PAD.encode(&Sha256::digest("one")[..31]);
    let (zeros, repeated) = (URL_SAFE_NO_PAD.encode([0; 32]), URL_SAFE_NO_PAD.encode([7; 48]));
    let published = random("linkgate test vector key 7");
    for (keys, words) in [
        (String::new(), "linkgate keys new"),
        (key_file(&[(1, "active", &short)]), "shorter than 32 bytes"),
        (key_file(&[(1, "active", "")]), "shorter than 32 bytes"),
        (key_file(&[(1, "active", &zeros)]), "not random"),
        (key_file(&[(1, "active", &repeated)]), "not random"),
        (key_file(&[(1, "active", &published)]), "published"),
        (key_file(&[(1, "active", &one), (2, "verifying", &published)]), "published"),
        (key_file(&[(1, "active", &one), (1, "verifying", &two)]), "used twice"),
        (key_file(&[(1, "active", &one), (2, "retired", &one)]), "same secret"),
        (key_file(&[(1, "active", &one), (2, "active", &two)]), "both active"),
        (key_file(&[(1, "verifying", &one)]), "no key is active"),
        (key_file(&[(1, "retired", &one)]), "no key is active"),
        (key_file(&[(0, "active", &one)]), "key id 0"),
        (key_file(&[(1, "asleep", &one)]), "not a key file"),
        (key_file(&[(1, "active", &format!("{one}="))]), "not base64url"),
        (key_file(&[(1, "active", &one)]) + "note = \"x\"", "not a key file"),
        (key_file(&[(1, "active", &one)]) + "\"", "not a key file"),
    ] {
        std::fs::write(&path, &keys).unwrap();
        for said in [refused_start(&linkgate, &[]), refused_start(&linkgate, &[("LINKGATE_KEYS", &keys)])] {
            assert!(said.contains(words), "{words}: {said}");
            for secret in [&one, &two, &published] {
                assert!(!said.contains(secret.as_str()), "{said}");
            }
        }
    }

    std::fs::write(&path, key_file(&[(1, "active", &one)])).unwrap();
    for mode in [0o644, 0o640, 0o604] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let said = refused_start(&linkgate, &[]);
        assert!(said.contains("can be read by others") && said.contains("chmod 600"), "{said}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(refused_start(&linkgate, &[]).contains("linkgate keys new"));
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(refused_start(&linkgate, &[]).contains("cannot be used"));
}

#[test]
fn keys_may_come_from_a_variable_or_from_a_file_elsewhere() {
    let linkgate = Builder::new().prepare();
    let file = linkgate.data_dir().join("keys.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let elsewhere = linkgate.folder.path().join("elsewhere.toml");
    std::fs::rename(&file, &elsewhere).unwrap();
    for (variable, value) in [("LINKGATE_KEYS", text.as_str()), ("LINKGATE_KEYS__FILE", elsewhere.to_str().unwrap())] {
        let output = linkgate.command(&["mint", "cat.jpg"]).env(variable, value).output().unwrap();
        assert!(output.status.success(), "{variable}: {output:?}");
    }
    let output = linkgate.command(&["keys", "new"]).env("LINKGATE_KEYS", &text).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("come from the environment"), "{output:?}");
}

#[test]
fn a_key_made_by_hand_as_the_reference_says_opens_the_api() {
    let reference = repository_file("docs/configuration.md");
    let script = block(&reference, "sh");
    let output = Command::new("sh").args(["-c", &format!("{script}printf '%s' \"$KEY\"")]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (hash, key) = printed.split_once("  -\n").unwrap();
    let client = "[[clients]]\nname = \"backend\"\nroles = [\"mint\"]\nallow = [\"users/*/**\"]\nmax_ttl = \"2h\"";
    let linkgate = Builder::new().section(&format!("{client}\nkey_hashes = [\"sha256:{hash}\"]")).start();
    let mint = |key: &str, wish: Value| linkgate.api_with(key, "POST", "/v1/links", &wish).status;
    assert_eq!(mint(key, json!({ "path": "users/42/cat.jpg" })), 201);
    assert_eq!(mint(key, json!({ "path": "other/42/cat.jpg" })), 403);
    assert_eq!(mint(key, json!({ "path": "users/42/cat.jpg", "expires_in": 7201 })), 400);
    assert_eq!(mint(&key.replace("backend", "admin"), json!({ "path": "users/42/cat.jpg" })), 401);
    let listed: Value = serde_json::from_str(&linkgate.succeed(&["clients", "list", "--json"])).unwrap();
    let clients = listed["clients"].as_array().unwrap();
    let backend = clients.iter().find(|client| client["name"] == "backend").unwrap();
    assert_eq!((&backend["kept"], &backend["policy"]["max_ttl"]), (&json!("configuration"), &json!(7200)));
}

/// One setting of the reference.
struct Row {
    name: String,
    default: String,
}

/// The settings that `docs/configuration.md` lists.
fn reference() -> Vec<Row> {
    let text = repository_file("docs/configuration.md");
    let (mut rows, mut section, mut is_table) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let name = heading.trim_matches(|letter| "`[]".contains(letter)).replace("NAME", "*");
            section = if heading.starts_with('`') { format!("{name}.") } else { String::new() };
        }
        is_table = line == "| setting | type | default | meaning |" || (is_table && line.starts_with('|'));
        if is_table && line.starts_with("| `") {
            let mut cells = line.split(" | ");
            let name = cells.next().unwrap().trim_start_matches("| ").trim_matches('`');
            rows.push(Row { name: format!("{section}{name}"), default: cells.nth(1).unwrap().to_owned() });
        }
    }
    rows
}

/// The first code block of a language.
fn block<'a>(document: &'a str, language: &str) -> &'a str {
    let after = document.split_once(&format!("```{language}\n")).unwrap().1;
    &after[..after.find("```").unwrap()]
}

#[test]
fn the_reference_names_every_setting_and_no_other() {
    let documented: Vec<String> = reference().into_iter().map(|row| row.name).collect();
    let mut missing: Vec<_> = SETTING_NAMES.iter().filter(|name| !documented.iter().any(|row| row == *name)).collect();
    let invented: Vec<_> = documented.iter().filter(|row| !SETTING_NAMES.contains(&row.as_str())).collect();
    missing.sort();
    assert!(missing.is_empty() && invented.is_empty(), "missing {missing:?}, invented {invented:?}");
    assert_eq!(documented.len(), SETTING_NAMES.len(), "none stands there twice");
}

#[test]
fn the_defaults_of_the_reference_are_those_in_force() {
    let compare = |base: &str, is_wanted: &dyn Fn(&str) -> bool| {
        let settings =
            reference().into_iter().filter(|row| is_wanted(&row.name)).filter_map(|Row { name, default }| {
                let value = default.strip_prefix('`')?.strip_suffix('`').filter(|value| !value.contains('`'))?;
                Some(format!("{} = {value}\n", name.replace('*', "image")))
            });
        let settings: Vec<String> = settings.collect();
        let written = parsed(&format!("{}{base}", settings.concat()), &[]);
        assert_eq!(format!("{written:?}"), format!("{:?}", parsed(base, &[])));
        settings.len()
    };
    // Those of a list of sections are compared where they are tested.
    let stands_alone = |name: &str| !name.starts_with("identity_providers.");
    assert!(compare("collections.image.root = \"/x\"\n", &stands_alone) >= 25);
    assert_eq!(compare("store.url = \"redis://h/0\"\n", &|name| name == "store.key_prefix"), 1);
}

#[test]
fn every_sample_can_be_used_as_it_stands() {
    parsed(block(&repository_file("docs/configuration.md"), "toml"), &[]);
    let shipped = parsed(&repository_file("deploy/linkgate.toml"), &[]);
    assert_eq!(shipped.collections.keys().collect::<Vec<_>>(), ["image"]);
    assert!(Path::new("/var/lib/linkgate") == shipped.data_dir);
}
