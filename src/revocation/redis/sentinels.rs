//! Which master the Sentinels name, as far as a majority of them agrees.
//!
//! One Sentinel may be cut off together with an old master and go on naming it. A majority cannot be: a failover needs
//! one as well (<https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>). So a master counts only when
//! more than half of all Sentinels name it: those of the URL, and those that they know of.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, RedisResult};

use super::connection::store_error;
use super::topology::{elsewhere, open};
use crate::revocation::StoreError;

/// How long one Sentinel may take.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(500);
/// Most Sentinels that are asked: far more than anybody runs.
const MOST_SENTINELS: usize = 64;

/// Host and port of a server.
pub type Address = (String, u16);

/// The Sentinels that watch one master.
pub struct Sentinels {
    /// Those of the URL.
    pub seeds: Vec<ConnectionInfo>,
    /// What they call it.
    pub master: String,
    /// Connections that are kept for the next question, by host and port.
    kept: Mutex<HashMap<String, MultiplexedConnection>>,
    /// Those that the seeds named when they were last asked.
    others: Mutex<Vec<Address>>,
}

/// What one Sentinel says.
struct Vote {
    id: String,
    named: Option<Address>,
    others: Vec<Address>,
}

/// The same as it is answered: its id, the master, the other Sentinels.
type Reply = (RedisResult<String>, RedisResult<Option<Address>>, RedisResult<Vec<HashMap<String, String>>>);

/// What all together came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub master: Address,
    /// How many there are, and how many of them named it before enough had.
    pub known: usize,
    pub agreed: usize,
}

impl Sentinels {
    pub fn new(seeds: Vec<ConnectionInfo>, master: String) -> Self {
        Self { seeds, master, kept: Mutex::default(), others: Mutex::default() }
    }

    /// Asks until a majority names one master.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when there is no majority.
    pub async fn ask(&self) -> Result<Verdict, StoreError> {
        let mut asked: HashSet<String> = HashSet::new();
        let mut votes: HashMap<String, Option<Address>> = HashMap::new();
        let mut pending = FuturesUnordered::new();
        let mut known = 0;
        let mut last = None;
        let others = self.others.lock().clone();
        for info in self.seeds.iter().cloned().chain(others.iter().map(|at| self.at(at))) {
            if asked.insert(info.addr().to_string()) {
                pending.push(self.vote(info));
            }
        }
        while let Some(vote) = pending.next().await {
            let vote = match vote {
                Ok(vote) => vote,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            known = known.max(vote.others.len() + 1);
            for info in vote.others.iter().map(|at| self.at(at)) {
                if asked.len() < MOST_SENTINELS && asked.insert(info.addr().to_string()) {
                    pending.push(self.vote(info));
                }
            }
            if votes.is_empty() {
                *self.others.lock() = vote.others;
            }
            votes.insert(vote.id, vote.named);
            if let Some((master, agreed)) = majority(&votes, known) {
                return Ok(Verdict { master, known, agreed });
            }
        }
        Err(match last {
            Some(error) if votes.is_empty() => error,
            _ if votes.values().all(Option::is_none) => {
                StoreError::Failed(format!("the Sentinels know no master `{}`", self.master))
            }
            _ => StoreError::Unreachable(format!(
                "no majority of the Sentinels names a master: {} of {known} answered",
                votes.len()
            )),
        })
    }

    fn at(&self, (host, port): &Address) -> ConnectionInfo {
        elsewhere(&self.seeds[0], host, *port)
    }

    /// Asks one, over the connection that is kept for it or over a new one.
    async fn vote(&self, info: ConnectionInfo) -> Result<Vote, StoreError> {
        let name = info.addr().to_string();
        let asking = async {
            let kept = self.kept.lock().get(&name).cloned();
            if let Some(mut connection) = kept {
                match self.question(&mut connection).await {
                    Err(error) if error.is_absence() => self.kept.lock().remove(&name),
                    answered => return answered,
                };
            }
            let mut connection = open(&info, SENTINEL_TIMEOUT).await?;
            let vote = self.question(&mut connection).await?;
            self.kept.lock().insert(name.clone(), connection);
            Ok(vote)
        };
        match tokio::time::timeout(SENTINEL_TIMEOUT, asking).await {
            Ok(answered) => answered,
            Err(_) => {
                self.kept.lock().remove(&name);
                Err(StoreError::TimedOut)
            }
        }
    }

    async fn question(&self, connection: &mut MultiplexedConnection) -> Result<Vote, StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("SENTINEL").arg("MYID");
        pipe.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        pipe.cmd("SENTINEL").arg("SENTINELS").arg(&self.master).ignore_errors();
        let (id, named, others): Reply = pipe.query_async(connection).await.map_err(store_error)?;
        let address = |one: &HashMap<String, String>| Some((one.get("ip")?.clone(), one.get("port")?.parse().ok()?));
        Ok(Vote {
            id: id.map_err(store_error)?,
            named: named.map_err(store_error)?,
            // A Sentinel that does not know the master says so here, too: it names none.
            others: others.unwrap_or_default().iter().filter_map(address).collect(),
        })
    }
}

/// The master that more than half of all Sentinels name, and how many do.
fn majority(votes: &HashMap<String, Option<Address>>, known: usize) -> Option<(Address, usize)> {
    let mut counts: HashMap<&Address, usize> = HashMap::new();
    votes.values().flatten().for_each(|named| *counts.entry(named).or_default() += 1);
    let (named, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count > known.max(votes.len()) / 2).then(|| (named.clone(), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_counts_only_when_more_than_half_of_all_sentinels_name_it() {
        let address = |port| Some((String::from("10.0.0.1"), port));
        for (named, known, expected) in [
            (vec![address(1)], 1, Some(1)),
            (vec![address(1)], 2, None),
            (vec![address(1)], 3, None),
            (vec![address(1), address(1)], 3, Some(1)),
            (vec![address(1), address(2)], 3, None),
            (vec![address(1), None], 2, None),
            (vec![address(1), address(1), address(2)], 3, Some(1)),
            (vec![address(1), address(1), address(2), address(2)], 5, None),
        ] {
            let votes = named.iter().enumerate().map(|(n, one)| (n.to_string(), one.clone())).collect();
            let master = majority(&votes, known).map(|((_, port), _)| port);
            assert_eq!(master, expected, "{named:?} of {known}");
        }
    }
}
