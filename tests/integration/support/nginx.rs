//! A real nginx with the shipped configuration.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::http::{Place, Response, request};
use super::linkgate::{Linkgate, repository_file};
use super::{Process, eventually, folder, free_port};

/// nginx in front of a Linkgate.
pub struct Nginx {
    folder: TempDir,
    process: Process,
    port: u16,
}

/// Which of the shipped server parts is included.
#[derive(Clone, Copy)]
pub enum Variant {
    Redirect,
    AuthRequest,
}

impl Nginx {
    /// Starts nginx with the shipped files, their two marked lines edited as a person would.
    pub fn start(linkgate: &Linkgate, variant: Variant) -> Self {
        let folder = folder();
        let server = match variant {
            Variant::Redirect => "linkgate-server.conf",
            Variant::AuthRequest => "linkgate-auth-request.conf",
        };
        for name in ["linkgate-http.conf", server] {
            let edited =
                edit(&repository_file(&format!("nginx/{name}")), &linkgate.socket(), &linkgate.media(), folder.path());
            std::fs::write(folder.path().join(name), edited).unwrap();
        }
        let (at, port) = (folder.path().display(), free_port());
        let configuration = format!(
            "user root;\nworker_processes 1;\npid {at}/nginx.pid;\nerror_log {at}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n  include /etc/nginx/mime.types;\n  default_type application/octet-stream;\n\
             client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  fastcgi_temp_path {at}/fastcgi;\n\
             uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n\
             include linkgate-http.conf;\n  server {{\n    listen unix:{at}/front.sock;\n    listen 127.0.0.1:{port};\n\
             set_real_ip_from unix:;\n    real_ip_header X-Test-Client;\n    access_log {at}/other.log linkgate;\n    root {at}/public;\n    include {server};\n  }}\n}}\n"
        );
        std::fs::create_dir(folder.path().join("public")).unwrap();
        std::fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        let process = Process::start(
            Command::new("nginx")
                .arg("-c")
                .arg(folder.path().join("nginx.conf"))
                .args(["-g", "daemon off;"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let nginx = Self { folder, process, port };
        eventually("nginx listens", || std::os::unix::net::UnixStream::connect(nginx.socket()).is_ok());
        nginx
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("front.sock")
    }

    pub fn place(&self) -> Place {
        Place::from(self.socket().as_path())
    }

    /// The address of a path, for a browser.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Puts a page beside the links.
    pub fn page(&self, name: &str, html: &str) {
        std::fs::write(self.folder.path().join("public").join(name), html).unwrap();
    }

    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[])
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        request(&self.place(), method, path, headers, b"")
    }

    /// What the error log holds.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }

    /// What the access logs hold.
    pub fn log(&self) -> String {
        ["linkgate.log", "other.log"]
            .iter()
            .map(|name| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default())
            .collect()
    }
}

/// A killed master would leave its workers behind.
impl Drop for Nginx {
    fn drop(&mut self) {
        self.process.stop();
    }
}

/// Replaces what the shipped files mark for editing; each must be there.
pub fn edit(text: &str, socket: &Path, media: &Path, logs: &Path) -> String {
    let edits = [
        ("/run/linkgate/edge.sock", socket.display().to_string()),
        ("/var/www/media/", format!("{}/", media.display())),
        ("/var/log/nginx/", format!("{}/", logs.display())),
    ];
    let is_marked = text.contains("# EDIT:");
    assert!(is_marked, "the lines to edit must be marked");
    edits.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
