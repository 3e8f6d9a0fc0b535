//! What stands behind an answer of the server: is it the one that everybody writes to, and how old is what it says?
//!
//! | server | a beat is as old as |
//! | --- | --- |
//! | a master | the time since its read was asked for, and how long before its writing it was vouched for |
//! | a replica | the difference of this machine's wall clock and the beat's time: what is on its way here cannot be seen |
//! | one that does not tell, for want of the right to `ROLE` | as for a replica, less the smallest difference ever seen, within what clocks may differ |

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};

use super::connection::store_error;
use crate::clock::{Moment, UnixMillis};
use crate::revocation::StoreError;

/// What a server says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Master,
    Replica,
    /// It, or our user's rights, do not tell.
    Unknown,
}

/// How what is read from a server is dated.
#[derive(Debug)]
pub struct Footing {
    role: AtomicU8,
    /// The smallest difference seen between this machine's wall clock and the time of a beat, in milliseconds.
    least_lag: AtomicI64,
    /// How far two machines' clocks may differ.
    skew: Duration,
}

impl Footing {
    pub const fn new(skew: Duration) -> Self {
        Self { role: AtomicU8::new(Role::Unknown as u8), least_lag: AtomicI64::new(i64::MAX), skew }
    }

    /// The role of the server that is read from.
    pub fn role(&self) -> Role {
        [Role::Master, Role::Replica, Role::Unknown][usize::from(self.role.load(Ordering::Relaxed)).min(2)]
    }

    /// Finds out the role of the server at a connection.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn settle(&self, connection: &mut MultiplexedConnection) -> Result<(), StoreError> {
        let role = match role_command().query_async(connection).await {
            Ok(answer) => read_role(&answer),
            Err(error) if error.is_io_error() || error.is_timeout() => return Err(store_error(error)),
            // A server, or a user, that has no such command.
            Err(_) => Role::Unknown,
        };
        self.set_role(role);
        Ok(())
    }

    /// The server is this.
    pub fn set_role(&self, role: Role) {
        self.role.store(role as u8, Ordering::Relaxed);
    }

    /// When it was last certain that the server was the one everybody writes to: by a beat that was written at
    /// `written`, and vouches for the time until `vouched`, both by the store's clock. Everything written before
    /// `since` had been read by then.
    pub fn date(&self, since: Moment, written: UnixMillis, vouched: UnixMillis) -> Moment {
        let before_writing = written.since(vouched);
        since.minus(match self.role() {
            Role::Master => before_writing,
            Role::Replica | Role::Unknown => before_writing.max(self.age(since.wall, vouched)),
        })
    }

    /// How old a beat is that vouches for the time until `vouched`, by the wall clocks of both machines.
    pub fn age(&self, now: UnixMillis, vouched: UnixMillis) -> Duration {
        let lag = now.0 as i64 - vouched.0 as i64;
        let allowed = match self.role() {
            Role::Unknown => {
                let skew = self.skew.as_millis() as i64;
                self.least_lag.fetch_min(lag, Ordering::Relaxed).min(lag).clamp(-skew, skew)
            }
            Role::Master | Role::Replica => 0,
        };
        Duration::from_millis(u64::try_from(lag.saturating_sub(allowed)).unwrap_or_default())
    }
}

/// Asks a server for its role.
pub fn role_command() -> Cmd {
    redis::cmd("ROLE")
}

/// What a server answered to [`role_command`].
pub fn read_role(answer: &Value) -> Role {
    match answer {
        Value::Array(items) => match items.first() {
            Some(Value::BulkString(role)) if role == b"master" => Role::Master,
            Some(Value::BulkString(_)) => Role::Replica,
            _ => Role::Unknown,
        },
        _ => Role::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKEW: Duration = Duration::from_secs(4);
    const NOW: Moment = Moment { wall: UnixMillis(1_000_000), uptime: Duration::from_secs(500) };

    fn footing(role: Role) -> Footing {
        let footing = Footing::new(SKEW);
        footing.set_role(role);
        footing
    }

    #[test]
    fn a_beat_read_from_a_master_is_as_old_as_the_read_and_what_it_vouches_for() {
        let footing = footing(Role::Master);
        // The master's clock says what it likes: it is compared with itself alone.
        for ahead in [0, 90_000_000] {
            let written = UnixMillis(NOW.wall.0 + ahead);
            assert_eq!(footing.date(NOW, written, written), NOW);
            let late = footing.date(NOW, written, written.minus(Duration::from_secs(2)));
            assert_eq!(NOW.since(late), Duration::from_secs(2));
        }
    }

    #[test]
    fn a_beat_read_from_a_replica_is_as_old_as_its_time_says() {
        let footing = footing(Role::Replica);
        let vouched = NOW.wall.minus(Duration::from_secs(10));
        assert_eq!(NOW.since(footing.date(NOW, vouched, vouched)), Duration::from_secs(10));
        assert_eq!(footing.date(NOW, NOW.wall, NOW.wall), NOW);
        assert_eq!(footing.age(NOW.wall, NOW.wall.plus(SKEW)), Duration::ZERO, "a clock ahead makes nothing younger");
    }

    #[test]
    fn where_the_server_does_not_tell_clocks_may_differ_but_not_a_lag_grow() {
        let footing = footing(Role::Unknown);
        let lag = |seconds| footing.age(NOW.wall, NOW.wall.minus(Duration::from_secs(seconds)));
        assert_eq!(lag(3), Duration::ZERO, "it may be the clocks");
        assert_eq!(lag(5), Duration::from_secs(2), "the clocks differ by three seconds at most");
        assert_eq!(lag(1), Duration::ZERO);
        assert_eq!(lag(5), Duration::from_secs(4));
        let never_near = Footing::new(SKEW);
        assert_eq!(never_near.age(NOW.wall, NOW.wall.minus(SKEW * 3)), SKEW * 2, "more than clocks may differ");
    }

    #[test]
    fn a_server_says_what_it_is() {
        let says = |role: &str| Value::Array(vec![Value::BulkString(role.into()), Value::Int(0)]);
        assert_eq!(read_role(&says("master")), Role::Master);
        assert_eq!(read_role(&says("slave")), Role::Replica);
        assert_eq!(read_role(&says("sentinel")), Role::Replica, "nothing that we could write to");
        assert_eq!(read_role(&Value::Nil), Role::Unknown);
    }
}
