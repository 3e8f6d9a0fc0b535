//! Files come from people whom the owner of the host need not trust: a browser that shows one runs nothing of it.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::edges::{Edge, Site, sites};
use crate::support::eventually;
use crate::support::linkgate::{Builder, path_of};

const SHOWN: &str = "disposition = \"inline\"";

const POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// A page that says so when its script has run.
const PAGE: &str = "<!doctype html><title>quiet</title><img src=/ onerror=\"document.title = 'ran'\">\
                    <script>document.title = 'ran'</script>";
const XHTML: &str = "<html xmlns='http://www.w3.org/1999/xhtml'><head><title>quiet</title></head>\
                     <body><script>document.title = 'ran'</script></body></html>";
const DRAWING: &str = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><title>quiet</title>\
                       <script>document.querySelector('title').textContent = 'ran'</script></svg>";
/// One red page.
const PDF: &str = "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n\
                   3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R>>endobj\n\
                   4 0 obj<</Length 30>>stream\n1 0 0 rg 0 0 300 300 re f     \nendstream endobj\ntrailer<</Root 1 0 R>>\n";

#[test]
fn a_script_in_a_file_that_is_shown_does_not_run() {
    let browser = Browser::start();
    for Site { name, linkgate, edge } in sites(SHOWN) {
        for (path, content_type, text) in [
            ("page.html", None, PAGE),
            ("page.HTM", None, PAGE),
            ("picture.jpg", Some("text/html"), PAGE),
            ("picture.png", Some("TEXT/html; charset=utf-8"), PAGE),
            ("report.pdf", Some("text/html"), PAGE),
            ("drawing.svg", None, DRAWING),
            ("drawing.jpg", Some("image/svg+xml"), DRAWING),
            ("page.xhtml", None, XHTML),
            ("data.xml", None, XHTML),
            ("film.mp4", Some("application/xhtml+xml"), XHTML),
            ("sound.mp3", Some("audio/anything+xml"), XHTML),
        ] {
            linkgate.file(path, text.as_bytes());
            let mut wish = json!({ "path": path });
            if let Some(content_type) = content_type {
                wish["content_type"] = content_type.into();
            }
            browser.open(&edge.url(&path_of(&linkgate.mint(&wish))));
            assert_eq!(browser.run("return document.querySelector('title').textContent"), "quiet", "{name} {wish}");
            assert_eq!(browser.run("return self.origin"), "null", "{name} {wish}: it has not the host's origin");
        }
        if let Edge::Nginx(nginx) = &edge {
            nginx.page("own.html", PAGE);
            browser.open(&nginx.url("/own.html"));
            assert_eq!(browser.run("return document.title"), "ran", "the browser does run scripts of others");
        }
    }
}

#[test]
fn pictures_films_sounds_and_documents_are_shown_as_ever() {
    let browser = Browser::start();
    let beholder = Browser::start();
    let film = film(&browser);
    for Site { name, linkgate, edge } in sites(SHOWN) {
        linkgate.file("dot.png", crate::browser::PICTURE);
        linkgate.file("film.webm", &film);
        linkgate.file("sound.wav", &sound());
        linkgate.file("report.pdf", PDF.as_bytes());
        linkgate.file("upload", PDF.as_bytes());
        linkgate.file("notes.txt", b"words");
        let open = |wish: Value| browser.open(&edge.url(&path_of(&linkgate.mint(&wish))));

        open(json!({ "path": "dot.png" }));
        assert_eq!(browser.run("return document.images[0].naturalWidth"), 1, "{name}");
        for path in ["film.webm", "sound.wav"] {
            open(json!({ "path": path }));
            eventually(&format!("{name}: {path} plays"), || {
                browser.run("return document.querySelector('video, audio').readyState >= 2") == true
            });
        }
        for wish in [json!({ "path": "report.pdf" }), json!({ "path": "upload", "content_type": "application/pdf" })] {
            open(wish.clone());
            // PDF viewers draw when they are ready, and run no scripts of ours: another browser looks at the picture.
            eventually(&format!("{name}: {wish} is shown"), || share_of_red(&beholder, &browser.screenshot()) > 0.1);
        }
        open(json!({ "path": "notes.txt" }));
        assert_eq!(browser.run("return document.body.innerText"), "words", "{name}");

        // On a page of the host's own, from links in the names of others.
        let Edge::Nginx(nginx) = &edge else { continue };
        let link = |path: &str| path_of(&linkgate.mint(&json!({ "path": path })));
        let (dot, film, sound) = (link("dot.png"), link("film.webm"), link("sound.wav"));
        linkgate.file("drawing.svg", DRAWING.as_bytes());
        let drawing = link("drawing.svg");
        nginx.page(
            "all.html",
            &format!("<img src={dot}><img src={drawing}><video src={film}></video><audio src={sound}></audio>"),
        );
        browser.open(&nginx.url("/all.html"));
        assert_eq!(browser.run("return [...document.images].map(one => one.naturalWidth)"), json!([1, 9]), "{name}");
        eventually(&format!("{name}: film and sound play on a page"), || {
            browser.run("return [...document.querySelectorAll('video, audio')].every(one => one.readyState >= 1)")
                == true
        });
    }
}

