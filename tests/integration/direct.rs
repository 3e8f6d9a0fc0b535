//! Files sent by Linkgate itself.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::support::ODD_NAMES;
use crate::support::http::{Response, raw, request};
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::{Process, binary};

const TEXT: &[u8] = b"0123456789 these are the bytes of a file";

/// A Linkgate with one file, and a link to it.
fn site() -> (Linkgate, String) {
    let linkgate = Builder::new().start();
    linkgate.file("users/42/notes.txt", TEXT);
    let link = linkgate.link("users/42/notes.txt");
    (linkgate, link)
}

fn get(linkgate: &Linkgate, link: &str, headers: &[(&str, &str)]) -> Response {
    request(&linkgate.place(), "GET", link, headers, b"")
}

fn head(linkgate: &Linkgate, link: &str) -> Response {
    request(&linkgate.place(), "HEAD", link, &[], b"")
}

/// Every header but those that differ each time, in order.
fn headers(answer: &Response) -> Vec<(String, Vec<u8>)> {
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| name != "date" && name != "x-request-id");
    headers
}

/// A clean 404: nothing about the file, and nothing that keeps the answer.
fn is_clean_404(linkgate: &Linkgate, path: &str) {
    let link = linkgate.link(path);
    let answer = get(linkgate, &link, &[]);
    assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    assert_eq!(answer.json()["type"], "urn:linkgate:problem:file-not-found", "{path}");
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"), "{path}");
    for name in ["content-disposition", "etag", "last-modified", "location", "accept-ranges", "content-range"] {
        assert_eq!(answer.header(name), None, "{path}: {name}");
    }
    assert!(!answer.text().contains(path), "{path}");
    let head = head(linkgate, &link);
    assert_eq!((head.status, headers(&head)), (404, headers(&answer)), "{path}");
    assert!(head.body.is_empty(), "{path}");
}

