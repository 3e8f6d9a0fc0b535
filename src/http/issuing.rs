//! Making links by what is revoked, whatever the call is that asks for them.

use super::state::AppState;
use crate::mint::{Awaits, Dates};
use crate::revocation::{RevocationView, StoreError};

/// Makes links. One that was revoked a moment ago counts as issued just past the cut-off, and no link is dated further
/// ahead than a revocation that comes after it would reach: so it waits until the store's time has come so far, mostly a
/// millisecond. A date further ahead than clocks differ is not waited for: such a link is refused.
///
/// # Errors
/// When the store had to be asked what is revoked and did not answer.
pub async fn issue<R: Awaits>(
    state: &AppState,
    make: impl Fn(&dyn RevocationView, Dates) -> R,
) -> Result<R, StoreError> {
    let skew = state.signing.bounds.skew();
    let patience = state.horizon_patience();
    let begun = state.clock.uptime();
    loop {
        let dates = state.dates();
        let result = state.consult(|view| make(view, dates)).await?;
        let left = patience.saturating_sub(state.clock.uptime().saturating_sub(begun));
        let Some(date) = result.awaits(dates.latest_issue.plus(left)) else { return Ok(result) };
        // What cannot be waited for is refused as it stands.
        match tokio::time::timeout(left, state.store.reach(date.minus(skew))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Ok(result),
        }
    }
}
