//! A picture on a page, in a real browser, through nginx, with Redis behind it.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::nginx::{Nginx, Variant};
use crate::support::redis::Redis;

/// A red dot.
const PICTURE: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 2,
    0, 0, 0, 0x90, 0x77, 0x53, 0xde, 0, 0, 0, 12, b'I', b'D', b'A', b'T', 8, 0xd7, 0x63, 0xf8, 0xcf, 0xc0, 0, 0, 3, 1,
    1, 0, 0x18, 0xdd, 0x8d, 0xb0, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

/// Opens a page of that name with a picture behind a freshly minted link; answers the link.
fn show(linkgate: &Linkgate, nginx: &Nginx, browser: &Browser, page: &str, is_stable: bool) -> Value {
    let link = linkgate.mint(&json!({
        "path": "dot.png", "expires_in": 500_000, "disposition": "inline", "content_type": "image/png", "stable": is_stable,
    }));
    nginx.page(page, &format!("<title>A dot</title><img src=\"{}\">", path_of(&link)));
    browser.open(&nginx.url(&format!("/{page}")));
    assert_eq!(browser.run("return document.images[0].naturalWidth"), 1, "the picture is shown");
    browser.open("about:blank");
    link
}

#[test]
fn a_picture_behind_a_stable_link_is_fetched_once_however_often_the_link_is_minted() {
    let redis = Redis::start();
    let linkgate = Builder::new().edge("nginx").redis(&redis.url()).start();
    linkgate.file("dot.png", PICTURE);
    let nginx = Nginx::start(&linkgate, Variant::Redirect);
    let browser = Browser::start();
    let fetched = |link: &Value| nginx.log().matches(link["id"].as_str().unwrap()).count();

    let show = |page, is_stable| show(&linkgate, &nginx, &browser, page, is_stable);
    let (first, second) = (show("1.html", true), show("2.html", true));
    assert_eq!(first["url"], second["url"]);
    assert_eq!(fetched(&first), 1, "{}", nginx.log());

    // The same with links that are made anew: this is what stable links are for.
    let (first, second) = (show("3.html", false), show("4.html", false));
    assert_eq!((fetched(&first), fetched(&second)), (1, 1), "{}", nginx.log());
}

#[test]
fn a_picture_that_was_revoked_is_not_shown_again_once_the_browser_asks() {
    let redis = Redis::start();
    let linkgate = Builder::new().edge("nginx").setting("cache = \"1s\"").redis(&redis.url()).start();
    linkgate.file("dot.png", PICTURE);
    let nginx = Nginx::start(&linkgate, Variant::Redirect);
    let browser = Browser::start();
    let link = show(&linkgate, &nginx, &browser, "page.html", true);
    linkgate.revoke(&json!({ "path": "dot.png" }));
    crate::support::eventually("the browser asks again and is refused", || {
        browser.open(&nginx.url("/page.html"));
        browser.run("return document.images[0].naturalWidth") == 0
    });
    assert_eq!(linkgate.status(&path_of(&link)), 410);
}

/// A sound: a hundredth of a second of silence, 8 kHz, in WAVE's plainest form.
fn sound() -> Vec<u8> {
    let data = [0x80; 80];
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

/// A document of one empty page.
const DOCUMENT: &[u8] = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n\
    2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\n\
    trailer<</Root 1 0 R>>\n";

#[test]
fn pages_and_drawings_of_strangers_run_nothing_and_pictures_sounds_and_documents_still_show() {
    let script = "document.documentElement.setAttribute('class', 'run')";
    let page = format!("<!doctype html><title>still</title><script>{script}</script><p onclick=\"{script}\">");
    let drawing =
        format!("<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"{script}\"><script>{script}</script></svg>");
    let browser = Browser::start();
    let linkgate = Builder::new().edge("nginx").setting("disposition = \"inline\"").start();
    let nginx = Nginx::start(&linkgate, Variant::Redirect);
    let open = |name: &str, contents: &[u8], content_type: &str| {
        linkgate.file(name, contents);
        let link = linkgate.mint(&json!({ "path": name, "content_type": content_type }));
        browser.open(&nginx.url(&path_of(&link)));
    };
    let has_run = || browser.run("return document.documentElement.getAttribute('class')") == "run";

    // Without the policy both would run: the browser, and this test, can tell.
    nginx.page("own.html", &page);
    browser.open(&nginx.url("/own.html"));
    assert!(has_run(), "a page of the host itself runs");
    for (name, contents, content_type) in [
        ("page.html", &page, "text/html"),
        ("page.jpg", &page, "text/html"),
        ("drawing.svg", &drawing, "image/svg+xml"),
        ("drawing.xml", &drawing, "application/xml"),
    ] {
        open(name, contents.as_bytes(), content_type);
        assert!(!has_run(), "{name} as {content_type}");
        assert_eq!(browser.run("return self.origin"), "null", "{name}: no origin of the host");
    }

    open("dot.png", PICTURE, "image/png");
    assert_eq!(browser.run("return document.images[0].naturalWidth"), 1);
    open("sound.wav", &sound(), "audio/wav");
    crate::support::eventually("the sound can be played", || {
        browser.run("return document.querySelector('video,audio').readyState >= 2") == true
    });
    open("document.pdf", DOCUMENT, "application/pdf");
    // The viewer's own page, with its grey ground; a sandbox would have left it out.
    let ground = "return document.contentType + ' ' + document.body.style.backgroundColor";
    crate::support::eventually("the viewer has it", || browser.run(ground) == "application/pdf rgb(40, 40, 40)");
}
