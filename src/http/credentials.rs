//! Who calls the API, and whether the role fits.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::problem::{Problem, ProblemKind};
use super::rates::Visit;
use super::state::AppState;
use crate::clients::{Client, Role};

/// Whoever calls.
#[derive(Clone, Debug)]
pub struct Caller(pub Arc<Client>);

/// Who everybody on a listener is taken for without a key: the operator's own socket, protected by its file mode.
#[derive(Clone, Debug)]
pub struct Assumed(pub Option<Caller>);

impl Caller {
    /// # Errors
    /// A problem that names the role that is missing.
    pub fn require(&self, role: Role) -> Result<&Client, Problem> {
        if self.0.may(role) {
            Ok(&self.0)
        } else {
            Err(Problem::new(ProblemKind::Forbidden)
                .detail(format!("The role `{}` is needed.", role.as_str()))
                .with("role", role.as_str()))
        }
    }
}

impl Caller {
    /// Tells callers apart whose requests have nothing to do with each other.
    pub fn identity(&self) -> &str {
        &self.0.name
    }
}

impl FromRequestParts<Arc<AppState>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AppState>) -> Result<Self, Problem> {
        if let Some(Assumed(Some(caller))) = parts.extensions.get::<Assumed>() {
            return Ok(caller.clone());
        }
        let visit = parts.extensions.get::<Visit>();
        if let Some(caller) = visit.and_then(Visit::caller) {
            // Not to be counted twice.
            return Ok(caller.clone());
        }
        let refuse = |detail: &str| Problem::new(ProblemKind::Unauthorized).detail(detail);
        let value = parts
            .headers
            .get(AUTHORIZATION)
            .ok_or_else(|| refuse("Send the API key as `Authorization: Bearer lgk_…`."))?;
        let key = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, key)| key.trim())
            .ok_or_else(|| refuse("The Authorization header must be `Bearer` and an API key."))?;
        let moment = state.clock.now();
        let client = state.clients.authenticate(key, moment.wall);
        let caller = client.map(Self).ok_or_else(|| refuse("The API key is not known here."))?;
        if let Some(visit) = visit {
            visit.of_caller(&caller);
        }
        state.limiter.admit_request(&caller.0, moment.uptime)?;
        Ok(caller)
    }
}
