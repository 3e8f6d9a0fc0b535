//! When a login counts: `exp`, `nbf` and `iat`; pure.

use std::time::Duration;

use serde_json::Value;

use super::json::Object;
use super::jwt::JwtRefusal;
use crate::clock::UnixMillis;

/// The times of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    expires_at: UnixMillis,
    not_before: Option<UnixMillis>,
    issued_at: Option<UnixMillis>,
}

impl Times {
    /// # Errors
    /// When there is no end, or something is no time.
    pub fn parse(claims: &Object) -> Result<Self, JwtRefusal> {
        let time = |name: &'static str| match claims.get(name) {
            None => Ok(None),
            Some(value) => numeric_date(value).map(Some).ok_or(JwtRefusal::Time(name)),
        };
        Ok(Self {
            expires_at: time("exp")?.ok_or(JwtRefusal::NoExpiry)?,
            not_before: time("nbf")?,
            issued_at: time("iat")?,
        })
    }

    /// Judges by a time. The end has no leeway.
    ///
    /// # Errors
    /// When the login is over, or not begun.
    pub fn judge(&self, leeway: Duration, now: UnixMillis) -> Result<(), JwtRefusal> {
        if now >= self.expires_at {
            return Err(JwtRefusal::Expired(now.since(self.expires_at).as_secs()));
        }
        let ahead = |time: Option<UnixMillis>| {
            let time = time.filter(|time| *time > now.plus(leeway))?;
            Some(time.since(now).as_secs())
        };
        if let Some(seconds) = ahead(self.not_before) {
            return Err(JwtRefusal::NotYetValid(seconds));
        }
        if let Some(seconds) = ahead(self.issued_at) {
            return Err(JwtRefusal::IssuedInTheFuture(seconds));
        }
        Ok(())
    }
}

/// Seconds since 1970, with a fraction if need be (RFC 7519 §2), within the years that can be written.
fn numeric_date(value: &Value) -> Option<UnixMillis> {
    let millis = match value.as_u64() {
        Some(seconds) => seconds.checked_mul(1_000)?,
        None => {
            let millis = value.as_f64()? * 1_000.0;
            (0.0..=UnixMillis::MAX.0 as f64).contains(&millis).then_some(millis as u64)?
        }
    };
    (millis <= UnixMillis::MAX.0).then_some(UnixMillis(millis))
}
