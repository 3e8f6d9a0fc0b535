use super::*;
use crate::support::http::{parse, raw};

/// Sends bytes, says that nothing more will come, and reads whatever is answered.
fn throw(linkgate: &Linkgate, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(linkgate);
    // The server may have made up its mind before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    until_closed(&mut stream, &mut answer);
    answer
}

/// Reads until the server closes, with or without having read everything itself.
fn until_closed(stream: &mut UnixStream, answer: &mut Vec<u8>) {
    if let Err(error) = stream.read_to_end(answer) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the connection stays open");
    }
}

fn connect(linkgate: &Linkgate) -> UnixStream {
    let stream = UnixStream::connect(linkgate.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn status(answer: &[u8]) -> Option<u16> {
    parse(answer, "HEAD").map(|answer| answer.status)
}

/// How many answers there are in some bytes.
fn count(answers: &[u8]) -> usize {
    answers.windows(9).filter(|window| *window == b"HTTP/1.1 ").count()
}

#[track_caller]
fn is_well(linkgate: &mut Linkgate, link: &str) {
    assert_eq!(linkgate.get("/livez").status, 200);
    assert_eq!(linkgate.get("/readyz").status, 200);
    assert_eq!(linkgate.get(link).status, 200);
    assert_eq!(linkgate.process.0.try_wait().unwrap(), None, "the process goes on");
    assert!(!linkgate.log().contains("panicked"), "{}", linkgate.log());
}

/// The same numbers every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

#[test]
fn garbage_is_answered_with_400_or_not_at_all() {
    let mut linkgate = site();
    let link = linkgate.link("a.txt");
    let mut dice = Dice(0x4c69_6e6b_6761_7465);
    for _ in 0..200 {
        let length = 1 + dice.below(2_000);
        let answer = throw(&linkgate, &dice.bytes(length));
        assert!(matches!(status(&answer), None | Some(400)), "{}", String::from_utf8_lossy(&answer));
    }
    is_well(&mut linkgate, &link);
}

#[test]
fn good_requests_with_a_few_wrong_bytes_do_no_harm() {
    let mut linkgate = site();
    let link = linkgate.link("a.txt");
    let body = json!({ "path": "a.txt", "subject": "user-42", "expires_in": 60 }).to_string();
    let requests = [
        format!("GET {link} HTTP/1.1\r\nHost: test\r\nRange: bytes=0-0\r\nAccept: text/html;q=0.5\r\n\r\n"),
        format!("GET /auth HTTP/1.1\r\nHost: test\r\nX-Original-URI: {link}\r\n\r\n"),
        format!(
            "POST /v1/links HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            linkgate.mint_key,
            body.len()
        ),
        format!(
            "GET /v1/revocations?limit=10&q=a HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\n\r\n",
            linkgate.admin_key
        ),
    ];
    let mut dice = Dice(42);
    for round in 0..400 {
        let mut bytes = requests[round % requests.len()].clone().into_bytes();
        for _ in 0..=dice.below(6) {
            let at = dice.below(bytes.len());
            match dice.below(3) {
                0 => bytes[at] = dice.below(256) as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, dice.below(256) as u8),
            }
        }
        let answer = throw(&linkgate, &bytes);
        assert!(status(&answer).is_none_or(|status| status < 500), "{}", String::from_utf8_lossy(&answer));
    }
    is_well(&mut linkgate, &link);
}

#[test]
fn a_broken_head_is_a_400() {
    let mut linkgate = site();
    let link = linkgate.link("a.txt");
    let broken: [&[u8]; 14] = [
        b"GET\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET /li vez HTTP/1.1\r\n\r\n",
        b"GET /li\0vez HTTP/1.1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"G\0T /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX-Nul: a\0b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX-Return: a\rb\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX-Folded: a\r\n b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nSpace : before\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n: no name\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    for bytes in broken {
        let answer = throw(&linkgate, bytes);
        assert_eq!(status(&answer), Some(400), "{}", String::from_utf8_lossy(bytes));
    }
    is_well(&mut linkgate, &link);
}

#[test]
fn a_request_cannot_be_smuggled_inside_another() {
    let mut linkgate = site();
    let link = linkgate.link("a.txt");
    let hidden = format!("GET {link} HTTP/1.1\r\nHost: test\r\n\r\n");
    let both = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", hidden.len() + 5);
    let framings = [
        (both.as_str(), "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"),
        ("Transfer-Encoding: chunked\r\n", "-1\r\n"),
        ("Content-Length: 0\r\nContent-Length: 5\r\n", ""),
        ("Content-Length: 0, 0\r\n", ""),
        ("Content-Length: +0\r\n", ""),
        ("Content-Length: -1\r\n", ""),
        ("Content-Length: 0x0\r\n", ""),
        ("Content-Length: 99999999999999999999\r\n", ""),
    ];
    for (framing, body) in framings {
        for path in ["/v1/links", "/livez", "/download/image/x"] {
            let answer = throw(
                &linkgate,
                format!("POST {path} HTTP/1.1\r\nHost: test\r\n{framing}\r\n{body}{hidden}").as_bytes(),
            );
            assert!(count(&answer) <= 1, "{framing}: {}", String::from_utf8_lossy(&answer));
            assert_ne!(status(&answer), Some(200), "{framing}");
        }
    }
    is_well(&mut linkgate, &link);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let mut linkgate = site();
    let link = linkgate.link("a.txt");
    let paths = ["/livez", "/nothing", link.as_str(), "/download/image/x"];
    let requests: String = paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    let last = "GET /readyz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let answers = raw(&linkgate.place(), (requests + last).as_bytes()).unwrap();
    let answers = String::from_utf8(answers).unwrap();
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "404", "200", "403", "200"]);
    is_well(&mut linkgate, &link);
}

