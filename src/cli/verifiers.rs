//! `linkgate verifiers`: the fleet, for a person who wants to know whether everybody has heard.

use clap::Args;
use http::Method;

use super::revocations::{call, text};
use super::{Common, Outcome, Server};
use crate::telemetry::say;

/// Every verifier that was heard of lately. BEHIND is how many writes it had not applied, LAG how old its revocations
/// were, when it last reported.
#[derive(Args)]
pub struct Verifiers {
    #[command(flatten)]
    server: Server,
}

impl Verifiers {
    pub fn run(self, common: &Common) -> Outcome {
        let config = common.load_quietly()?;
        let fleet = call(&self.server, &config, Method::GET, "/v1/verifiers", None)?;
        if common.json {
            common.output().print(&fleet, |_| String::new())?;
            return Ok(());
        }
        let rows = fleet["verifiers"].as_array().cloned().unwrap_or_default();
        let heading = ["ID", "VERSION", "STARTED", "LAST SEEN", "POSITION", "BEHIND", "LAG"];
        common.output().table("verifiers", &rows, &heading, |row| {
            let mut cells: Vec<String> =
                ["id", "version", "started_at", "last_seen", "position", "behind"].map(|name| text(&row[name])).into();
            cells.push(format!("{} ms", row["lag_ms"].as_u64().unwrap_or_default()));
            cells
        })?;
        if rows.is_empty() {
            say("no verifier has reported within the last seconds: does one run, and may it write to the store?");
        }
        Ok(())
    }
}
