//! A report in a real, headless browser: it is drawn, it loads nothing, and nothing in it is run.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use common::pages::{self, HOSTILE};
use common::rows::{drain, latency, text};
use common::{Bench, Done, needs, read};

/// A server of one page, on this machine, that logs its requests.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(page: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let path = answer(stream, &page);
                noted.lock().unwrap_or_else(PoisonError::into_inner).extend(path);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers one request, and returns its path; browsers also open connections without a request.
fn answer(mut stream: TcpStream, page: &str) -> Option<String> {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(1))).ok()?;
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        let length = stream.read(&mut piece).ok().filter(|length| *length > 0)?;
        request.extend_from_slice(&piece[..length]);
    }
    let path = String::from_utf8_lossy(&request).split(' ').nth(1)?.to_owned();
    let (status, body) = if path == "/page.html" { ("200 OK", page) } else { ("404 Not Found", "") };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n", body.len());
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).ok()?;
    Some(path)
}

/// Shows a page; with `more` flags.
fn show(bench: &Bench, server: &Server, more: &[&str]) -> Done {
    let profile = tempfile::tempdir_in(bench.path("")).expect("a directory");
    let profile = format!("--user-data-dir={}", profile.path().display());
    let url = format!("http://{}/page.html", server.address);
    let mut words = vec!["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
    words.extend(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    // Nothing leaves this machine, whatever a page or the browser itself requests.
    words.push("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1");
    words.extend(["--enable-logging=stderr", "--v=0", "--hide-scrollbars", &profile]);
    words.extend(more);
    words.push(&url);
    bench.run_command(&words).expect(0)
}

/// What the browser's console says about a page.
fn console(done: &Done) -> Vec<&str> {
    done.stderr.lines().filter(|line| line.contains("CONSOLE")).collect()
}

/// How many bytes of a picture's data differ from a blank one's, and of how many.
fn pixels(path: &Path) -> (usize, usize) {
    let png = fs::read(path).expect("a picture");
    let (mut at, mut packed) = (8, Vec::new());
    while let Some(head) = png.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if &head[4..] == b"IDAT" {
            packed.extend_from_slice(&png[at + 8..at + 8 + length]);
        }
        at += length + 12;
    }
    let mut lines = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut lines).expect("a whole picture");
    // Lines hold differences to their neighbours: a blank picture has hardly any.
    (lines.iter().filter(|&&byte| byte != 0).count(), lines.len())
}

fn report(bench: &Bench, rows: &[hpbench::record::row::Row]) -> String {
    fs::write(bench.path("run.csv"), text(rows)).expect("a file");
    bench.run("report run.csv -o page.html --force").expect(0);
    read(&bench.path("page.html"))
}

#[test]
fn a_report_is_drawn_and_loads_nothing() {
    if !needs::chromium() {
        return;
    }
    let mut rows = Vec::new();
    for block in 1..=10 {
        for batch in [1, 8, 32] {
            for (backend, ns) in [("plain", 400.0), ("mmsg", 420.0), ("uring", 380.0)] {
                rows.push(drain(backend, batch, block, ns + (block * 3 % 7) as f64));
                rows.push(latency("echo", backend, batch, block));
            }
        }
    }
    let bench = Bench::new();
    let page = report(&bench, &rows);
    let server = Server::new(page.clone());
    for (name, width) in [("desktop", 1280), ("phone", 390)] {
        let picture = bench.path(&format!("{name}.png"));
        let to = format!("--screenshot={}", picture.display());
        let done = show(&bench, &server, &[&to, &format!("--window-size={width},2000")]);
        assert_eq!(console(&done), [""; 0], "{name}");
        let (different, all) = pixels(&picture);
        assert!(different > all / 200, "{name}: {different} of {all}");
    }
    let done = show(&bench, &server, &["--dump-dom"]);
    assert_eq!(console(&done), [""; 0]);
    // The browser found the elements that were written.
    for element in ["<svg", "<path", "<table", "<details", "<section", "<title"] {
        let count = |text: &str| text.matches(element).count();
        assert!(count(&page) > 0, "there is a {element}");
        assert_eq!(count(&done.stdout), count(&page), "{element}");
    }
    assert!(page.matches("<svg").count() > 5);
    assert_eq!(server.asked(), ["/page.html"; 3]);
}

#[test]
fn labels_that_mean_harm_do_none_in_a_browser() {
    if !needs::chromium() {
        return;
    }
    let bench = Bench::new();
    let rows: Vec<_> = HOSTILE.iter().flat_map(|label| pages::hostile(label)).collect();
    let server = Server::new(report(&bench, &rows));
    let log = bench.path("net.json");
    let done = show(&bench, &server, &["--dump-dom", &format!("--log-net-log={}", log.display())]);
    assert_eq!(console(&done), [""; 0]);
    assert_eq!(server.asked(), ["/page.html"]);
    let loaded = read(&log);
    assert!(loaded.contains("/page.html") && !loaded.contains("evil.example"), "{loaded}");
    // The browser's document has only the elements and attributes of reports.
    pages::assert_self_contained(&done.stdout);
}

#[test]
fn these_tests_would_see_what_a_page_loads_and_says() {
    if !needs::chromium() {
        return;
    }
    let bench = Bench::new();
    let page =
        "<!DOCTYPE html><link rel=icon href='data:,'><img src=/loaded.png><script>console.error('said')</script>";
    let server = Server::new(page.into());
    let picture = bench.path("blank.png");
    let log = bench.path("net.json");
    let to = [format!("--screenshot={}", picture.display()), format!("--log-net-log={}", log.display())];
    let done = show(&bench, &server, &[&to[0], &to[1], "--window-size=390,2000"]);
    assert_eq!(server.asked(), ["/page.html", "/loaded.png"]);
    assert!(console(&done).iter().any(|line| line.contains("said")), "{}", done.stderr);
    assert!(read(&log).contains("/loaded.png"));
    let (different, all) = pixels(&picture);
    assert!(different < all / 200, "a blank page: {different} of {all}");
}
