//! What is right and wrong with a Redis, for whoever runs it. Changes nothing: commands that would write are given
//! in a form that has no effect, to learn whether they are allowed.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError};

use super::connection::store_error;
use super::keys::SENTINEL;
use super::sentinels::Verdict;
use super::{COMMAND_TIMEOUT, Inner, scripts, snapshot};
use crate::revocation::StoreError;

/// The oldest version with everything that is used (ZMSCORE, ZADD GT, XADD MINID).
const OLDEST_VERSION: (u32, u32) = (6, 2);

/// With fewer Sentinels none may fail.
const FEWEST_SENTINELS: usize = 3;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Fine,
    Warning,
    Wrong,
}

/// One thing there is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub message: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, message: impl Into<String>) {
        self.0.push(Finding { severity, message: message.into() });
    }
}

/// Looks at everything.
pub async fn run(inner: &Inner) -> Result<Vec<Finding>, StoreError> {
    let mut connection = inner.topology.connect(COMMAND_TIMEOUT).await?.connection;
    redis::cmd("PING").exec_async(&mut connection).await.map_err(store_error)?;
    let mut findings = Findings::default();
    let info: String = redis::cmd("INFO").query_async(&mut connection).await.unwrap_or_default();
    let info = Info(&info);
    version(&info, &mut findings);
    role(&info, inner.min_replicas, &mut findings);
    sentinels(inner, &mut connection, &mut findings).await?;
    memory(&info, &mut findings);
    persistence(&info, &mut connection, &mut findings).await;
    rights(inner, &mut connection, &mut findings).await;
    contents(inner, &mut connection, &mut findings).await;
    Ok(findings.0)
}

struct Info<'i>(&'i str);

impl Info<'_> {
    /// A field's value; empty when the server does not tell.
    fn field(&self, name: &str) -> &str {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().trim()
    }
}

fn version(info: &Info<'_>, findings: &mut Findings) {
    let version = info.field("redis_version");
    let own = info.field("valkey_version");
    if !own.is_empty() {
        return findings.add(Severity::Fine, format!("Valkey {own} answers"));
    }
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let known = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version.is_empty() {
        findings.add(
            Severity::Warning,
            "it answers, but its user may not ask INFO: nothing is known of its settings, and links that were revoked a \
             moment ago are minted late",
        );
    } else if known < OLDEST_VERSION {
        let (major, minor) = OLDEST_VERSION;
        findings.add(Severity::Wrong, format!("Redis {version} is too old: {major}.{minor} or newer is needed"));
    } else {
        findings.add(Severity::Fine, format!("Redis {version} answers"));
    }
}

fn role(info: &Info<'_>, min_replicas: u32, findings: &mut Findings) {
    if info.field("role") == "slave" {
        let link = info.field("master_link_status");
        let message = format!(
            "this Redis is a replica (link to its master: {link}): nothing can be revoked here; point `store.url` at \
             the master, or at the Sentinels"
        );
        return findings.add(Severity::Wrong, message);
    }
    let replicas: u32 = info.field("connected_slaves").parse().unwrap_or(0);
    if replicas < min_replicas {
        findings.add(
            Severity::Wrong,
            format!("`store.min_replicas` is {min_replicas}, but {replicas} are connected: no revocation can be safe"),
        );
    } else if replicas > 0 {
        findings.add(Severity::Fine, format!("it is the master of {replicas} replicas"));
    }
}

/// Behind Sentinels: whether a master that is cut off stops being believed, and stops taking revocations.
async fn sentinels(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let Some(Verdict { known, agreed, .. }) = inner.topology.verdict().await? else { return Ok(()) };
    findings.add(Severity::Fine, format!("{agreed} of {known} Sentinels, a majority, name it as the master"));
    if known < FEWEST_SENTINELS {
        let message = format!(
            "{known} of the {FEWEST_SENTINELS} Sentinels that a failover should have: without a majority of them links \
             cannot be judged"
        );
        findings.add(Severity::Warning, message);
    }
    let mut ask = redis::cmd("CONFIG");
    ask.arg("GET").arg("min-replicas-to-write");
    let least: Vec<String> = ask.query_async(connection).await.unwrap_or_default();
    match least.get(1).map(String::as_str) {
        None => findings.add(Severity::Warning, "its user may not ask for `min-replicas-to-write`: it should be 1"),
        Some("0") => findings.add(
            Severity::Wrong,
            "`min-replicas-to-write` is 0: a master that is cut off takes revocations that a failover loses; set it to 1, \
             and `min-replicas-max-lag` to 10 or less",
        ),
        Some(_) => findings.add(Severity::Fine, "a master that is cut off from its replicas takes no revocation"),
    }
    Ok(())
}

fn memory(info: &Info<'_>, findings: &mut Findings) {
    let policy = info.field("maxmemory_policy");
    let most = info.field("maxmemory").parse().unwrap_or(0_u64);
    let used = info.field("used_memory").parse().unwrap_or(0_u64);
    if !policy.is_empty() && policy != "noeviction" {
        // Without a limit nothing is ever evicted; our keys have no time to live, save for counts of downloads.
        let bites = most > 0 && policy.starts_with("allkeys");
        let severity = if bites { Severity::Wrong } else { Severity::Warning };
        findings.add(
            severity,
            format!("`maxmemory-policy {policy}` may drop revocations or counts of downloads: set it to noeviction"),
        );
    }
    if most > 0 && used > most / 10 * 9 {
        findings.add(Severity::Warning, format!("{} of 100 % of maxmemory are used", used * 100 / most));
    }
}

