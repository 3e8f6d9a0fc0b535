//! Who calls the API, and whether the role fits.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::problem::{Problem, ProblemKind};
use super::state::AppState;
use crate::clients::{Client, Role, is_api_key};
use crate::identity::{Login, LoginRefusal};

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

    /// Tells callers apart whose requests have nothing to do with each other: the client, and whose login it is.
    pub fn identity(&self) -> (&str, Option<&str>) {
        (&self.0.name, self.0.policy.subject.as_deref())
    }
}

impl FromRequestParts<Arc<AppState>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AppState>) -> Result<Self, Problem> {
        if let Some(Assumed(Some(caller))) = parts.extensions.get::<Assumed>() {
            return Ok(caller.clone());
        }
        let takes_logins = state.logins.has_providers();
        let refuse = |detail: &str| Problem::new(ProblemKind::Unauthorized).detail(detail);
        let value = parts.headers.get(AUTHORIZATION).ok_or_else(|| {
            refuse(if takes_logins {
                "Send an API key or a login's JWT as `Authorization: Bearer …`."
            } else {
                "Send the API key as `Authorization: Bearer lgk_…`."
            })
        })?;
        let credential = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, credential)| credential.trim())
            .ok_or_else(|| refuse("The Authorization header must be `Bearer` and an API key."))?;
        if is_api_key(credential) || !takes_logins {
            return state
                .clients
                .authenticate(credential)
                .map(Self)
                .ok_or_else(|| refuse("The API key is not known here."));
        }
        let Login { provider, outcome } = state.logins.authenticate(credential).await;
        let name = provider.as_ref().map_or("", |provider| provider.config.name.as_str());
        state.metrics.logins.count(name, outcome.as_ref().map_or_else(LoginRefusal::name, |_| "accepted"));
        Ok(Self(outcome?))
    }
}

impl From<LoginRefusal> for Problem {
    fn from(refusal: LoginRefusal) -> Self {
        let detail = sentence(&refusal.to_string());
        match refusal {
            LoginRefusal::Jwt(_) => Self::new(ProblemKind::Unauthorized).invalid_token(&detail).detail(detail),
            LoginRefusal::Subject(unusable) => {
                Self::new(ProblemKind::OutsidePolicy).detail(detail).with("claim", unusable.claim.as_ref())
            }
            LoginRefusal::Unavailable => Self::new(ProblemKind::IdentityUnavailable).detail(detail),
        }
    }
}

/// The words of an error as a sentence.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).chain(['.']).collect()
}
