//! Where histories happen: stores of every shape, and verifiers of every nature over them, all behind networks that
//! fail on demand.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{RwLock, RwLockReadGuard};

use super::checker::LEEWAY;
use super::events::Nature;
use super::random::Random;
use crate::support::clock::ShiftedClock;
use crate::support::linkgate::Builder;
use crate::support::proxy::{Network, Proxy};
use crate::support::redis::{LOGGED, Redis};
use crate::support::sentinels::Watched;
use crate::support::topology::Cluster;
use crate::support::{folder, free_port};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Single,
    Watched,
    Replica,
    Cluster,
    Embedded,
}

impl Shape {
    pub const ALL: [Self; 5] = [Self::Single, Self::Watched, Self::Replica, Self::Cluster, Self::Embedded];
}

pub enum Servers {
    Embedded,
    Single {
        redis: RwLock<Redis>,
        network: Proxy,
    },
    /// The replica hears of its master through the master's network.
    Replica {
        redis: RwLock<Redis>,
        _replica: Redis,
        networks: [Proxy; 2],
    },
    Watched(RwLock<Watched>),
    Cluster {
        cluster: RwLock<Cluster>,
        networks: Vec<Proxy>,
    },
}

pub struct Site {
    pub servers: Servers,
    /// The wall clock of the Redis that is written to.
    pub clock: ShiftedClock,
    pub members: Vec<Member>,
}

/// A verifier to be.
pub struct Member {
    url: Option<String>,
    lines: &'static str,
    pub nature: Nature,
    /// Whether its process may be ended: of those with an index one must remember.
    pub may_end: bool,
    pub clock: ShiftedClock,
    /// Where it connects from.
    pub address: IpAddr,
}

/// Clients that no store can lose.
pub const CLIENT_NAMES: [&str; 2] = ["app", "admin"];
const API_KEYS: [&str; 2] =
    ["lgk_app_CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk", "lgk_admin_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"];
const CLIENTS: &str = r#"
[[clients]]
name = "app"
roles = ["mint"]
allow = ["**"]
key_hashes = ["sha256:6b42e8917d351be4aa79f7916d750e8cd27c647b9d21c44926481b8e5959aca2"]

[[clients]]
name = "admin"
roles = ["admin"]
allow = ["**"]
key_hashes = ["sha256:7de71c560ad7f18bf35631917445915e084f3a58ea4a9c4f7f786a75af1bc15a"]
"#;
/// Where a replica connects from.
pub const REPLICA: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
const DIRECT: &str = "mode = \"direct\"\ndirect_timeout = \"1s\"";
/// Keeps a copy of what is revoked in its data folder.
const COPY: &str = "cache_dir = \"data\"";
/// How far a clock may be off in these histories.
const SKEW: i64 = LEEWAY.as_millis() as i64 * 3 / 4;

/// A difference of clocks within the leeway.
pub fn skew(random: &mut Random) -> i64 {
    random.number(0..2 * SKEW as u64 + 1) as i64 - SKEW
}

impl Site {
    pub fn of(shape: Shape, random: &mut Random) -> Self {
        // How old a replica's beats are is told by the wall clocks: they promise no more than they agree.
        let mut apart = || ShiftedClock::by(if shape == Shape::Replica { 0 } else { skew(random) });
        let clock = apart();
        let servers = Servers::of(shape, &clock);
        let mut addresses = (10..).map(|last| IpAddr::from([127, 0, 0, last]));
        let mut member = |url: Option<String>, lines, has_index, writes, may_end| Member {
            address: addresses.next().unwrap(),
            url,
            lines,
            nature: Nature { has_index, writes, has_copy: lines == COPY },
            may_end,
            clock: apart(),
        };
        let urls = servers.urls();
        let members = match shape {
            Shape::Embedded => vec![member(None, "", true, true, true)],
            Shape::Replica => vec![
                member(Some(urls[0].clone()), "", true, true, false),
                member(Some(urls[0].clone()), DIRECT, false, true, true),
                member(Some(urls[1].clone()), COPY, true, false, true),
                member(Some(urls[1].clone()), DIRECT, false, false, true),
            ],
            _ => vec![
                member(Some(urls[0].clone()), "", true, true, false),
                member(Some(urls[1 % urls.len()].clone()), COPY, true, true, true),
                member(Some(urls[2 % urls.len()].clone()), DIRECT, false, true, true),
            ],
        };
        Self { servers, clock, members }
    }
}

impl Member {
    /// With keys of its own when it is the first.
    pub fn builder(&self) -> Builder {
        let builder = match &self.url {
            None => Builder::new().revocation("max_staleness = \"3s\""),
            Some(url) => Builder::following(url).revocation(self.lines),
        };
        builder.clock(&self.clock).source_address(self.address).section(CLIENTS).api_keys(API_KEYS)
    }
}