/// A sixth of a second or so of film, made by the browser itself.
fn film(browser: &Browser) -> Vec<u8> {
    use base64::Engine;
    browser.open("about:blank");
    let recorded = browser.run(
        "const canvas = document.createElement('canvas'); canvas.width = canvas.height = 16;
         const pen = canvas.getContext('2d');
         const paint = setInterval(() => { pen.fillStyle = '#' + (Date.now() % 900 + 100); pen.fillRect(0, 0, 16, 16) }, 20);
         const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: 'video/webm' });
         const parts = [];
         recorder.ondataavailable = event => parts.push(event.data);
         return new Promise(done => {
             recorder.onstop = () => {
                 clearInterval(paint);
                 const reader = new FileReader();
                 reader.onload = () => done(reader.result.split(',')[1]);
                 reader.readAsDataURL(new Blob(parts));
             };
             recorder.start();
             setTimeout(() => recorder.stop(), 500);
         })",
    );
    let film = base64::engine::general_purpose::STANDARD.decode(recorded.as_str().unwrap()).unwrap();
    assert!(film.len() > 100, "the browser recorded something");
    film
}

/// A second of silence (RIFF WAVE, 8000 samples of 8 bits).
fn sound() -> Vec<u8> {
    let mut sound =
        b"RIFF\x64\x1f\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\x40\x1f\0\0".to_vec();
    sound.resize(sound.len() + 8000, 0x80);
    sound
}

/// How much of a screenshot is red.
fn share_of_red(browser: &Browser, screenshot: &str) -> f64 {
    let script = format!(
        "const picture = new Image(); picture.src = 'data:image/png;base64,{screenshot}';
         return picture.decode().then(() => {{
             const canvas = document.createElement('canvas');
             [canvas.width, canvas.height] = [picture.width, picture.height];
             const pen = canvas.getContext('2d'); pen.drawImage(picture, 0, 0);
             const dots = pen.getImageData(0, 0, canvas.width, canvas.height).data;
             let red = 0;
             for (let at = 0; at < dots.length; at += 4) red += dots[at] > 200 && dots[at + 1] < 50 && dots[at + 2] < 50;
             return red / (dots.length / 4);
         }})"
    );
    browser.run(&script).as_f64().unwrap()
}

/// Whether browsers draw or play a type, and run nothing of it.
fn is_inert(content_type: &str) -> bool {
    content_type == "application/pdf"
        || ["image/", "audio/", "video/"].iter().any(|kind| content_type.starts_with(kind))
            && !content_type.contains('+')
}

#[test]
fn every_type_that_could_run_something_is_sent_with_the_policy() {
    let types = std::fs::read_to_string("/etc/nginx/mime.types").unwrap();
    let types: String = types.lines().filter(|line| line.contains('/')).collect();
    let known =
        types.split(';').flat_map(|line| line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>());
    let endings: Vec<String> = known
        .chain(
            // Some that only one of nginx and Linkgate knows, or neither.
            [
                "xsl", "xht", "xsd", "mht", "mhtml", "shtm", "rdf", "hta", "htc", "mjs", "HTML", "SVG", "heic", "flac",
                "mkv", "opus", "oga", "jxl", "",
            ]
            .map(String::from),
        )
        .collect();
    assert!(endings.len() > 90, "{endings:?}");
    for Site { name, linkgate, edge } in sites(SHOWN) {
        let mut with_policy = 0;
        for ending in &endings {
            let path = format!("file.{ending}");
            linkgate.file(&path, b"x");
            let link = linkgate.link(&path);
            let answers = [
                edge.request("GET", &link, &[]),
                edge.request("HEAD", &link, &[]),
                edge.request("GET", &link, &[("Range", "bytes=0-0")]),
            ];
            for answer in answers {
                assert!(matches!(answer.status, 200 | 206), "{name} {path}");
                let content_type = answer.header("content-type").unwrap_or_default();
                match answer.header("content-security-policy") {
                    Some(policy) => assert_eq!(policy, POLICY, "{name} {path}"),
                    None => assert!(is_inert(&content_type), "{name} {path}: {content_type}"),
                }
                assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"), "{name} {path}");
                with_policy += usize::from(!is_inert(&content_type));
            }
        }
        assert!(with_policy > 100, "{name}: {with_policy}");
    }
}

