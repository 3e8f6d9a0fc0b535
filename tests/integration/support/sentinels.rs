//! A master, a replica and Sentinels, all behind networks that fail on demand: every address that any of them is known
//! by leads through a proxy.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::proxy::{Network, Proxy};
use super::redis::Redis;
use super::{Process, eventually, folder, free_port};

/// What the Sentinels call the master.
const MASTER: &str = "main";
/// How many must agree that the master is down, and lead the failover.
const QUORUM: usize = 2;

pub struct Watched {
    /// The one that is the master at first, and its replica.
    pub servers: [Redis; 2],
    /// The networks before them.
    pub networks: [Proxy; 2],
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    port: u16,
    network: Proxy,
    _folder: TempDir,
    _process: Process,
}

impl Watched {
    /// Three Sentinels, which fail over after two to four seconds.
    pub fn start() -> Self {
        let ports = [(); 2].map(|()| free_port());
        let networks = ports.map(|port| Proxy::before(&format!("127.0.0.1:{port}")));
        let master_port = networks[0].port();
        let [master, replica] = [0, 1].map(|at| {
            let announced = networks[at].port().to_string();
            let announce = ["--replica-announce-ip", "127.0.0.1", "--replica-announce-port", &announced];
            let follow = format!("127.0.0.1 {master_port}");
            let follow: &[&str] = if at == 0 { &[] } else { &["--replicaof", &follow] };
            let options = [&["--save", ""], &announce[..], follow].concat();
            Redis::of("redis-server", folder(), ports[at], &[], &options)
        });
        let sentinels = (0..3).map(|_| Sentinel::of(master_port)).collect();
        let watched = Self { servers: [master, replica], networks, sentinels };
        eventually("every Sentinel knows the others and the replica", || {
            watched.sentinels.iter().all(|sentinel| {
                let known = sentinel.ask(&["MASTER", MASTER]);
                let value = |name| known.lines().skip_while(|line| *line != name).nth(1);
                value("num-other-sentinels") == Some("2")
                    && value("num-slaves") == Some("1")
                    && sentinel.ask(&["REPLICAS", MASTER]).contains("master-link-status\nok")
            })
        });
        watched
    }

    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.sentinels.iter().map(|sentinel| sentinel.network.address()).collect();
        format!("redis-sentinel://{}/{MASTER}/0", addresses.join(","))
    }

    /// Which server a majority of the Sentinels names.
    pub fn named(&self) -> Option<usize> {
        let names: Vec<String> = self.sentinels.iter().map(Sentinel::named).collect();
        let is_named = |at: &usize| {
            let port = self.networks[*at].port().to_string();
            names.iter().filter(|name| **name == port).count() > self.sentinels.len() / 2
        };
        (0..2).find(is_named)
    }

    /// Cuts one server off from everything but some processes, and these from everything else.
    pub fn part(&self, server: usize, with: &[u32]) {
        self.networks[server].set(Network::BlackHole);
        for process in with {
            self.networks[server].set_for(*process, Some(Network::Pass));
            self.networks[1 - server].set_for(*process, Some(Network::BlackHole));
            self.sentinels.iter().for_each(|one| one.network.set_for(*process, Some(Network::BlackHole)));
        }
    }

    /// Waits until the Sentinels have another master than this one.
    pub fn until_replaced(&self, server: usize) {
        eventually("the other one is the master", || {
            self.named() == Some(1 - server) && self.servers[1 - server].cli(&["ROLE"]).starts_with("master")
        });
    }

    /// Everything hears everything again.
    pub fn heal(&self, processes: &[u32]) {
        for network in self.all_networks() {
            network.set(Network::Pass);
            processes.iter().for_each(|process| network.set_for(*process, None));
        }
    }

    pub fn all_networks(&self) -> impl Iterator<Item = &Proxy> {
        self.networks.iter().chain(self.sentinels.iter().map(|sentinel| &sentinel.network))
    }
}

impl Sentinel {
    fn of(master_port: u16) -> Self {
        let (folder, port) = (folder(), free_port());
        let network = Proxy::before(&format!("127.0.0.1:{port}"));
        let file = folder.path().join("sentinel.conf");
        let configuration = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel announce-ip 127.0.0.1\nsentinel announce-port {}\n\
             sentinel monitor {MASTER} 127.0.0.1 {master_port} {QUORUM}\n\
             sentinel down-after-milliseconds {MASTER} 1500\nsentinel failover-timeout {MASTER} 3000\n",
            folder.path().display(),
            network.port(),
        );
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null());
        Self { port, network, _folder: folder, _process: Process::start(&mut command) }
    }

    /// The port of the server that it takes for the master.
    fn named(&self) -> String {
        self.ask(&["GET-MASTER-ADDR-BY-NAME", MASTER]).lines().nth(1).unwrap_or_default().to_owned()
    }

    fn ask(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        let output = cli.args(["-p", &self.port.to_string(), "SENTINEL"]).args(command).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