async fn persistence(info: &Info<'_>, connection: &mut MultiplexedConnection, findings: &mut Findings) {
    let mut ask = redis::cmd("CONFIG");
    ask.arg("GET").arg("appendfsync");
    let sync: Vec<String> = ask.query_async(connection).await.unwrap_or_default();
    match (info.field("aof_enabled"), sync.get(1).map(String::as_str)) {
        ("0", _) => findings.add(
            Severity::Warning,
            "persistence is off: set `appendonly yes`, or a restart loses revocations that no running verifier knows",
        ),
        ("1", Some("always")) => findings.add(Severity::Fine, "every write is on disk before it is answered"),
        ("1", Some("no")) => {
            findings.add(Severity::Warning, "`appendfsync no`: the system decides when writes reach the disk");
        }
        ("1", _) => findings.add(Severity::Fine, "writes reach the disk within a second"),
        _ => {}
    }
    if info.field("aof_last_write_status") == "err" || info.field("rdb_last_bgsave_status") == "err" {
        findings.add(Severity::Wrong, "the last write to disk failed: see the server's log");
    }
}

/// Commands that judging needs, and commands that revoking needs on top, in forms without effect.
fn commands(inner: &Inner) -> ([Cmd; 5], [Cmd; 10]) {
    let keys = &inner.keys;
    let command = |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command
    };
    let judging = [
        command(&["HMGET", keys.meta(), "e"]),
        command(&["ZRANGE", keys.cut_offs(), "1", "0"]),
        command(&["ZSCAN", keys.cut_offs(), "0"]),
        command(&["ZMSCORE", keys.links(), SENTINEL]),
        command(&["XREAD", "COUNT", "1", "STREAMS", keys.stream(), "$"]),
    ];
    let revoking = [
        command(&["TIME"]),
        command(&["EVALSHA", scripts::REVOKE.get_hash(), "0"]),
        command(&["SCRIPT", "LOAD", "return 1"]),
        command(&["ZADD", keys.links(), "XX", "0", ""]),
        command(&["ZREM", keys.links(), ""]),
        command(&["ZREVRANGEBYLEX", keys.links(), "-", "-"]),
        command(&["HDEL", keys.records(), ""]),
        command(&["HINCRBY", keys.meta(), "n", "0.5"]),
        command(&["XADD", keys.stream(), "NOMKSTREAM", "0-0", "p", "0"]),
        command(&["PEXPIREAT", keys.fleet(), "x"]),
    ];
    (judging, revoking)
}

async fn rights(inner: &Inner, connection: &mut MultiplexedConnection, findings: &mut Findings) {
    let (judging, revoking) = commands(inner);
    let missing = refused(connection, &judging).await;
    if !missing.is_empty() {
        findings.add(
            Severity::Wrong,
            format!("the user may not {missing}, which judging links needs: see the rights in docs/deployment.md"),
        );
    }
    let missing = refused(connection, &revoking).await;
    if missing.is_empty() {
        findings.add(Severity::Fine, "the user may read and write what Linkgate needs");
    } else {
        findings.add(
            Severity::Warning,
            format!("the user may not {missing}: links can be judged through it, nothing can be revoked"),
        );
    }
}

/// The names of those commands that the user may not give.
async fn refused(connection: &mut MultiplexedConnection, commands: &[Cmd]) -> String {
    let mut names: Vec<String> = Vec::new();
    for command in commands {
        let answer: Result<redis::Value, RedisError> = command.query_async(connection).await;
        if let Err(error) = answer
            && matches!(store_error(error), StoreError::Forbidden(_))
            && let Some(redis::Arg::Simple(name)) = command.args_iter().next()
        {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    names.join(", ")
}

async fn contents(inner: &Inner, connection: &mut MultiplexedConnection, findings: &mut Findings) {
    match snapshot::header(connection, &inner.keys).await {
        Ok(header) if header.whole => {
            let size = redis::pipe()
                .cmd("ZCARD")
                .arg(inner.keys.links())
                .cmd("ZCARD")
                .arg(inner.keys.cut_offs())
                .query_async(connection)
                .await;
            let (links, cut_offs): (u64, u64) = size.unwrap_or_default();
            let (links, cut_offs) = (links.saturating_sub(1), cut_offs.saturating_sub(1));
            findings.add(Severity::Fine, format!("it holds {links} revoked links and {cut_offs} cut-offs"));
            if header.standing == snapshot::Standing::Restoring {
                findings.add(Severity::Warning, "what it has lost is being written back right now");
            }
        }
        Ok(header) if header.epoch.is_none() && inner.memory.recall().is_none() => {
            findings.add(Severity::Fine, "not set up yet: the first `linkgate serve` does it");
        }
        Ok(_) => findings.add(
            Severity::Wrong,
            "it had been set up before and is empty or torn now: a running linkgate that remembers writes everything \
             back; where none runs, restore its data or say `linkgate store init --accept-loss`",
        ),
        Err(error) => findings.add(Severity::Wrong, error.to_string()),
    }
}
