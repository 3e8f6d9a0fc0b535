//! A real Redis on a port of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::clock::ShiftedClock;
use super::{Process, eventually, folder, free_port};

/// A Redis that can be stopped and started again on the same port, with the same folder.
pub struct Redis {
    folder: TempDir,
    program: &'static str,
    port: u16,
    options: Vec<String>,
    sign_in: Vec<String>,
    environment: Vec<(&'static str, String)>,
    pub process: Process,
}

/// Options of [`Redis::logged`].
pub const LOGGED: [&str; 6] = ["--save", "", "--appendonly", "yes", "--appendfsync", "no"];

/// Where a server with a log keeps it, below its folder.
const LOG_FOLDER: &str = "appendonlydir";

impl Redis {
    /// Keeps nothing on disk.
    pub fn start() -> Self {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    /// Keeps nothing on disk, and has this wall clock instead of the machine's.
    pub fn with_clock(clock: &ShiftedClock) -> Self {
        let mut redis = Self::start();
        redis.set_clock(clock);
        redis.stop();
        redis.launch();
        redis
    }

    /// Keeps what it has answered when it is killed. No slow disk holds it up.
    pub fn logged() -> Self {
        Self::with(&LOGGED)
    }

    /// Keeps what it has answered, whatever happens, and answers no sooner.
    pub fn durable() -> Self {
        Self::with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Follows another one.
    pub fn replica_of(master: &Self) -> Self {
        Self::replica_through(master, master.port)
    }

    /// The same by another port than the master's own.
    pub fn replica_through(master: &Self, port: u16) -> Self {
        let replica = Self::with(&["--save", "", "--replicaof", &format!("127.0.0.1 {port}")]);
        // Both must say so: before the first acknowledgement the master holds everything back.
        let says = |redis: &Self, what: &str| redis.cli(&["INFO", "replication"]).contains(what);
        let is_online = format!("port={},state=online", replica.port);
        eventually("the replica is in step", || says(&replica, "master_link_status:up") && says(master, &is_online));
        replica
    }

    pub fn with(options: &[&str]) -> Self {
        Self::of("redis-server", folder(), free_port(), &[], options)
    }

    /// A server of another make or with another way in. `sign_in` is what redis-cli needs besides the port.
    pub fn of(program: &'static str, folder: TempDir, port: u16, sign_in: &[&str], options: &[&str]) -> Self {
        let mut redis = Self {
            folder,
            program,
            port,
            options: options.iter().map(ToString::to_string).collect(),
            sign_in: sign_in.iter().map(ToString::to_string).collect(),
            environment: Vec::new(),
            process: Process::start(Command::new("true").stdin(Stdio::null())),
        };
        redis.launch();
        redis
    }

    /// Has this wall clock instead of the machine's from the next start on.
    pub fn set_clock(&mut self, clock: &ShiftedClock) {
        self.environment = clock.environment().into();
    }

    pub fn launch(&mut self) {
        let mut command = Command::new(self.program);
        command.envs(self.environment.iter().cloned());
        let port = self.port.to_string();
        // Later options win: a server with TLS has no plain port.
        command.args(["--port", &port]).args(&self.options).args([
            "--bind",
            "127.0.0.1",
            "--repl-diskless-sync-delay",
            "0",
        ]);
        command.arg("--dir").arg(self.folder.path()).stdout(Stdio::null()).stdin(Stdio::null());
        self.process = Process::start(&mut command);
        eventually("redis answers", || {
            let ended = self.process.0.try_wait().unwrap();
            assert!(ended.is_none(), "{} {:?} ended: {ended:?}", self.program, self.options);
            let answer = self.cli(&["PING"]);
            answer.starts_with("PONG") || answer.starts_with("NOAUTH")
        });
    }

    pub fn stop(&mut self) {
        self.process.kill();
    }

    /// A copy of what a server with a log keeps at this moment.
    pub fn backup(&self) -> TempDir {
        let copy = folder();
        copy_files(&self.folder.path().join(LOG_FOLDER), copy.path());
        copy
    }

    /// Puts a server with a log back to a copy, or to nothing; it must be stopped.
    pub fn restore(&self, copy: Option<&TempDir>) {
        let log = self.folder.path().join(LOG_FOLDER);
        std::fs::remove_dir_all(&log).unwrap();
        if let Some(copy) = copy {
            copy_files(copy.path(), &log);
        }
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address())
    }

    /// Runs a command through redis-cli.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("redis-cli cannot be started ({error}): run tests/run"));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Sends many commands at once, one a line.
    pub fn pipe(&self, commands: &str) {
        use std::io::Write;
        let mut child = self.command().arg("--pipe").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn command(&self) -> Command {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(&self.sign_in).stderr(Stdio::null());
        command
    }
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
