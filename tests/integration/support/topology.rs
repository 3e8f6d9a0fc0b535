//! Several Redis servers that belong together: watched by a Sentinel, or a cluster.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::redis::Redis;
use super::{Process, eventually, folder, free_port};

/// What the Sentinel calls the master.
const MASTER: &str = "main";

/// A master, a replica, and a Sentinel that fails over after about two seconds.
pub struct Watched {
    pub master: Redis,
    pub replica: Redis,
    port: u16,
    _folder: TempDir,
    _sentinel: Process,
}

impl Watched {
    pub fn start() -> Self {
        let master = Redis::start();
        let replica = Redis::replica_of(&master);
        let (folder, port) = (folder(), free_port());
        let file = folder.path().join("sentinel.conf");
        let configuration = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds {MASTER} 1500\nsentinel failover-timeout {MASTER} 20000\n",
            folder.path().display(),
            master.port(),
        );
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null());
        let sentinel = Process::start(&mut command);
        let watched = Self { master, replica, port, _folder: folder, _sentinel: sentinel };
        eventually("the sentinel knows master and replica", || {
            let known = watched.ask(&["SENTINEL", "REPLICAS", MASTER]);
            known.contains(&watched.replica.port().to_string()) && known.contains("slave-repl-offset")
        });
        watched
    }

    pub fn url(&self) -> String {
        format!("redis-sentinel://127.0.0.1:{}/{MASTER}/0", self.port)
    }

    /// Lets the replica hear nothing more of its master, without the Sentinel's minding.
    pub fn part(&self) {
        let offset = |redis: &Redis| {
            let known = redis.cli(&["INFO", "replication"]);
            known.lines().find_map(|line| line.strip_prefix("master_repl_offset:").map(str::to_owned))
        };
        eventually("the replica is in step", || offset(&self.replica) == offset(&self.master));
        assert_eq!(self.replica.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    }

    /// Waits until the Sentinel has made the replica the master.
    pub fn until_promoted(&self) {
        eventually("the replica is promoted", || self.replica.cli(&["ROLE"]).starts_with("master"));
    }

    fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(command).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A cluster of three masters.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub fn start() -> Self {
        let nodes: Vec<Redis> = (0..3)
            .map(|_| {
                let bus = free_port().to_string();
                Redis::with(&[
                    "--save",
                    "",
                    "--appendonly",
                    "yes",
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    "1500",
                    "--cluster-port",
                    &bus,
                ])
            })
            .collect();
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create"]).args(nodes.iter().map(Redis::address)).arg("--cluster-yes");
        let created = command.stdin(Stdio::null()).output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { nodes };
        cluster.until_whole();
        cluster
    }

    /// Names the nodes beginning with one of them.
    pub fn url_beginning_with(&self, first: usize) -> String {
        let nodes: Vec<String> = (0..3).map(|n| self.nodes[(first + n) % 3].address()).collect();
        format!("redis-cluster://{}", nodes.join(","))
    }

    pub fn until_whole(&self) {
        eventually("every node sees the whole cluster", || {
            self.nodes.iter().all(|node| {
                let info = node.cli(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
        });
    }

    /// Which node has a key.
    pub fn owner(&self, key: &str) -> usize {
        let is_there = |node: &Redis| !node.cli(&["EXISTS", key]).starts_with("MOVED");
        self.nodes.iter().position(is_there).unwrap()
    }

    /// Moves a key's slot to another node, as resharding does; calls `halfway` while the slot is in neither one whole.
    pub fn move_slot_of(&self, key: &str, to: usize, halfway: impl FnOnce()) {
        let from = self.owner(key);
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let slot = source.cli(&["CLUSTER", "KEYSLOT", key]);
        let [source_id, target_id] = [source, target].map(|node| node.cli(&["CLUSTER", "MYID"]));
        assert_eq!(target.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]), "OK");
        assert_eq!(source.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]), "OK");
        let keys = || source.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
        let migrate = |keys: &[&str]| {
            let port = target.port().to_string();
            let command = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            assert_eq!(source.cli(&[&command, keys].concat()), "OK");
        };
        let before = keys();
        let before: Vec<&str> = before.lines().collect();
        migrate(&before[..before.len() / 2]);
        halfway();
        migrate(&keys().lines().collect::<Vec<_>>());
        for node in [target, source] {
            assert_eq!(node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]), "OK");
        }
    }
}
