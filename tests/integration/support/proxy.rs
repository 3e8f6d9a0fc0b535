//! A network that fails on demand: a TCP proxy between a Linkgate and its store.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Pass,
    /// Everything arrives so much later, in both directions.
    Delay(Duration),
    /// Connections stay open, new ones are accepted, and nothing flows; what was sent arrives once it is over.
    BlackHole,
    /// Connections are closed, and new ones at once.
    Cut,
}

/// A proxy before one server, ended with the test.
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    network: Network,
    /// Processes whose network is another one.
    apart: Vec<Apart>,
    is_over: bool,
    /// Connections, each with the port that its client has.
    open: Vec<(u16, TcpStream)>,
}

struct Apart {
    process: u32,
    ports: HashSet<u16>,
    network: Network,
}

impl Proxy {
    /// Passes everything on to `target`, a host and a port.
    pub fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = State { network: Network::Pass, apart: Vec::new(), is_over: false, open: Vec::new() };
        let shared = Arc::new(Shared { target: target.into(), state: Mutex::new(state), changed: Condvar::new() });
        let accepting = shared.clone();
        std::thread::spawn(move || accepting.accept(&listener));
        Self { address, shared }
    }

    /// Where to connect instead of the server.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    pub fn port(&self) -> u16 {
        self.address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// The URL of a Redis behind this.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Changes the network, for connections that are open as well as for new ones.
    pub fn set(&self, network: Network) {
        let mut state = self.shared.state.lock().unwrap();
        state.network = network;
        state.close_what_is_cut();
        self.shared.changed.notify_all();
    }

    /// Gives one process a network of its own; `None`: the same as the others again.
    pub fn set_for(&self, process: u32, network: Option<Network>) {
        let mut state = self.shared.state.lock().unwrap();
        state.apart.retain(|apart| apart.process != process);
        if let Some(network) = network {
            state.apart.push(Apart { process, ports: ports_of(process), network });
        }
        state.close_what_is_cut();
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap();
        state.is_over = true;
        state.close_what_is_cut();
        self.shared.changed.notify_all();
        drop(state);
        let _ = TcpStream::connect(&self.address); // so that the listener notices
    }
}

impl State {
    fn network_of(&self, port: u16) -> Network {
        self.apart.iter().find(|apart| apart.ports.contains(&port)).map_or(self.network, |apart| apart.network)
    }

    fn is_cut(&self, port: u16) -> bool {
        self.is_over || self.network_of(port) == Network::Cut
    }

    fn close_what_is_cut(&mut self) {
        let open = std::mem::take(&mut self.open);
        let (cut, open) = open.into_iter().partition(|(port, _)| self.is_cut(*port));
        self.open = open;
        let cut: Vec<(u16, TcpStream)> = cut;
        for (_, stream) in cut {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            if self.state.lock().unwrap().is_over {
                return;
            }
            let shared = self.clone();
            std::thread::spawn(move || shared.connect(&stream));
        }
    }

    fn connect(self: &Arc<Self>, client: &TcpStream) -> Option<()> {
        let port = client.peer_addr().ok()?.port();
        for apart in &mut self.state.lock().unwrap().apart {
            if ports_of(apart.process).contains(&port) {
                apart.ports.insert(port);
            }
        }
        let _ = self.keep(port, client);
        self.until_passable(port)?;
        let server = TcpStream::connect(&self.target).ok();
        let Some(server) = server.filter(|server| self.keep(port, server).is_some()) else {
            let _ = client.shutdown(Shutdown::Both);
            return None;
        };
        for (from, to) in [(client, &server), (&server, client)] {
            let (sender, receiver) = mpsc::channel();
            let (reading, writing) = (from.try_clone().ok()?, to.try_clone().ok()?);
            std::thread::spawn(move || read(reading, &sender));
            let shared = self.clone();
            std::thread::spawn(move || shared.write(port, writing, &receiver));
        }
        Some(())
    }

