//! A permitted download asks the allocator for nothing: neither the judgement alone, nor a whole request and its answer.

#![allow(clippy::pedantic, clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::hint::black_box;
use std::path::Path;

use allocation_counter::{AllocationInfo, measure};
use linkgate::app::{App, create_data_dir};
use linkgate::clock::{Clock, SystemClock};
use linkgate::config::{Config, KeySource, Overrides};
use linkgate::key_file::Keys;
use linkgate::mint::{Dates, MintRequest};
use linkgate::revocation::{Index, RevocationView, admit};
use linkgate::token::{MintPolicy, TokenBuffer, UntrustedToken, verify};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;

use fixture::{MOMENT, POLICY, PRESENTATION};

#[path = "bench/fixture/mod.rs"]
mod fixture;

/// Requests that are looked at, after as many that are not: whatever grows with the first has grown by then.
const REQUESTS: usize = 200;

#[test]
fn a_judgement_allocates_nothing() {
    let keyring = fixture::keyring();
    let index = fixture::index((0..10_000).map(|_| linkgate::entropy::token_id()));
    fixture::add_cut_offs(&index);
    let links = fixture::links(&keyring, 100);
    let is_permitted = |text: &str| {
        let mut buffer = TokenBuffer::default();
        let Ok(token) = UntrustedToken::parse(text, &mut buffer) else { return false };
        let Ok(verified) = verify(token, fixture::rules(), &keyring, PRESENTATION) else { return false };
        index.look(|view| admit(view, POLICY, verified, MOMENT).is_ok())
    };
    assert!(is_permitted(&links[0]));
    assert_eq!(measure(|| drop(black_box(Box::new(1)))).count_total, 1, "the counter counts");

    let mut permitted = 0;
    let used = measure(|| permitted = links.iter().filter(|link| is_permitted(link)).count());
    assert_eq!((permitted, used), (links.len(), AllocationInfo::default()));

    let forged: Vec<String> = links.iter().map(|link| format!("{}AAAA", &link[..link.len() - 4])).collect();
    let used = measure(|| permitted = forged.iter().filter(|link| is_permitted(link)).count());
    assert_eq!((permitted, used), (0, AllocationInfo::default()), "refusing costs no more");
}

#[test]
fn a_request_and_its_answer_allocate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Everything in one thread: that is the one whose allocations are counted.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_reload, reloading) = watch::channel(());
    let (stop, stopping) = watch::channel(false);
    let (mut client, request, served) = runtime.block_on(async {
        let app = App::start(config(folder.path()), None, Overrides::default()).await.unwrap();
        let request = request(&app);
        let served = tokio::spawn(app.run(stopping, reloading));
        (UnixStream::connect(folder.path().join("downloads.sock")).await.unwrap(), request, served)
    });
    let mut answer = [0; 4096];
    let mut ask = || runtime.block_on(ask(&mut client, request.as_bytes(), &mut answer));
    (0..REQUESTS).for_each(|_| assert!(ask()));
    let allocations: Vec<u64> = (0..REQUESTS).map(|_| measure(|| assert!(ask())).count_total).collect();
    // What comes by the clock, such as the store's own beat, may meet one request or another.
    let with_some = allocations.iter().filter(|count| **count > 0).count();
    assert!(with_some <= REQUESTS / 20, "{allocations:?}");

    stop.send_replace(true);
    drop(client);
    runtime.block_on(served).unwrap().unwrap();
}

/// Asks, and says whether the answer was a permit.
async fn ask(client: &mut UnixStream, request: &[u8], answer: &mut [u8]) -> bool {
    client.write_all(request).await.unwrap();
    let mut read = 0;
    while !answer[..read].ends_with(b"\r\n\r\n") {
        read += client.read(&mut answer[read..]).await.unwrap();
    }
    let redirect = b"x-accel-redirect: /media/a.jpg\r\n";
    answer[..read].windows(redirect.len()).any(|part| part == redirect)
}

fn config(folder: &Path) -> Config {
    let folder = folder.display();
    let text = format!(
        r#"
        public_url = "https://files.example"
        data_dir = "{folder}/data"
        [listen]
        download = "unix:{folder}/downloads.sock"
        api = "off"
        ops = "off"
        [collections.image]
        root = "{folder}"
        edge = "nginx"
        "#
    );
    let config = Config::parse("test", &text, [], &Overrides::default()).unwrap();
    let KeySource::File(path) = &config.key_source else { panic!("{:?}", config.key_source) };
    create_data_dir(&config.data_dir).unwrap();
    let mut keys = Keys::default();
    keys.add(SystemClock::new().now().wall);
    keys.write(path).unwrap();
    config
}

/// What nginx asks when somebody follows a link.
fn request(app: &App) -> String {
    let request = MintRequest { path: "a.jpg".into(), ..MintRequest::default() };
    let now = app.state.clock.now().wall;
    let mint = |view: &dyn RevocationView| {
        app.state.signing.mint(&request, "backend", &MintPolicy::unbounded(), view, Dates::at(now)).unwrap().url
    };
    let url = Index::default().look(mint);
    let path = url.strip_prefix("https://files.example").unwrap();
    format!("GET {path} HTTP/1.1\r\nHost: linkgate\r\nX-Forwarded-For: 203.0.113.9\r\nUser-Agent: curl/8\r\n\r\n")
}