impl Servers {
    fn of(shape: Shape, clock: &ShiftedClock) -> Self {
        let logged = || {
            let mut redis = Redis::with(&LOGGED);
            redis.stop();
            redis.set_clock(clock);
            redis.launch();
            redis
        };
        match shape {
            Shape::Embedded => Self::Embedded,
            Shape::Single => {
                let redis = logged();
                let network = Proxy::before(&redis.address());
                Self::Single { redis: RwLock::new(redis), network }
            }
            Shape::Replica => {
                let redis = logged();
                let network = Proxy::before(&redis.address());
                let port = free_port();
                let follow = format!("127.0.0.1 {}", network.port());
                let replica = Redis::of(
                    "redis-server",
                    folder(),
                    port,
                    &[],
                    &["--save", "", "--replicaof", &follow, "--bind-source-addr", &REPLICA.to_string()],
                );
                let networks = [network, Proxy::before(&replica.address())];
                Self::Replica { redis: RwLock::new(redis), _replica: replica, networks }
            }
            Shape::Watched => Self::Watched(RwLock::new(Watched::start())),
            Shape::Cluster => {
                let cluster = Cluster::start();
                let networks: Vec<Proxy> = cluster.nodes.iter().map(|node| Proxy::before(&node.address())).collect();
                let servers = Self::Cluster { cluster: RwLock::new(cluster), networks };
                (0..3).for_each(|node| servers.announce(node));
                servers
            }
        }
    }

    /// Makes a node of a cluster known by the network before it, as after each launch.
    fn announce(&self, node: usize) {
        let Self::Cluster { cluster, networks } = self else { return };
        let port = networks[node].port().to_string();
        let set = cluster.read().unwrap().nodes[node].cli(&["CONFIG", "SET", "cluster-announce-port", &port]);
        assert_eq!(set, "OK");
    }

    fn urls(&self) -> Vec<String> {
        match self {
            Self::Embedded => Vec::new(),
            Self::Single { network, .. } => vec![network.url()],
            Self::Replica { networks, .. } => networks.iter().map(Proxy::url).collect(),
            Self::Watched(watched) => vec![watched.read().unwrap().url()],
            Self::Cluster { networks, .. } => {
                let nodes = |first: usize| (0..3).map(move |n| networks[(first + n) % 3].address());
                (0..3).map(|first| format!("redis-cluster://{}", nodes(first).collect::<Vec<_>>().join(","))).collect()
            }
        }
    }

    /// Gives the clients at an address a network of their own, wherever they connect to; `None`: the same as the others
    /// again.
    pub fn set_for(&self, client: IpAddr, network: Option<Network>) {
        match self {
            Self::Embedded => {}
            Self::Single { network: before, .. } => before.set_for(client, network),
            Self::Replica { networks, .. } => networks.iter().for_each(|before| before.set_for(client, network)),
            Self::Cluster { networks, .. } => networks.iter().for_each(|before| before.set_for(client, network)),
            Self::Watched(watched) => {
                watched.read().unwrap().all_networks().for_each(|before| before.set_for(client, network));
            }
        }
    }

    /// Tells the verifier at an address something else than what the servers say.
    pub fn lie_to(&self, client: IpAddr, said: &str, told: &str) {
        let Self::Single { network, .. } = self else { unreachable!("lies are told by one server only") };
        network.lie_to(client, said, told);
    }

    /// Which server is written to now.
    pub fn master(&self) -> usize {
        match self {
            Self::Watched(watched) => watched.read().unwrap().named().unwrap_or(0),
            Self::Cluster { cluster, .. } => cluster.read().unwrap().owner(super::faults::LINKS),
            _ => 0,
        }
    }

    /// Runs a command at a server; nothing is answered when that is away.
    pub fn cli(&self, server: usize, command: &[&str]) -> String {
        let port = self.with(server, Redis::port);
        crate::support::redis::cli(port, command)
    }

    pub fn signal(&self, server: usize, signal: &str) {
        self.with(server, |redis| redis.process.signal(signal));
    }

    pub fn with<T>(&self, server: usize, read: impl FnOnce(&Redis) -> T) -> T {
        match self {
            Self::Embedded => unreachable!("there is no server"),
            Self::Single { redis, .. } | Self::Replica { redis, .. } => read(&redis.read().unwrap()),
            Self::Watched(watched) => read(&watched.read().unwrap().servers[server]),
            Self::Cluster { cluster, .. } => read(&cluster.read().unwrap().nodes[server]),
        }
    }

    pub fn change(&self, server: usize, change: impl FnOnce(&mut Redis)) {
        match self {
            Self::Embedded => unreachable!("there is no server"),
            Self::Single { redis, .. } | Self::Replica { redis, .. } => change(&mut redis.write().unwrap()),
            Self::Watched(watched) => change(&mut watched.write().unwrap().servers[server]),
            Self::Cluster { cluster, .. } => change(&mut cluster.write().unwrap().nodes[server]),
        }
    }

    pub fn launch(&self, server: usize) {
        self.change(server, Redis::launch);
        self.announce(server);
    }

    pub fn watched(&self) -> Option<RwLockReadGuard<'_, Watched>> {
        match self {
            Self::Watched(watched) => Some(watched.read().unwrap()),
            _ => None,
        }
    }
}
