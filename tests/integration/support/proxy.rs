//! A network that fails on demand, and lies: a TCP proxy between a Linkgate and its store.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Client addresses whose network is another one.
    apart: Vec<(IpAddr, Network)>,
    lies: Vec<Lie>,
    /// Nothing comes back on connections that follow the stream.
    holds_stream: bool,
    is_over: bool,
    /// Connections, each with the address of its client.
    open: Vec<(IpAddr, TcpStream)>,
}

/// What a client is told instead of what the server says, wherever that stands in an answer.
struct Lie {
    client: IpAddr,
    said: Vec<u8>,
    told: Vec<u8>,
}

impl Proxy {
    /// Passes everything on to `target`, a host and a port.
    pub fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = State {
            network: Network::Pass,
            apart: Vec::new(),
            lies: Vec::new(),
            holds_stream: false,
            is_over: false,
            open: Vec::new(),
        };
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

    /// Holds back what comes on connections over which the stream was ever read; all others go on.
    pub fn hold_stream(&self, is_held: bool) {
        self.shared.state.lock().unwrap().holds_stream = is_held;
        self.shared.changed.notify_all();
    }

    /// Tells the clients at one address something else than what the server says: as many bytes as that has.
    pub fn lie_to(&self, client: IpAddr, said: &str, told: &str) {
        assert_eq!(said.len(), told.len(), "lengths are part of the protocol");
        let lie = Lie { client, said: said.into(), told: told.into() };
        self.shared.state.lock().unwrap().lies.push(lie);
    }

    /// Gives the clients at one address a network of their own; `None`: the same as the others again.
    pub fn set_for(&self, client: IpAddr, network: Option<Network>) {
        let mut state = self.shared.state.lock().unwrap();
        state.apart.retain(|(apart, _)| *apart != client);
        state.apart.extend(network.map(|network| (client, network)));
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
    fn lie(&self, to: IpAddr, answer: &mut [u8]) {
        for Lie { said, told, .. } in self.lies.iter().filter(|lie| lie.client == to) {
            let places: Vec<usize> =
                answer.windows(said.len()).enumerate().filter(|(_, part)| part == said).map(|(at, _)| at).collect();
            places.into_iter().for_each(|at| answer[at..at + told.len()].copy_from_slice(told));
        }
    }

    fn network_of(&self, client: IpAddr) -> Network {
        let own = self.apart.iter().find(|(apart, _)| *apart == client).map(|(_, network)| *network);
        match (own, self.network) {
            // Who is only slower than others is cut off with them.
            (Some(Network::Delay(_)), cut_off @ (Network::BlackHole | Network::Cut)) => cut_off,
            (own, network) => own.unwrap_or(network),
        }
    }

    fn is_cut(&self, client: IpAddr) -> bool {
        self.is_over || self.network_of(client) == Network::Cut
    }

    fn close_what_is_cut(&mut self) {
        let open = std::mem::take(&mut self.open);
        let (cut, open): (Vec<_>, Vec<_>) = open.into_iter().partition(|(client, _)| self.is_cut(*client));
        self.open = open;
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
        let address = client.peer_addr().ok()?.ip();
        let _ = self.keep(address, client);
        self.until_passable(address)?;
        let server = TcpStream::connect(&self.target).ok();
        let Some(server) = server.filter(|server| self.keep(address, server).is_some()) else {
            let _ = client.shutdown(Shutdown::Both);
            return None;
        };
        let follows = Arc::new(AtomicBool::new(false));
        for (from, to, is_answer) in [(client, &server, false), (&server, client, true)] {
            let (sender, receiver) = mpsc::channel();
            let (reading, writing) = (from.try_clone().ok()?, to.try_clone().ok()?);
            std::thread::spawn(move || read(reading, &sender));
            let (shared, follows) = (self.clone(), follows.clone());
            std::thread::spawn(move || shared.write(address, writing, &receiver, is_answer, &follows));
        }
        Some(())
    }

    /// Remembers a connection, to close it when the network is cut; `None` when it is cut already.
    fn keep(&self, client: IpAddr, stream: &TcpStream) -> Option<()> {
        let _ = stream.set_nodelay(true);
        let mut state = self.state.lock().unwrap();
        state.open.push((client, stream.try_clone().ok()?));
        let is_cut = state.is_cut(client);
        state.close_what_is_cut();
        (!is_cut).then_some(())
    }

    /// Waits while nothing flows; answers the delay, `None` when the connection is over.
    fn until_passable(&self, client: IpAddr) -> Option<Duration> {
        let mut state = self.state.lock().unwrap();
        while state.network_of(client) == Network::BlackHole && !state.is_over {
            state = self.changed.wait(state).unwrap();
        }
        match state.network_of(client) {
            _ if state.is_over => None,
            Network::Cut => None,
            Network::Delay(delay) => Some(delay),
            _ => Some(Duration::ZERO),
        }
    }

    /// Waits while the stream is held back.
    fn until_released(&self) {
        let mut state = self.state.lock().unwrap();
        while state.holds_stream && !state.is_over {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn write(
        &self,
        client: IpAddr,
        mut to: TcpStream,
        chunks: &mpsc::Receiver<(Instant, Vec<u8>)>,
        is_answer: bool,
        follows: &AtomicBool,
    ) {
        for (read_at, mut chunk) in chunks {
            if is_answer {
                self.state.lock().unwrap().lie(client, &mut chunk);
                if follows.load(Ordering::Relaxed) {
                    self.until_released();
                }
            } else if chunk.windows(5).any(|part| part == b"XREAD") {
                follows.store(true, Ordering::Relaxed);
            }
            let Some(delay) = self.until_passable(client) else { break };
            std::thread::sleep((read_at + delay).saturating_duration_since(Instant::now()));
            if self.until_passable(client).is_none() || to.write_all(&chunk).is_err() {
                break;
            }
        }
        // The end of a stream takes as long as its bytes.
        if self.until_passable(client).is_some() {
            let _ = to.shutdown(Shutdown::Write);
        }
    }
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
fn clients_at_one_address_may_be_lied_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::before(&listener.local_addr().unwrap().to_string());
    proxy.lie_to(IpAddr::from([127, 0, 0, 2]), "hello", "howdy");
    proxy.lie_to(IpAddr::from([127, 0, 0, 1]), "truth", "false");
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello, the truth: truth").unwrap();
    });
    let mut heard = String::new();
    TcpStream::connect(proxy.address()).unwrap().read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello, the false: false");
    answering.join().unwrap();
}

#[test]
fn clients_at_one_address_may_have_a_network_of_their_own() {
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
    let own = IpAddr::from([127, 0, 0, 1]);
    proxy.set(Network::BlackHole);
    proxy.set_for(own, Some(Network::Pass));
    assert!(hears());
    proxy.set(Network::Pass);
    proxy.set_for(own, Some(Network::BlackHole));
    assert!(!hears());
    proxy.set_for(own, None);
    assert!(hears());
    answering.join().unwrap();
}
