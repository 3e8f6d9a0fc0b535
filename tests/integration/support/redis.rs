//! A real Redis on a port of its own.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::http::{Place, raw};
use super::{Process, eventually, folder, free_port};

/// A Redis that can be stopped and started again on the same port.
pub struct Redis {
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    pub process: Process,
}

impl Redis {
    /// Keeps nothing on disk.
    pub fn start() -> Self {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    pub fn with(options: &[&str]) -> Self {
        let mut redis = Self {
            folder: folder(),
            port: free_port(),
            options: options.iter().map(ToString::to_string).collect(),
            process: Process::start(Command::new("true").stdin(Stdio::null())),
        };
        redis.launch();
        redis
    }

    pub fn launch(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]).args(&self.options);
        command.arg("--dir").arg(self.folder.path()).stdout(Stdio::null()).stdin(Stdio::null());
        self.process = Process::start(&mut command);
        eventually("redis answers", || {
            let answer = raw(&Place::Tcp(self.address()), b"PING\r\nQUIT\r\n").unwrap_or_default();
            answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH")
        });
    }

    pub fn stop(&mut self) {
        self.process.kill();
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address())
    }

    /// Runs a command through redis-cli.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("redis-cli cannot be started ({error}): run tests/run"));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