#[test]
fn a_file_is_sent_with_everything_that_is_promised() {
    let (linkgate, link) = site();
    let answer = get(&linkgate, &link, &[]);
    assert_eq!((answer.status, answer.body.as_slice()), (200, TEXT));
    assert_eq!(answer.header("content-length").unwrap(), TEXT.len().to_string());
    assert_eq!(answer.header("content-type").as_deref(), Some("text/plain"));
    assert_eq!(answer.header("content-disposition").as_deref(), Some("attachment; filename=\"notes.txt\""));
    assert_eq!(answer.header("accept-ranges").as_deref(), Some("bytes"));
    assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy").as_deref(), Some("no-referrer"));
    assert!(answer.header("etag").is_some() && answer.header("last-modified").is_some());
    let allowed = [
        "content-type",
        "content-length",
        "content-disposition",
        "accept-ranges",
        "last-modified",
        "etag",
        "cache-control",
        "content-security-policy",
        "x-content-type-options",
        "referrer-policy",
        "x-linkgate-token-id",
        "connection",
        "date",
    ];
    for (name, _) in &answer.headers {
        assert!(allowed.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn head_says_what_get_says() {
    let (linkgate, link) = site();
    linkgate.file("empty", b"");
    for link in [link, linkgate.link("empty")] {
        let (get, head) = (get(&linkgate, &link, &[]), head(&linkgate, &link));
        assert_eq!((head.status, headers(&head)), (get.status, headers(&get)));
        assert!(head.body.is_empty());
    }
}

#[test]
fn a_part_of_a_file_is_sent_when_one_is_asked_for() {
    let (linkgate, link) = site();
    let size = TEXT.len();
    let parts = [
        ("bytes=0-3", 0, 3),
        ("bytes=5-5", 5, 5),
        ("bytes=-4", size - 4, size - 1),
        ("bytes=30-", 30, size - 1),
        ("bytes=0-", 0, size - 1),
        ("bytes=30-99999", 30, size - 1),
        ("bytes=30-18446744073709551615", 30, size - 1),
    ];
    for (range, first, last) in parts {
        let part = get(&linkgate, &link, &[("Range", range)]);
        assert_eq!((part.status, part.body.as_slice()), (206, &TEXT[first..=last]), "{range}");
        assert_eq!(part.header("content-range").unwrap(), format!("bytes {first}-{last}/{size}"), "{range}");
        assert_eq!(part.header("content-length").unwrap(), (last + 1 - first).to_string(), "{range}");
        assert!(part.header("content-disposition").is_some() && part.header("etag").is_some(), "{range}");
    }
}

#[test]
fn a_range_that_cannot_be_is_a_416_and_one_that_is_not_understood_is_passed_over() {
    let (linkgate, link) = site();
    let size = TEXT.len();
    let beyond = format!("bytes={size}-");
    for range in [&beyond, "bytes=9999-", "bytes=18446744073709551615-", "bytes=-0", "bytes=5-2", "bytes=a-b", "bytes="]
    {
        let answer = get(&linkgate, &link, &[("Range", range)]);
        assert_eq!((answer.status, answer.body.len()), (416, 0), "{range}");
        assert_eq!(answer.header("content-range").unwrap(), format!("bytes */{size}"), "{range}");
        assert_eq!(answer.header("content-disposition"), None, "{range}");
    }
    let many = format!("bytes=0-1{}", ",2-3".repeat(500));
    for range in ["items=0-1", "0-1", "", "bytes 0-1", "bytes=0-0,2-3", "bytes=0-0,9999-", &many] {
        let answer = get(&linkgate, &link, &[("Range", range)]);
        assert_eq!((answer.status, answer.body.as_slice()), (200, TEXT), "{range}");
        assert_eq!(answer.header("content-range"), None, "{range}");
    }
}

#[test]
fn a_download_is_continued_only_while_the_file_is_the_same() {
    let (linkgate, link) = site();
    let whole = get(&linkgate, &link, &[]);
    let (etag, modified) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    let status = |condition: &str| get(&linkgate, &link, &[("Range", "bytes=2-5"), ("If-Range", condition)]).status;
    assert_eq!((status(&etag), status(&modified)), (206, 206));
    // A weak tag and a date that merely looks late enough do not prove that the bytes are the same.
    let weak = format!("W/{etag}");
    for other in ["\"other\"", &weak, "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT", "nonsense", ""]
    {
        assert_eq!(status(other), 200, "{other}");
    }
    assert_eq!(get(&linkgate, &link, &[("If-Range", &etag)]).status, 200);
}

#[test]
fn a_file_that_has_not_changed_is_not_sent_again() {
    let (linkgate, link) = site();
    let whole = get(&linkgate, &link, &[]);
    let (etag, modified) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    let (weak, list) = (format!("W/{etag}"), format!("\"other\", {etag}"));
    let unchanged = [
        ("If-None-Match", etag.as_str()),
        ("If-None-Match", &weak),
        ("If-None-Match", &list),
        ("If-None-Match", "*"),
        ("If-Modified-Since", &modified),
    ];
    for condition in unchanged {
        let answer = get(&linkgate, &link, &[condition]);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{condition:?}");
        assert_eq!(answer.header("etag").as_ref(), Some(&etag));
        assert!(answer.header("cache-control").unwrap().starts_with("private, max-age="));
    }
    for condition in [("If-None-Match", "\"other\""), ("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")] {
        assert_eq!(get(&linkgate, &link, &[condition]).status, 200, "{condition:?}");
    }
    let both = [("If-None-Match", "\"other\""), ("If-Modified-Since", modified.as_str())];
    assert_eq!(get(&linkgate, &link, &both).status, 200, "the tag counts for more than the date");
    assert_eq!(get(&linkgate, &link, &[("If-Match", "\"other\"")]).status, 412);
}

#[test]
fn a_file_that_was_replaced_is_a_new_one() {
    let (linkgate, link) = site();
    let path = linkgate.media().join("users/42/notes.txt");
    // Two files that are written within one tick of the clock that stamps them would differ in nothing but their bytes.
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    File::open(&path).unwrap().set_modified(an_hour_ago).unwrap();
    let old = get(&linkgate, &link, &[]).header("etag").unwrap();
    let changed = TEXT.to_ascii_uppercase();
    linkgate.file("new", &changed);
    fs::rename(linkgate.media().join("new"), path).unwrap();
    let answer = get(&linkgate, &link, &[("If-None-Match", &old)]);
    assert_eq!((answer.status, answer.body.as_slice()), (200, changed.as_slice()));
    assert_ne!(answer.header("etag").unwrap(), old);
    let continued = get(&linkgate, &link, &[("Range", "bytes=2-5"), ("If-Range", &old)]);
    assert_eq!((continued.status, continued.body.as_slice()), (200, changed.as_slice()));
}

#[test]
fn an_empty_file_is_a_file() {
    let linkgate = Builder::new().start();
    linkgate.file("empty.txt", b"");
    let answer = get(&linkgate, &linkgate.link("empty.txt"), &[]);
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.header("content-length").as_deref(), Some("0"));
}

#[test]
fn a_large_file_arrives_byte_for_byte() {
    let linkgate = Builder::new().start();
    let mut state = 1_u32;
    let large: Vec<u8> = (0..5_000_001)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    linkgate.file("large.bin", &large);
    let link = linkgate.link("large.bin");
    let answer = get(&linkgate, &link, &[]);
    assert!(answer.status == 200 && answer.body == large);
    let part = get(&linkgate, &link, &[("Range", "bytes=1234567-4567890")]);
    assert!(part.status == 206 && part.body == large[1_234_567..=4_567_890]);
}

#[test]
fn file_names_are_whatever_people_call_their_files() {
    let linkgate = Builder::new().start();
    for name in ODD_NAMES.iter().chain(&[" leading and trailing "]).copied() {
        linkgate.file(name, name.as_bytes());
        let answer = linkgate.get(&linkgate.link(name));
        assert_eq!((answer.status, answer.text()), (200, name.to_owned()), "{name}");
    }
    let longest = format!("{}/{}", "é".repeat(120), "漢".repeat(84));
    linkgate.file(&longest, b"long");
    assert_eq!(linkgate.get(&linkgate.link(&longest)).status, 200);
}

#[test]
fn what_is_no_file_of_the_collection_is_a_clean_404() {
    let (linkgate, _) = site();
    let media = linkgate.media();
    let outside = linkgate.folder.path().join("outside.txt");
    fs::write(&outside, "outside").unwrap();
    symlink(&outside, media.join("out.txt")).unwrap();
    symlink("users/42/notes.txt", media.join("inside.txt")).unwrap();
    symlink("users", media.join("people")).unwrap();
    symlink(linkgate.folder.path(), media.join("above")).unwrap();
    symlink("nowhere", media.join("dangling")).unwrap();
    symlink("loop", media.join("loop")).unwrap();
    assert!(Command::new("mkfifo").arg(media.join("fifo")).status().unwrap().success());
    let _socket = UnixListener::bind(media.join("socket")).unwrap();

    let too_long = "x".repeat(300);
    let absent = [
        "gone.txt",
        "users/43/notes.txt",
        "users",
        "users/42",
        "users/42/notes.txt/more",
        "USERS/42/notes.txt",
        "users/42/notes.txt ",
        "out.txt",
        "inside.txt",
        "people/42/notes.txt",
        "above/outside.txt",
        "dangling",
        "loop",
        "fifo",
        "socket",
        &too_long,
    ];
    for path in absent {
        is_clean_404(&linkgate, path);
    }
}

#[test]
fn a_root_that_is_a_symbolic_link_is_followed() {
    let linkgate = Builder::new().start();
    let (media, elsewhere) = (linkgate.media(), linkgate.folder.path().join("elsewhere"));
    fs::rename(&media, &elsewhere).unwrap();
    symlink(&elsewhere, &media).unwrap();
    linkgate.file("a.txt", TEXT);
    assert_eq!(linkgate.get(&linkgate.link("a.txt")).body, TEXT);
}

#[test]
fn a_root_that_is_gone_is_a_404_until_it_is_back() {
    let (linkgate, link) = site();
    let away = linkgate.folder.path().join("away");
    fs::rename(linkgate.media(), &away).unwrap();
    assert_eq!(linkgate.get(&link).status, 404);
    fs::rename(&away, linkgate.media()).unwrap();
    assert_eq!(linkgate.get(&link).status, 200);
}

#[test]
fn a_file_that_may_not_be_read_is_a_404() {
    let mut linkgate = Builder::new().prepare();
    linkgate.file("secret.txt", TEXT);
    linkgate.file("closed/a.txt", TEXT);
    launch_without_privileges(&mut linkgate);
    let media = linkgate.media();
    for (path, guarded) in [("secret.txt", "secret.txt"), ("closed/a.txt", "closed")] {
        let guarded = media.join(guarded);
        let open = fs::metadata(&guarded).unwrap().permissions();
        fs::set_permissions(&guarded, Permissions::from_mode(0o000)).unwrap();
        is_clean_404(&linkgate, path);
        fs::set_permissions(&guarded, open).unwrap();
        assert_eq!(linkgate.get(&linkgate.link(path)).status, 200, "{path}");
    }
}

/// Starts it as somebody for whom file modes count, also when the tests are run by root.
fn launch_without_privileges(linkgate: &mut Linkgate) {
    const NOBODY: u32 = 65_534;
    let folder = linkgate.folder.path().to_owned();
    if fs::metadata(&folder).unwrap().uid() != 0 {
        linkgate.launch();
        return linkgate.until_ready();
    }
    // The binary may lie in a folder of root's. A copy that this process wrote could still be open for writing in a
    // child that another test is just starting, and then not be run.
    let copy = folder.join("linkgate");
    assert!(Command::new("cp").arg(binary()).arg(&copy).status().unwrap().success());
    give_away(&folder, NOBODY);
    let mut serve = Command::new(copy);
    serve.arg("serve").arg("--config").arg(folder.join("linkgate.toml")).env_clear().uid(NOBODY).gid(NOBODY);
    linkgate.process = Process::start(serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    crate::support::eventually("linkgate listens", || UnixStream::connect(linkgate.socket()).is_ok());
    linkgate.until_ready();
}

fn give_away(path: &Path, owner: u32) {
    std::os::unix::fs::lchown(path, Some(owner), Some(owner)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path(), owner);
        }
    }
}

#[test]
fn dotfiles_are_handed_out_only_where_the_collection_says_so() {
    let paths = [".env", ".well-known/x.txt", "a/.hidden/b.txt", "...", "..data/x"];
    let strict = Builder::new().start();
    let lenient = Builder::new().setting("dotfiles = true").start();
    for path in paths {
        strict.file(path, TEXT);
        lenient.file(path, TEXT);
        let refused = strict.api_with(&strict.mint_key, "POST", "/v1/links", &json!({ "path": path }));
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some("path")), "{path}");
        assert_eq!(lenient.get(&lenient.link(path)).body, TEXT, "{path}");
    }
    for path in ["..", ".", "../media/.env", "a/./b", "a/../.env"] {
        let refused = lenient.api_with(&lenient.mint_key, "POST", "/v1/links", &json!({ "path": path }));
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some("path")), "{path}");
    }
}

