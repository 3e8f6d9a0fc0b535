//! Limits of clients: refusing what comes too fast, and telling clients how much is left.
//!
//! `RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers-10: lists of quoted names with
//! parameters, `q` at most at once, `w` seconds until an empty quota is full, `r` left, `t` seconds until full.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::credentials::Caller;
use super::problem::{Problem, ProblemKind};
use super::state::AppState;
use crate::clients::{Client, Exceeded};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEVEL: HeaderName = HeaderName::from_static("ratelimit");

/// Who turned out to be behind a request: what the answer tells about limits depends on it.
#[derive(Clone, Default)]
pub struct Visit(Arc<Visitor>);

#[derive(Default)]
struct Visitor {
    caller: OnceLock<Caller>,
    subject: OnceLock<String>,
}

impl Visit {
    /// Whoever calls was let in before in the course of this request.
    pub fn caller(&self) -> Option<&Caller> {
        self.0.caller.get()
    }

    /// Whoever calls is known now.
    pub fn of_caller(&self, caller: &Caller) {
        let _ = self.0.caller.set(caller.clone());
    }

    /// The request is about links of one subject.
    pub fn for_subject(&self, subject: Option<&str>) {
        if let Some(subject) = subject {
            let _ = self.0.subject.set(subject.to_owned());
        }
    }

    /// Tells a client that has limits what they are and what is left.
    pub fn tell(&self, state: &AppState, headers: &mut HeaderMap) {
        let Some(Caller(client)) = self.caller().filter(|caller| !caller.0.rates.is_empty()) else { return };
        let policies = client.rates.iter().map(|(limit, quota)| {
            format!("\"{}\";q={};w={}", limit.as_str(), quota.burst(), whole_seconds(quota.window()))
        });
        let subject = self.0.subject.get().map(String::as_str);
        let levels = state.limiter.levels(client, subject, state.clock.uptime()).map(|(limit, level)| {
            format!("\"{}\";r={};t={}", limit.as_str(), level.left, whole_seconds(level.full_in))
        });
        let lists: [(_, Vec<String>); 2] = [(POLICY, policies.collect()), (LEVEL, levels.collect())];
        for (name, items) in lists.into_iter().filter(|(_, items)| !items.is_empty()) {
            if let Ok(value) = HeaderValue::try_from(items.join(", ")) {
                headers.insert(name, value);
            }
        }
    }
}

/// Whom a link is for: as asked, or the only one a login may ask for.
pub fn subject<'a>(client: &'a Client, asked: Option<&'a str>) -> Option<&'a str> {
    client.policy.subject.as_deref().or(asked)
}

/// Counts links that a client asks for, given whom each is for: all of them, or none.
pub fn admit_links<'a>(
    state: &AppState,
    client: &Client,
    subjects: impl Iterator<Item = Option<&'a str>>,
) -> Result<(), Problem> {
    Ok(state.limiter.admit_links(client, subjects, state.clock.uptime())?)
}

impl From<Exceeded> for Problem {
    fn from(exceeded: Exceeded) -> Self {
        match exceeded {
            Exceeded::Wait { limit, wait } => {
                let seconds = whole_seconds(wait).max(1);
                Self::new(ProblemKind::RateLimited)
                    .detail(format!(
                        "The client's `{}` is used up on this instance, so nothing was done. Ask again in {seconds} s.",
                        limit.rule()
                    ))
                    .with("rule", limit.rule())
                    .retry_after(seconds)
            }
            Exceeded::TooMany { limit, asked, most } => Self::new(ProblemKind::OutsidePolicy)
                .detail(format!(
                    "{asked} links at once are more than the {most} that the client's policy ever allows (`{}`), so \
                     none was made. Send smaller batches.",
                    limit.burst_rule()
                ))
                .with("rule", limit.burst_rule())
                .with("field", "links"),
        }
    }
}

/// Whole seconds, rounded up: whoever waits for them does not come too early.
fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