#[test]
fn requests_that_stop_halfway_are_forgotten() {
    let mut linkgate = site();
    let link = linkgate.link("a.txt");
    let authorization = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", linkgate.mint_key);
    let halves = [
        "G".to_owned(),
        format!("GET {link}"),
        format!("GET {link} HTTP/1.1\r\nHost: te"),
        format!("POST /v1/links HTTP/1.1\r\n{authorization}Content-Length: 100\r\n\r\n{{\"path\":\"a.txt\"}}"),
        format!("POST /v1/links HTTP/1.1\r\n{authorization}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"p"),
    ];
    for half in &halves {
        let answer = throw(&linkgate, half.as_bytes());
        assert!(matches!(status(&answer), None | Some(400)), "{half}: {}", String::from_utf8_lossy(&answer));
    }
    let mut open: Vec<_> = (0..100).map(|_| connect(&linkgate)).collect();
    for (stream, half) in open.iter_mut().zip(halves.iter().cycle()) {
        stream.write_all(half.as_bytes()).unwrap();
    }
    is_well(&mut linkgate, &link);
    drop(open);
    is_well(&mut linkgate, &link);
}

#[test]
fn whoever_dawdles_is_cut_off() {
    let mut linkgate = Builder::new().section("[limits]\nheader_timeout = \"1s\"\nrequest_timeout = \"1s\"").start();
    linkgate.file("a.txt", b"x");
    let link = linkgate.link("a.txt");
    let (mut silent, mut slow, mut stuck) = (connect(&linkgate), connect(&linkgate), connect(&linkgate));
    let mut idle = connect(&linkgate);
    let start = now();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nX-Slow: ").unwrap();
    let head = format!(
        "POST /v1/links HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{{",
        linkgate.mint_key
    );
    stuck.write_all(head.as_bytes()).unwrap();
    while now().since(start) < Duration::from_millis(800) {
        let _ = slow.write_all(b"a");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).unwrap();
    assert_eq!(status(&answer), None, "there was no request");
    idle.read_to_end(&mut answer).unwrap();
    assert_eq!((status(&answer), count(&answer)), (Some(200), 1), "it was answered, and closed later on");
    answer.clear();
    until_closed(&mut slow, &mut answer);
    assert!(matches!(status(&answer), None | Some(408)), "{}", String::from_utf8_lossy(&answer));
    answer.clear();
    until_closed(&mut stuck, &mut answer);
    refused(&parse(&answer, "POST").unwrap(), 408, "timeout");
    let took = now().since(start);
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(8), "{took:?}");
    is_well(&mut linkgate, &link);
}

#[test]
fn a_client_that_waits_for_permission_to_send_gets_it() {
    let linkgate = site();
    let mut stream = connect(&linkgate);
    let body = b"{\"path\":\"a.txt\"}";
    let head = format!(
        "POST /v1/links HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\nConnection: close\r\n\r\n",
        linkgate.mint_key,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(status(&answer), Some(201));
}

#[test]
fn as_many_connections_are_served_as_were_allowed_and_more_wait() {
    let linkgate = Builder::new().section("[limits]\nconnections = 2").start();
    let ask = |stream: &mut UnixStream, patience: u64| {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(patience))).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).map(|()| answer.to_vec())
    };
    let (mut first, mut second, mut third) = (connect(&linkgate), connect(&linkgate), connect(&linkgate));
    assert_eq!(ask(&mut first, 10_000).unwrap(), b"HTTP/1.1 200");
    assert_eq!(ask(&mut second, 10_000).unwrap(), b"HTTP/1.1 200");
    assert!(ask(&mut third, 300).is_err(), "the third waits");
    drop(first);
    third.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = [0; 12];
    third.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn one_connection_at_a_time_is_enough_to_work() {
    let linkgate = Builder::new().section("[limits]\nconnections = 1").start();
    for _ in 0..5 {
        assert_eq!(linkgate.get("/livez").status, 200);
    }
    let operator = Place::Unix(linkgate.data_dir().join("operator.sock"));
    assert_eq!(request(&operator, "GET", "/livez", &[], b"").status, 200);
}