/// Types that a link may name, and whether something in a file of that type could run.
const TYPES: &[(&str, bool)] = &[
    ("text/html", true),
    ("Text/HTML", true),
    ("TEXT/HTML ", true),
    ("text/html;charset=utf-8", true),
    ("text/plain", true),
    ("text/xml", true),
    ("text/xsl", true),
    ("text/javascript", true),
    ("application/xml", true),
    ("application/xhtml+xml", true),
    ("application/octet-stream", true),
    ("application/x-mimearchive", true),
    ("application/pdf-like", true),
    ("application/pdf+xml", true),
    ("image/svg+xml", true),
    ("IMAGE/SVG+XML;charset=utf-8", true),
    ("image/svg+xml ;x", true),
    ("image/png+html", true),
    ("video/mp4+xml", true),
    ("audio/mp4&html", true),
    ("ximage/png", true),
    ("multipart/related", true),
    ("multipart/x-mixed-replace;boundary=x", true),
    ("message/rfc822", true),
    ("x/x", true),
    ("image/png", false),
    ("IMAGE/PNG", false),
    ("image/png;", false),
    ("image/png ; x=\"text html\"", false),
    ("image/vnd.microsoft.icon", false),
    ("video/mp4", false),
    ("audio/ogg; codecs=opus", false),
    ("application/pdf", false),
    ("Application/PDF ;x", false),
];

#[test]
fn the_policy_goes_by_the_type_that_a_link_names() {
    for Site { name, linkgate, edge } in sites(SHOWN) {
        linkgate.file("picture.jpg", b"0123456789");
        linkgate.file("page.html", b"0123456789");
        for (content_type, has_policy) in TYPES.iter().copied() {
            for (path, shown) in [("picture.jpg", "inline"), ("page.html", "attachment")] {
                let link = path_of(&linkgate.mint(&json!({
                    "path": path, "content_type": content_type, "disposition": shown, "filename": "own.html",
                })));
                let answer = edge.request("GET", &link, &[]);
                assert_eq!(answer.header("content-type").as_deref(), Some(content_type.trim_end()), "{name}");
                let policy = answer.header("content-security-policy");
                assert_eq!(policy.as_deref(), has_policy.then_some(POLICY), "{name} {path} {content_type}");
                // What a browser has kept stays what it was.
                let etag = answer.header("etag").unwrap();
                let unchanged = edge.request("GET", &link, &[("If-None-Match", &etag)]);
                assert_eq!(unchanged.status, 304, "{name}");
                assert_eq!(unchanged.header("content-security-policy"), None, "{name} {path} {content_type}");
            }
        }
    }
}

#[test]
fn no_link_names_a_type_that_could_be_read_as_two() {
    let linkgate = Builder::new().start();
    for content_type in [
        " text/html",
        "\ttext/html",
        "text/html\n",
        "image/png,text/html",
        "image/png;,text/html",
        "image/png;x=\",\",text/html",
        "image/png\r\nContent-Type: text/html",
        "image/png/text/html",
        "text/html ; image/png",
        "image/ png",
        "image /png",
        "image/",
        "/html",
        "html",
        "*/*",
        "im\u{e0}ge/png",
        "",
    ] {
        let refused =
            linkgate.api("POST", "/v1/links", &json!({ "path": "picture.jpg", "content_type": content_type }));
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some("content_type")), "{content_type:?}");
    }
}

#[test]
fn a_file_that_is_missing_has_no_policy_of_a_file() {
    for Site { name, linkgate, edge } in sites(SHOWN) {
        let answer = edge.request("GET", &linkgate.link("none.html"), &[]);
        assert_eq!(answer.status, 404, "{name}");
        assert_ne!(answer.header("content-security-policy").as_deref(), Some(POLICY), "{name}");
    }
}

#[test]
fn an_edge_that_puts_the_fields_on_the_file_itself_is_told_the_policy() {
    let linkgate = Builder::new().edge("nginx").start();
    let (page, picture) = (linkgate.link("page.html"), linkgate.link("picture.png"));
    let plain = |link: &str| linkgate.get(link).header("content-security-policy");
    assert_eq!((plain(&page).as_deref(), plain(&picture)), (Some(POLICY), None));
    let named = |headers: &[(&str, &str)], path: &str| {
        linkgate.get_as("GET", path, headers).header("x-linkgate-content-security-policy")
    };
    assert_eq!(named(&[("X-Linkgate-Delivery", "deferred")], &page).as_deref(), Some(POLICY));
    assert_eq!(named(&[("X-Linkgate-Delivery", "deferred")], &picture), None);
    assert_eq!(named(&[("X-Original-URI", &page)], "/auth").as_deref(), Some(POLICY));
    assert_eq!(named(&[("X-Original-URI", &picture)], "/auth"), None);
}