#[test]
fn the_type_is_guessed_from_the_name_unless_the_link_names_one() {
    let linkgate = Builder::new().start();
    let guesses = [
        ("a.jpg", "image/jpeg"),
        ("a.PNG", "image/png"),
        ("a.pdf", "application/pdf"),
        ("a.mp4", "video/mp4"),
        ("a.html", "text/html"),
        ("a.nonsense", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ];
    for (name, expected) in guesses {
        linkgate.file(name, TEXT);
        let answer = linkgate.get(&linkgate.link(name));
        assert_eq!(answer.header("content-type").as_deref(), Some(expected), "{name}");
    }
    let link = linkgate.mint(&json!({
        "path": "a.jpg", "content_type": "image/x-own; v=1", "filename": "Mein \"Bild\".jpg", "disposition": "inline",
    }));
    for answer in [linkgate.get(&path_of(&link)), head(&linkgate, &path_of(&link))] {
        assert_eq!(answer.header("content-type").as_deref(), Some("image/x-own; v=1"));
        assert_eq!(
            answer.header("content-disposition").as_deref(),
            Some("inline; filename=\"Mein _Bild_.jpg\"; filename*=UTF-8''Mein%20%22Bild%22.jpg")
        );
    }
}

#[test]
fn a_neighbour_that_is_compressed_is_not_sent_instead() {
    let (linkgate, link) = site();
    linkgate.file("users/42/notes.txt.gz", b"not these");
    let answer = get(&linkgate, &link, &[("Accept-Encoding", "gzip, br, zstd")]);
    assert_eq!(answer.body, TEXT);
    assert_eq!(answer.header("content-encoding"), None);
}

#[test]
fn nobody_is_told_to_keep_a_file_longer_than_its_link_lives() {
    let max_age = |linkgate: &Linkgate, life: u64| -> u64 {
        linkgate.file("a.txt", TEXT);
        let link = linkgate.mint(&json!({ "path": "a.txt", "expires_in": life }));
        let value = linkgate.get(&path_of(&link)).header("cache-control").unwrap();
        value.strip_prefix("private, max-age=").unwrap().parse().unwrap()
    };
    let linkgate = Builder::new().start();
    assert!((20..=30).contains(&max_age(&linkgate, 30)));
    assert_eq!(max_age(&linkgate, 86_400), 3_600, "the collection's own bound is an hour");
    assert_eq!(max_age(&Builder::new().setting("cache = \"10s\"").start(), 3_600), 10);
    assert_eq!(max_age(&Builder::new().setting("cache = \"0s\"").start(), 3_600), 0);
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_the_connection_and_nothing_else() {
    let linkgate = Builder::new().start();
    let size = 50_000_000;
    let file = File::create(linkgate.media().join("large.bin")).unwrap();
    file.set_len(size).unwrap();
    let link = linkgate.link("large.bin");
    let mut stream = ask_slowly(&linkgate, &link);
    file.set_len(1).unwrap();
    let mut rest = Vec::new();
    // However it ends: it must end, and short of what was promised.
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert!(!matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "it hangs");
    }
    assert!((rest.len() as u64) < size, "{}", rest.len());
    assert_eq!(linkgate.get(&link).body.len(), 1);
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_as_long_as_was_promised() {
    let linkgate = Builder::new().start();
    let size = 5_000_000;
    let mut file = File::create(linkgate.media().join("large.bin")).unwrap();
    file.set_len(size).unwrap();
    let mut stream = ask_slowly(&linkgate, &linkgate.link("large.bin"));
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
    file.write_all(&[b'x'; 100_000]).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!((rest.len() as u64) < size && !rest.contains(&b'x'));
}

#[test]
fn clients_that_hang_up_in_the_middle_do_no_harm() {
    let (linkgate, link) = site();
    File::create(linkgate.media().join("large.bin")).unwrap().set_len(50_000_000).unwrap();
    let large = linkgate.link("large.bin");
    for _ in 0..20 {
        drop(ask_slowly(&linkgate, &large));
    }
    assert_eq!(linkgate.get(&link).body, TEXT);
}

/// Asks for a file and reads only the first of it.
fn ask_slowly(linkgate: &Linkgate, link: &str) -> UnixStream {
    let mut stream = UnixStream::connect(linkgate.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {link} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    stream
}

#[test]
fn a_link_is_read_to_the_letter_and_its_query_is_passed_over() {
    let (linkgate, link) = site();
    for good in [format!("{link}?"), format!("{link}?x=1&y"), format!("http://elsewhere.test{link}")] {
        assert_eq!(linkgate.get(&good).status, 200, "{good}");
    }
    let slash = link.rfind('/').unwrap();
    let percent = format!("{}/%{:02X}{}", &link[..slash], link.as_bytes()[slash + 1], &link[slash + 2..]);
    for bad in [format!("{link}/"), format!("{link}="), format!("{link}%20"), percent, link.replace("image", "Image")] {
        assert_eq!(linkgate.get(&bad).status, 403, "{bad}");
    }
    // A fragment never leaves a browser; whoever sends one all the same is not misunderstood.
    let answer = raw(&linkgate.place(), format!("GET {link}#x HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes());
    assert!(answer.unwrap().starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_file_may_be_as_old_as_the_epoch_or_come_from_the_future() {
    let (linkgate, link) = site();
    let path = linkgate.media().join("users/42/notes.txt");
    let future = SystemTime::UNIX_EPOCH + Duration::from_secs(7_000_000_000);
    for time in [SystemTime::UNIX_EPOCH, future] {
        File::open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(linkgate.get(&link).body, TEXT, "{time:?}");
    }
}

#[test]
fn a_suffix_longer_than_the_file_is_all_of_it() {
    let (linkgate, link) = site();
    for range in ["bytes=-9999", "bytes=-99999999999999999999"] {
        let answer = get(&linkgate, &link, &[("Range", range)]);
        assert!(matches!(answer.status, 200 | 206), "{range}: {}", answer.status);
        assert_eq!(answer.body, TEXT, "{range}");
    }
}

#[test]
fn an_empty_file_has_no_parts() {
    let linkgate = Builder::new().start();
    linkgate.file("empty.txt", b"");
    let link = linkgate.link("empty.txt");
    for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
        let answer = get(&linkgate, &link, &[("Range", range)]);
        assert!(matches!(answer.status, 200 | 416), "{range}: {}", answer.status);
        assert_ne!(answer.header("content-range").as_deref(), Some("bytes 0-0/0"), "{range}");
    }
}

#[test]
fn a_file_older_than_the_epoch_is_sent_without_validators() {
    let (linkgate, link) = site();
    let path = linkgate.media().join("users/42/notes.txt");
    let old = SystemTime::UNIX_EPOCH - Duration::from_secs(86_400 * 365);
    File::open(&path).unwrap().set_modified(old).unwrap();
    for condition in [("Range", "bytes=0-"), ("If-Range", "\"x\""), ("If-None-Match", "\"x\""), ("Accept", "*/*")] {
        assert_eq!(get(&linkgate, &link, &[condition]).body, TEXT, "{condition:?}");
    }
    assert_eq!(head(&linkgate, &link).status, 200);
    assert!(!linkgate.log().contains("panicked"));
}
