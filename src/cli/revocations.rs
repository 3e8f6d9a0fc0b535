//! `linkgate revoke`, `reinstate` and `revocations`.

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::api::Api;
use super::links::read_link;
use super::{Common, Failure, Outcome, Server};
use crate::config::Config;
use crate::process;
use crate::telemetry::say;

/// Take links back.
///
/// Exactly one of LINK, --id, --subject, --path, --path-prefix, --client, --key and --everything. It works
/// through --server, through a Linkgate that runs on the same data folder, or on the store itself.
#[derive(Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(
    ["link", "id", "subject", "path", "path_prefix", "client", "key", "everything"])))]
pub struct Revoke {
    /// The link or its token; `-` reads it from stdin.
    link: Option<String>,
    /// One link, by its token id.
    #[arg(long, value_name = "TOKEN_ID")]
    id: Option<String>,
    /// Every link of a subject issued until now.
    #[arg(long)]
    subject: Option<String>,
    /// Every link to a file.
    #[arg(long)]
    path: Option<String>,
    /// Every link to files below a folder; ends with `/`, and `/` is the whole collection.
    #[arg(long, value_name = "FOLDER/")]
    path_prefix: Option<String>,
    /// The collection of --path and --path-prefix.
    #[arg(long)]
    collection: Option<String>,
    /// Every link minted by a client until now.
    #[arg(long)]
    client: Option<String>,
    /// Every link signed with a key.
    #[arg(long, value_name = "KEY_ID")]
    key: Option<u32>,
    /// Every link issued until now.
    #[arg(long)]
    everything: bool,
    /// Only links issued before this time (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "whenever")]
    issued_before: Option<String>,
    /// Whenever the links were or will be issued: a block that stands until it is reinstated.
    #[arg(long)]
    whenever: bool,
    /// When the revocation ends by itself (RFC 3339).
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Why; shown in lists.
    #[arg(long)]
    reason: Option<String>,
    /// Wait up to this long until every verifier has applied it, and say who has: `5s`.
    #[arg(long, value_name = "SPAN")]
    wait: Option<String>,
    #[command(flatten)]
    server: Server,
}

impl Revoke {
    pub fn run(self, common: &Common) -> Outcome {
        let config = common.load_quietly()?;
        let mut body = Map::new();
        let texts = [
            ("id", &self.id),
            ("subject", &self.subject),
            ("path", &self.path),
            ("path_prefix", &self.path_prefix),
            ("collection", &self.collection),
            ("client", &self.client),
            ("expires_at", &self.expires_at),
            ("reason", &self.reason),
            ("issued_before", &self.issued_before),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                body.insert(name.to_owned(), json!(text));
            }
        }
        if let Some(link) = self.link {
            body.insert("link".to_owned(), json!(read_link(Some(link))?));
        }
        if let Some(key) = self.key {
            body.insert("key".to_owned(), json!(key));
        }
        if self.everything {
            body.insert("everything".to_owned(), json!(true));
        }
        if self.whenever {
            body.insert("issued_before".to_owned(), Value::Null);
        }
        let path = match &self.wait {
            Some(wait) => format!("/v1/revocations?wait={}", encoded(wait)),
            None => "/v1/revocations".to_owned(),
        };
        let revocation = call(&self.server, &config, Method::POST, &path, Some(Value::Object(body)))?;
        common.output().print(&revocation, |revocation| text(&revocation["id"]))?;
        if common.json {
            return Ok(());
        }
        let durability = text(&revocation["durability"]);
        match &revocation["applied"] {
            Value::Object(applied) => {
                let number = |name: &str| applied.get(name).and_then(Value::as_u64).unwrap_or_default();
                let (verifiers, done) = (number("verifiers"), number("applied"));
                say(&format!(
                    "kept: {durability}; applied by {done} of {verifiers} verifiers, the slowest after {} ms",
                    number("slowest_ms")
                ));
                let missing = applied.get("missing").and_then(Value::as_array).into_iter().flatten();
                let missing: Vec<_> = missing.map(text).collect();
                if !missing.is_empty() {
                    say(&format!("not applied by: {}", missing.join(", ")));
                    return Err(Failure::Answer(1));
                }
            }
            _ => say(&format!("kept: {durability}")),
        }
        Ok(())
    }
}

/// Lift a revocation; others that cover the same links go on biting.
#[derive(Args)]
pub struct Reinstate {
    /// The revocation's id, as `revoke` and `revocations` print it.
    id: String,
    #[command(flatten)]
    server: Server,
}

impl Reinstate {
    pub fn run(self, common: &Common) -> Outcome {
        let config = common.load_quietly()?;
        let path = format!("/v1/revocations/{}", encoded(&self.id));
        call(&self.server, &config, Method::DELETE, &path, None)?;
        common.output().print(&json!({ "reinstated": self.id }), |_| format!("reinstated {}", self.id))?;
        Ok(())
    }
}

/// List revocations, newest first.
#[derive(Args)]
pub struct Revocations {
    /// Only of this kind: link, id, subject, path, path_prefix, client, key, everything.
    #[arg(long)]
    kind: Option<String>,
    /// Only with this text in target, reason, creator or id.
    #[arg(long = "search", value_name = "TEXT")]
    text: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Where to go on: `next_cursor` of the JSON before.
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: Server,
}

impl Revocations {
    pub fn run(self, common: &Common) -> Outcome {
        let config = common.load_quietly()?;
        let mut path = format!("/v1/revocations?limit={}", self.limit);
        for (name, value) in [("kind", &self.kind), ("q", &self.text), ("cursor", &self.cursor)] {
            if let Some(value) = value {
                path.extend(["&", name, "=", &encoded(value)]);
            }
        }
        let page = call(&self.server, &config, Method::GET, &path, None)?;
        if common.json {
            common.output().print(&page, |_| String::new())?;
            return Ok(());
        }
        let rows = page["revocations"].as_array().cloned().unwrap_or_default();
        let heading = ["ID", "KIND", "TARGET", "CREATED", "BY", "ENDS", "REASON"];
        common.output().table("revocations", &rows, &heading, |row| {
            ["id", "kind", "target", "created_at", "created_by", "expires_at", "reason"]
                .iter()
                .map(|name| text(&row[*name]))
                .collect()
        })?;
        if let Some(cursor) = page["next_cursor"].as_str() {
            say(&format!("there are more: --cursor {cursor}"));
        }
        Ok(())
    }
}

pub fn call(
    server: &Server,
    config: &Config,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<Value> {
    process::runtime()?.block_on(async { Api::connect(server, config).await?.call(method, path, body).await })
}

pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Percent-encoded for a query or a path segment.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
