//! A crate registry over HTTP, of which cargo asks an index and archives.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

type Pages = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

pub struct Registry {
    pub port: u16,
    pages: Pages,
    down: Arc<AtomicBool>,
}

pub struct Package<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// Upstream's commit, and the directory there.
    pub commit: &'a str,
    pub path: &'a str,
    pub dependencies: &'a [(&'a str, &'a str)],
    /// Name, contents, executable.
    pub files: Vec<(String, String, bool)>,
}

impl Registry {
    pub fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let pages = Pages::default();
        let down = Arc::new(AtomicBool::new(false));
        let (served, stopped) = (pages.clone(), down.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !stopped.load(Ordering::Relaxed) {
                    let served = served.clone();
                    std::thread::spawn(move || answer(stream, &served));
                }
            }
        });
        let config = format!(r#"{{"dl":"http://127.0.0.1:{port}/dl/{{crate}}-{{version}}"}}"#);
        pages
            .lock()
            .unwrap()
            .insert("/index/config.json".to_string(), config.into_bytes());
        Registry { port, pages, down }
    }

    /// From now on connections are closed at once.
    pub fn stop(&self) {
        self.down.store(true, Ordering::Relaxed);
    }

    pub fn publish(&self, package: &Package<'_>) {
        let archive = archive(package);
        let checksum: String = Sha256::digest(&archive)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let dependencies: Vec<_> = package
            .dependencies
            .iter()
            .map(|(name, req)| {
                serde_json::json!({
                    "name": name, "req": req, "features": [], "optional": false,
                    "default_features": true, "target": null, "kind": "normal",
                })
            })
            .collect();
        let entry = serde_json::json!({
            "name": package.name, "vers": package.version, "deps": dependencies,
            "cksum": checksum, "features": {}, "yanked": false,
        });
        let mut pages = self.pages.lock().unwrap();
        let name = package.name;
        pages.insert(format!("/dl/{name}-{}", package.version), archive);
        let index = format!("/index/{}/{}/{name}", &name[..2], &name[2..4]);
        let lines = pages.entry(index).or_default();
        lines.extend_from_slice(format!("{entry}\n").as_bytes());
    }
}

fn answer(mut stream: TcpStream, pages: &Pages) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    if reader.read_line(&mut request).is_err() {
        return;
    }
    let mut header = String::new();
    while reader.read_line(&mut header).is_ok_and(|read| read > 2) {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let page = pages.lock().unwrap().get(path).cloned();
    let (status, body) = match page {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // Cargo may have closed the connection; it says so itself.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}

/// What `cargo package` makes: upstream's manifest renamed, a rewritten one in
/// its place, a lock file, and the commit.
fn archive(package: &Package<'_>) -> Vec<u8> {
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    let mut add = |name: &str, contents: &str, executable: bool| {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(if executable { 0o755 } else { 0o644 });
        header.set_mtime(1_153_704_088);
        let path = format!("{}-{}/{name}", package.name, package.version);
        tar.append_data(&mut header, path, contents.as_bytes())
            .unwrap();
    };
    let mut manifest = format!(
        "[package]\nname = \"{}\"\nversion = \"{}\"\nedition = \"2024\"\n",
        package.name, package.version
    );
    for (name, req) in package.dependencies {
        manifest.push_str(&format!("[dependencies.{name}]\nversion = \"{req}\"\n"));
    }
    add("Cargo.toml", &manifest, false);
    let original = format!("# Upstream's own manifest.\n{manifest}");
    add("Cargo.toml.orig", &original, false);
    add("Cargo.lock", "# Made by cargo.\nversion = 4\n", false);
    let info = serde_json::json!({
        "git": { "sha1": package.commit }, "path_in_vcs": package.path,
    });
    add(".cargo_vcs_info.json", &info.to_string(), false);
    for (name, contents, executable) in &package.files {
        add(name, contents, *executable);
    }
    tar.into_inner().unwrap().finish().unwrap()
}
