//! `linkgate mint` and `linkgate inspect`.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::api::Api;
use super::{Common, Failure, Outcome, Server};
use crate::app;
use crate::clients::OPERATOR;
use crate::clock::{Clock, SystemClock};
use crate::mint::{Dates, MintRequest, Signing};
use crate::process;
use crate::revocation::Index;
use crate::span::parse_span;
use crate::token::{MAX_TOKEN_CHARS, MintPolicy};

/// Make a link.
///
/// Without --server the link is made here, with the key file: no revocation is looked at, so a link that a
/// standing revocation covers is made all the same, and refused when it is used.
#[derive(Args)]
pub struct Mint {
    /// The file's path below its collection's root.
    path: String,
    /// The collection.
    #[arg(long, default_value = "image")]
    collection: String,
    /// How long the link lives: 30s, 15m, 1h, 7d.
    #[arg(long, value_name = "SPAN", value_parser = span, conflicts_with = "expires_at")]
    expires_in: Option<Duration>,
    /// When the link ends (RFC 3339).
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// When the link begins (RFC 3339).
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Whom the link is for.
    #[arg(long)]
    subject: Option<String>,
    /// The name offered for saving.
    #[arg(long)]
    filename: Option<String>,
    /// Save or show.
    #[arg(long, value_parser = ["attachment", "inline"])]
    disposition: Option<String>,
    /// The media type.
    #[arg(long)]
    content_type: Option<String>,
    /// A network the link may be used from; may be given several times.
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// How many downloads it is good for.
    #[arg(long, value_name = "COUNT")]
    max_downloads: Option<u64>,
    /// How fast it may be downloaded, in bytes per second.
    #[arg(long, value_name = "BYTES")]
    rate_limit: Option<u64>,
    /// Make the same link for the same request, so that caches hit.
    #[arg(long)]
    stable: bool,
    /// The client that the link is made in the name of, when it is made here.
    #[arg(long, default_value = OPERATOR, conflicts_with = "server")]
    client: String,
    #[command(flatten)]
    server: Server,
}

/// A life in whole seconds, as the API takes it.
pub fn span(text: &str) -> Result<Duration, &'static str> {
    parse_span(text)
        .filter(|span| span.subsec_nanos() == 0)
        .ok_or("expected a span of time in whole seconds, such as 30s, 15m, 1h or 7d")
}

impl Mint {
    pub fn run(self, common: &Common) -> Outcome {
        let config = common.load_quietly()?;
        let body = self.body();
        let link = if self.server.server.is_some() {
            let call =
                async { Api::connect(&self.server, &config).await?.call(Method::POST, "/v1/links", Some(body)).await };
            process::runtime()?.block_on(call)?
        } else {
            let Some(public_url) = config.public_url(None) else {
                return Err(anyhow::anyhow!("set `public_url`: it is what links start with").into());
            };
            let signing = Signing {
                keyring: arc_swap::ArcSwap::from_pointee(app::read_keys(&config.key_source)?.keyring()?),
                collections: config.collections,
                public_url,
                bounds: config.bounds,
            };
            let request: MintRequest = serde_json::from_value(body)?;
            let policy = MintPolicy::unbounded();
            let dates = Dates::at(SystemClock::new().now().wall);
            let link =
                Index::default().look(|nothing| signing.mint(&request, &self.client, &policy, nothing, dates))?;
            serde_json::to_value(link)?
        };
        common.output().print(&link, |link| link["url"].as_str().unwrap_or_default().to_owned())?;
        Ok(())
    }

    fn body(&self) -> Value {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        put("path", Some(json!(self.path)));
        put("collection", Some(json!(self.collection)));
        put("expires_in", self.expires_in.map(|span| json!(span.as_secs())));
        put("expires_at", self.expires_at.as_ref().map(|time| json!(time)));
        put("not_before", self.not_before.as_ref().map(|time| json!(time)));
        put("subject", self.subject.as_ref().map(|subject| json!(subject)));
        put("filename", self.filename.as_ref().map(|name| json!(name)));
        put("disposition", self.disposition.as_ref().map(|disposition| json!(disposition)));
        put("content_type", self.content_type.as_ref().map(|kind| json!(kind)));
        put("max_downloads", self.max_downloads.map(|count| json!(count)));
        put("rate_limit", self.rate_limit.map(|rate| json!(rate)));
        put("stable", self.stable.then(|| json!(true)));
        put("client_networks", (!self.networks.is_empty()).then(|| json!(self.networks)));
        Value::Object(body)
    }
}

/// Say what a link holds and how it would be judged now.
///
/// Exit code 0 when it is valid, 3 when it is not.
#[derive(Args)]
pub struct Inspect {
    /// The link or its token; `-` or nothing reads it from stdin.
    link: Option<String>,
    #[command(flatten)]
    server: Server,
}

impl Inspect {
    pub fn run(self, common: &Common) -> Outcome {
        let link = read_link(self.link)?;
        let config = common.load_quietly()?;
        let call = async {
            let api = Api::connect(&self.server, &config).await?;
            api.call(Method::POST, "/v1/links/inspect", Some(json!({ "link": link }))).await
        };
        let inspection = process::runtime()?.block_on(call)?;
        common.output().print(&inspection, describe)?;
        if inspection["valid"] == true { Ok(()) } else { Err(Failure::Answer(3)) }
    }
}

/// A line for each thing there is to say.
fn describe(inspection: &Value) -> String {
    fn plain(value: &Value) -> String {
        match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
            Value::Object(members) => {
                members.values().filter(|one| !one.is_null()).map(plain).collect::<Vec<_>>().join(" ")
            }
            other => other.to_string(),
        }
    }
    let fields = inspection.as_object().into_iter().flatten();
    let lines = fields.map(|(name, value)| format!("{name:<16}{}", plain(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// A link from the command line or, so that it does not show in the list of processes, from stdin.
pub fn read_link(argument: Option<String>) -> anyhow::Result<String> {
    let link = match argument {
        Some(link) if link != "-" => link,
        _ => {
            let mut link = String::new();
            let most = MAX_TOKEN_CHARS as u64 * 4;
            std::io::stdin().lock().take(most).read_to_string(&mut link).context("stdin cannot be read")?;
            link
        }
    };
    let link = link.trim().to_owned();
    if link.is_empty() {
        bail!("no link was given");
    }
    Ok(link)
}
