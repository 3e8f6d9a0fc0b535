//! A real browser, driven over the WebDriver protocol (W3C) by its own driver.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{Connection, Place};
use super::{Process, eventually, folder, free_port};

/// Chromium without a window, its profile in a folder of its own.
pub struct Browser {
    place: Place,
    session: String,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let (port, profile) = (free_port(), folder());
        let driver = Process::start(
            Command::new("chromedriver")
                .arg(format!("--port={port}"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let place = Place::Tcp(format!("127.0.0.1:{port}"));
        eventually("chromedriver listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": { "args": arguments },
        } } });
        let mut browser = Self { place, session: String::new(), _driver: driver, _profile: profile };
        let value = browser.call("POST", "/session", &wanted);
        browser.session = value["sessionId"].as_str().unwrap_or_else(|| panic!("no browser: {value}")).to_owned();
        browser
    }

    /// Opens a page and waits until it has loaded, pictures included.
    pub fn open(&self, url: &str) {
        let value = self.call("POST", &format!("/session/{}/url", self.session), &json!({ "url": url }));
        assert!(value.is_null(), "{url}: {value}");
    }

    /// Runs JavaScript in the page; answers what it returns.
    pub fn run(&self, script: &str) -> Value {
        let path = format!("/session/{}/execute/sync", self.session);
        self.call("POST", &path, &json!({ "script": script, "args": [] }))
    }

    /// What is seen of the page: a PNG in base64.
    pub fn screenshot(&self) -> String {
        let value = self.call("GET", &format!("/session/{}/screenshot", self.session), &json!({}));
        value.as_str().unwrap_or_else(|| panic!("no screenshot: {value}")).to_owned()
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        // The driver answers only to a host that is this machine, and keeps connections that were to be closed.
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut connection = Connection::open(&self.place);
        connection.send(head + &body);
        connection.answer(method).unwrap_or_else(|| panic!("{method} {path}: no answer")).json()["value"].clone()
    }
}

/// The browser ends with its session.
impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.call("DELETE", &format!("/session/{}", self.session), &json!({}));
        }
    }
}