    /// Remembers a connection, to close it when the network is cut; `None` when it is cut already.
    fn keep(&self, port: u16, stream: &TcpStream) -> Option<()> {
        let _ = stream.set_nodelay(true);
        let mut state = self.state.lock().unwrap();
        state.open.push((port, stream.try_clone().ok()?));
        let is_cut = state.is_cut(port);
        state.close_what_is_cut();
        (!is_cut).then_some(())
    }

    /// Waits while nothing flows; answers the delay, `None` when the connection is over.
    fn until_passable(&self, port: u16) -> Option<Duration> {
        let mut state = self.state.lock().unwrap();
        while state.network_of(port) == Network::BlackHole && !state.is_over {
            state = self.changed.wait(state).unwrap();
        }
        match state.network_of(port) {
            _ if state.is_over => None,
            Network::Cut => None,
            Network::Delay(delay) => Some(delay),
            _ => Some(Duration::ZERO),
        }
    }

    fn write(&self, port: u16, mut to: TcpStream, chunks: &mpsc::Receiver<(Instant, Vec<u8>)>) {
        for (read_at, chunk) in chunks {
            let Some(delay) = self.until_passable(port) else { break };
            std::thread::sleep((read_at + delay).saturating_duration_since(Instant::now()));
            if self.until_passable(port).is_none() || to.write_all(&chunk).is_err() {
                break;
            }
        }
        // The end of a stream takes as long as its bytes.
        if self.until_passable(port).is_some() {
            let _ = to.shutdown(Shutdown::Write);
        }
    }
}

/// The local TCP ports of a process that runs; none when it has ended.
fn ports_of(process: u32) -> HashSet<u16> {
    let sockets: HashSet<String> = std::fs::read_dir(format!("/proc/{process}/fd"))
        .into_iter()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let connections = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    connections
        .filter(|fields| sockets.contains(&format!("socket:[{}]", fields[9])))
        .map(|fields| u16::from_str_radix(fields[1].rsplit(':').next().unwrap(), 16).unwrap())
        .collect()
}

fn read(mut from: TcpStream, chunks: &mpsc::Sender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if chunks.send((Instant::now(), buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

#[test]
fn the_proxy_passes_delays_swallows_and_cuts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::before(&listener.local_addr().unwrap().to_string());
    let echo = std::thread::spawn(move || {
        for mut stream in listener.incoming().take(1).flatten() {
            let mut reading = stream.try_clone().unwrap();
            let _ = std::io::copy(&mut reading, &mut stream);
        }
    });
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    let mut ask = |patience: u64| -> std::io::Result<Duration> {
        let asked = Instant::now();
        client.set_read_timeout(Some(Duration::from_millis(patience)))?;
        client.write_all(b"x")?;
        client.read_exact(&mut [0])?;
        Ok(asked.elapsed())
    };
    ask(5_000).unwrap();
    proxy.set(Network::Delay(Duration::from_millis(100)));
    assert!(ask(5_000).unwrap() >= Duration::from_millis(200));
    proxy.set(Network::BlackHole);
    assert!(ask(200).is_err(), "nothing comes back");
    proxy.set(Network::Pass);
    ask(5_000).expect("what was swallowed arrives");
    proxy.set(Network::Cut);
    assert!(ask(5_000).is_err() || ask(5_000).is_err(), "the connection is closed");
    echo.join().unwrap();
}

#[test]
fn a_process_may_have_a_network_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::before(&listener.local_addr().unwrap().to_string());
    let answering = std::thread::spawn(move || {
        for mut stream in listener.incoming().take(3).flatten() {
            stream.write_all(b"hello").unwrap();
        }
    });
    let hears = || {
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        client.read_exact(&mut [0; 5]).is_ok()
    };
    proxy.set(Network::BlackHole);
    proxy.set_for(std::process::id(), Some(Network::Pass));
    assert!(hears());
    proxy.set(Network::Pass);
    proxy.set_for(std::process::id(), Some(Network::BlackHole));
    assert!(!hears());
    proxy.set_for(std::process::id(), None);
    assert!(hears());
    answering.join().unwrap();
}
